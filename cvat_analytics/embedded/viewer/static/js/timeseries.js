// Draws a `timeseries` panel: lines, bars or points over time, stacked or not, with annotations as vertical marks.
import { GRID, chartIn, dragToZoom, shortTime, timeAxis, tipContent, tooltip, valueAxis } from './chart.js';
import { color, seriesColor } from './colors.js';
import { h } from './dom.js';
import { fieldsOf, valueText } from './fields.js';
import { legend } from './legend.js';
import { toWall } from './time.js';
import { axisStep, formatValue } from './units.js';

/** Draw `data` into `body`. Return false when there is nothing to draw, else how to end the drawing. */
export function timeseries(body, panel, data, context) {
  const { state, memory } = context;
  const frames = fieldsOf(data.frames, panel.fieldConfig, context, true);
  const series = frames.flatMap((frame) => {
    const time = frame.find((field) => field.kind === 'time');
    return frame
      .filter((field) => field.kind === 'number' && time?.values.length && !field.config.custom.hideFrom?.viz)
      .map((field) => ({ field, times: time.values }));
  });
  if (!series.length) return false;
  if (!series.some(({ times }) => times.some((time) => time >= state.start && time <= state.end))) {
    // zeros are no data: a query may fill what it did not find
    if (!series.some(({ field }) => field.values.some(Boolean))) return false;
    body.append(outside(series, state));
    return () => {};
  }
  series.forEach((each, index) => {
    each.color = seriesColor(each.field, index);
  });
  const hidden = (memory.hidden ??= new Set());
  const step = smallestStep(series) ?? data.interval;
  stackTogether(series);
  const axes = axesOf(series, context);
  const box = h('div', { class: 'chart', role: 'img', 'aria-label': `${panel.title}: chart` });
  const option = () => ({
    grid: GRID,
    xAxis: timeAxis(state),
    yAxis: axes.map((axis) => axis.option),
    series: [...series.map((each) => seriesOption(each, hidden, step)), ...marks(context)],
    tooltip: tooltip((points) => tip(points, series, panel, context)),
  });
  const fit = (chart) => {
    const width = chart.getWidth() - 90;
    const bar = Math.max(
      1,
      ((width * step) / (state.end - state.start)) *
        (panel.fieldConfig?.defaults?.custom?.barWidthFactor ?? 0.8),
    );
    chart.setOption({ series: series.map((each) => (each.kind === 'bar' ? { barWidth: bar } : {})) });
  };
  const options = { showLegend: true, ...panel.options?.legend };
  let key;
  const drawLegend = () => {
    const drawn = legend(
      series.filter(({ field }) => !field.config.custom.hideFrom?.legend),
      options,
      hidden,
      context,
      () => {
        running.chart.setOption({ series: series.map((each) => seriesOption(each, hidden, step)) });
        fit(running.chart);
        drawLegend();
      },
    );
    key?.replaceWith(drawn);
    key = drawn;
  };
  body.classList.toggle('beside', options.placement === 'right' && options.showLegend);
  body.append(box);
  const running = chartIn(box, option(), fit);
  fit(running.chart);
  if (options.showLegend) {
    drawLegend();
    body.append(key);
  }
  dragToZoom(running.chart, state);
  return running.end;
}

/** Return what to say of data that begins before the time range, such as the count of a whole day. */
function outside(series, state) {
  const times = series.flatMap((each) => each.times);
  const from = times.reduce((least, time) => Math.min(least, time), state.start);
  const show = () => state.set({ from: String(Math.floor(from)), to: state.to });
  return h(
    'div',
    { class: 'empty' },
    h('strong', {}, 'The data is outside of the time range'),
    h('p', {}, h('button', { type: 'button', click: show }, 'Show it')),
  );
}

function seriesOption(each, hidden, step) {
  const { field, times, color: own } = each;
  const {
    drawStyle = 'line',
    fillOpacity = 0,
    lineWidth = 1,
    lineInterpolation,
    showPoints = 'auto',
    spanNulls = false,
    barAlignment = 0,
    pointSize = 5,
    lineStyle,
  } = field.config.custom;
  const gone = hidden.has(field.display);
  const shift = drawStyle === 'bars' ? (barAlignment * step) / 2 : 0;
  each.kind = { bars: 'bar', points: 'scatter', line: 'line' }[drawStyle];
  const present = field.values.filter((value) => value !== null).length;
  const common = {
    name: field.display,
    yAxisIndex: each.axis,
    color: own,
    data: gone ? [] : times.map((time, i) => [each.wall(time) + shift, field.values[i]]),
    stack: each.stack && `${each.stack}-${each.axis}`,
    stackStrategy: 'all',
  };
  if (each.kind === 'bar')
    return {
      ...common,
      type: 'bar',
      barGap: '-100%',
      itemStyle: { opacity: Math.max(fillOpacity, 30) / 100 },
      emphasis: { disabled: true },
    };
  if (each.kind === 'scatter') return { ...common, type: 'scatter', symbolSize: pointSize };
  return {
    ...common,
    type: 'line',
    step: { stepAfter: 'end', stepBefore: 'start' }[lineInterpolation],
    smooth: lineInterpolation === 'smooth' ? 0.3 : false,
    showSymbol: showPoints === 'always' || (showPoints === 'auto' && present < 60) || present === 1,
    symbol: 'circle',
    symbolSize: pointSize,
    connectNulls: Boolean(spanNulls),
    lineStyle: {
      width: Math.max(lineWidth, 1.4),
      type: lineStyle?.fill === 'dash' ? 'dashed' : lineStyle?.fill === 'dot' ? 'dotted' : 'solid',
    },
    areaStyle: fillOpacity ? { opacity: fillOpacity / 100 } : undefined,
    emphasis: { disabled: true },
    markLine: thresholdLines(field),
    triggerLineEvent: false,
  };
}

/** Return an axis for each unit, the first on the left, and note in each series which is its own. */
function axesOf(series, context) {
  const axes = [];
  for (const each of series) {
    const { unit = '', decimals, min, max, custom } = each.field.config;
    const right = custom.axisPlacement === 'right';
    let at = axes.findIndex((axis) => axis.unit === unit && axis.right === right);
    if (at < 0) {
      const log = custom.scaleDistribution?.type === 'log';
      const text = (value) =>
        formatValue(value, unit, decimals && Math.abs(value) < 10 ? decimals : undefined, context.state.zone);
      const whole = decimals === 0 ? { minInterval: 1 } : {};
      const placed = {
        position: right || axes.length ? 'right' : 'left',
        show: custom.axisPlacement !== 'hidden',
        name: custom.axisLabel || undefined,
        nameLocation: 'middle',
      };
      const option = valueAxis(text, {
        ...placed,
        ...whole,
        type: log ? 'log' : 'value',
        min: min ?? undefined,
        max: max ?? undefined,
        splitLine: { show: !axes.length, lineStyle: valueAxis(text).splitLine.lineStyle },
      });
      at = axes.push({ unit, right, option, series: [] }) - 1;
    }
    axes[at].series.push(each);
    each.axis = at;
    each.wall = (time) => toWall(time, context.state.zone);
  }
  for (const { unit, option, series: own } of axes) {
    const step = option.type === 'value' && option.max === undefined && axisStep(unit, highest(own));
    if (step) Object.assign(option, { interval: step, max: Math.ceil(highest(own) / step) * step });
  }
  return axes;
}

/** Return the highest value that is drawn: of stacked series that of their sum. */
function highest(series) {
  const sums = new Map();
  for (const { stack, times, field } of series) {
    times.forEach((time, i) => {
      const key = `${stack ?? field.display} ${time}`;
      sums.set(key, (stack ? (sums.get(key) ?? 0) : 0) + (field.values[i] ?? 0));
    });
  }
  return [...sums.values()].reduce((most, value) => Math.max(most, value), 0);
}

/** Give series that are stacked the same times, because ECharts adds them up point by point. */
function stackTogether(series) {
  const stacked = series.filter(({ field }) => field.config.custom.stacking?.mode === 'normal');
  const times = [...new Set(stacked.flatMap((each) => each.times))].sort((a, b) => a - b);
  for (const each of stacked) {
    const values = new Map(each.times.map((time, i) => [time, each.field.values[i]]));
    each.stack = each.field.config.custom.stacking.group ?? 'A';
    each.times = times;
    each.field.values = times.map((time) => values.get(time) ?? null);
  }
}

function smallestStep(series) {
  let least;
  for (const { times } of series) {
    for (let i = 1; i < times.length; i++)
      if (times[i] > times[i - 1] && !(times[i] - times[i - 1] >= least)) least = times[i] - times[i - 1];
  }
  return least;
}

function thresholdLines({ config }) {
  const { mode } = config.custom.thresholdsStyle ?? {};
  if (!mode || mode === 'off') return undefined;
  const steps = (config.thresholds?.steps ?? []).filter((step) => typeof step.value === 'number');
  const line = (step) => ({
    yAxis: step.value,
    lineStyle: { color: color(step.color), type: mode === 'dashed' ? 'dashed' : 'solid' },
  });
  return { silent: true, symbol: 'none', label: { show: false }, data: steps.map(line) };
}

/** Return the annotations as series of their own, which have a line and no points. */
function marks({ annotations, state }) {
  return annotations
    .filter(({ marks: found }) => found.length)
    .map(({ color: own, marks: found }) => ({
      type: 'line',
      data: [],
      silent: true,
      markLine: {
        silent: true,
        symbol: ['none', 'triangle'],
        symbolSize: 7,
        label: { show: false },
        lineStyle: { color: own, type: 'dashed', width: 1.5 },
        data: found.map(({ time }) => ({ xAxis: toWall(time, state.zone) })),
      },
    }));
}

function tip(points, series, panel, context) {
  const shown = points.filter(
    (point) => point.value?.[1] !== null && point.value?.[1] !== undefined && series[point.seriesIndex],
  );
  const wall = points[0]?.axisValue;
  const reach = (context.state.end - context.state.start) / 150;
  const notes = context.annotations.flatMap(({ name, marks: found }) =>
    found
      .filter(({ time }) => Math.abs(toWall(time, context.state.zone) - wall) < reach)
      .map((mark) => `${shortTime(mark.time, context.state.zone)} ${mark.title ?? mark.text ?? name}`),
  );
  if (!shown.length && !notes.length) return undefined;
  const { sort = 'none' } = panel.options?.tooltip ?? {};
  if (sort !== 'none') shown.sort((a, b) => (a.value[1] - b.value[1]) * (sort === 'desc' ? -1 : 1));
  const lines = shown
    .slice(0, 20)
    .map((point) => [
      series[point.seriesIndex].color,
      point.seriesName,
      valueText(series[point.seriesIndex].field, point.value[1], context),
    ]);
  if (shown.length > 20) notes.push(`and ${shown.length - 20} more`);
  const at = shown[0] ? series[shown[0].seriesIndex].times[shown[0].dataIndex] : wall;
  return tipContent(shown[0] ? shortTime(at, context.state.zone) : '', lines, notes);
}
