// Draws a `timeseries` panel: lines, bars or points over time, stacked or not, with annotations as vertical marks.
import { chartIn, dragToZoom, GRID, shortTime, timeAxis, tipContent, tooltip, valueAxis } from './chart.js';
import { color, seriesColor } from './colors.js';
import { h } from './dom.js';
import { fieldsOf, valueText } from './fields.js';
import { titleOf } from './interpolate.js';
import { legend } from './legend.js';
import { toWall } from './time.js';
import { axisStep, formatValue } from './units.js';

/** @type {Record<string, string>} */
const KINDS = { bars: 'bar', points: 'scatter', line: 'line' };
/** @type {Record<string, 'end' | 'start'>} */
const STEPS = { stepAfter: 'end', stepBefore: 'start' };

/** @type {Draw} */
export function timeseries(body, panel, data, context) {
  const { state, memory } = context;
  const frames = fieldsOf(data.frames, panel.fieldConfig, context, true);
  /** @type {Series[]} */
  const series = frames.flatMap((frame) => {
    const times = frame.find((field) => field.kind === 'time')?.values ?? [];
    return frame
      .filter((field) => field.kind === 'number' && times.length && !field.config.custom.hideFrom?.viz)
      .map((field) => ({ field, times, color: '' }));
  });
  if (!series.length) return false;
  if (!series.some(({ times }) => times.some((time) => time >= state.start && time <= state.end))) {
    // zeros are no data: a query may fill what it did not find
    if (!series.some(({ field }) => field.values.some(Boolean))) return false;
    body.append(outside(series, state));
    return () => {};
  }
  series.forEach((each, index) => {
    each.color = seriesColor(each.field, index) ?? '';
  });
  memory.hidden ??= new Set();
  const { hidden } = memory;
  const step = smallestStep(series) ?? data.interval ?? 0;
  stackTogether(series);
  const axes = axesOf(series, context);
  const box = h('div', { class: 'chart', role: 'img', 'aria-label': `${titleOf(panel, context)}: chart` });
  /** @type {() => ChartOption} */
  const option = () => ({
    grid: GRID,
    xAxis: timeAxis(state),
    yAxis: axes.map((axis) => axis.option),
    series: [...series.map((each) => seriesOption(each, hidden, step, state.zone)), ...marks(context)],
    tooltip: tooltip((/** @type {any[]} */ points) => tip(points, series, panel, context)),
  });
  const fit = (/** @type {Chart} */ chart) => {
    const width = chart.getWidth() - 90;
    const bar = Math.max(
      1,
      ((width * step) / (state.end - state.start)) *
        (panel.fieldConfig?.defaults?.custom?.barWidthFactor ?? 0.8),
    );
    chart.setOption({ series: series.map((each) => (each.kind === 'bar' ? { barWidth: bar } : {})) });
  };
  const options = { showLegend: true, ...panel.options?.legend };
  let key = h('div');
  const drawLegend = () => {
    const drawn = legend(
      series.filter(({ field }) => !field.config.custom.hideFrom?.legend),
      options,
      hidden,
      context,
      () => {
        running.chart.setOption({
          series: series.map((each) => seriesOption(each, hidden, step, state.zone)),
        });
        fit(running.chart);
        drawLegend();
      },
    );
    key.replaceWith(drawn);
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

/**
 * Return what to say of data that begins before the time range, such as the count of a whole day.
 * @type {(series: Series[], state: State) => HTMLElement}
 */
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

/** @type {(each: Series, hidden: Set<string>, step: number, zone: string) => import('echarts').SeriesOption} */
function seriesOption(each, hidden, step, zone) {
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
  each.kind = KINDS[drawStyle];
  const present = field.values.filter((value) => value !== null).length;
  const common = {
    name: field.display,
    yAxisIndex: each.axis,
    color: own,
    data: gone ? [] : times.map((time, i) => [toWall(time, zone) + shift, field.values[i]]),
    stack: each.stack && `${each.stack}-${each.axis}`,
    stackStrategy: /** @type {const} */ ('all'),
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
    step: STEPS[lineInterpolation],
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

/**
 * Return an axis for each unit, the first on the left, and note in each series which is its own.
 * @type {(series: Series[], context: Context) => { option: Axis }[]}
 */
function axesOf(series, context) {
  /** @type {{ unit: string, right: boolean, option: Axis, series: Series[] }[]} */
  const axes = [];
  for (const each of series) {
    const { unit = '', decimals, min, max, custom } = each.field.config;
    const right = custom.axisPlacement === 'right';
    let at = axes.findIndex((axis) => axis.unit === unit && axis.right === right);
    if (at < 0) {
      const log = custom.scaleDistribution?.type === 'log';
      const text = (/** @type {number} */ value) =>
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
  }
  for (const { unit, option, series: own } of axes) {
    const step = option.type === 'value' && option.max === undefined && axisStep(unit, highest(own));
    if (step) Object.assign(option, { interval: step, max: Math.ceil(highest(own) / step) * step });
  }
  return axes;
}

/**
 * Return the highest value that is drawn: of stacked series that of their sum.
 * @type {(series: Series[]) => number}
 */
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

/**
 * Give series that are stacked the same times, because ECharts adds them up point by point.
 * @type {(series: Series[]) => void}
 */
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

/** @type {(series: Series[]) => number | undefined} */
function smallestStep(series) {
  /** @type {number | undefined} */
  let least;
  for (const { times } of series) {
    for (let i = 1; i < times.length; i++)
      if (times[i] > times[i - 1] && !(least !== undefined && times[i] - times[i - 1] >= least))
        least = times[i] - times[i - 1];
  }
  return least;
}

/** @type {(field: Field) => import('echarts').LineSeriesOption['markLine']} */
function thresholdLines({ config }) {
  const { mode } = config.custom.thresholdsStyle ?? {};
  if (!mode || mode === 'off') return undefined;
  const steps = (config.thresholds?.steps ?? []).filter((step) => typeof step.value === 'number');
  const line = (/** @type {{ value?: number | null, color: string }} */ step) => ({
    yAxis: step.value ?? 0,
    lineStyle: {
      color: color(step.color),
      type: /** @type {'dashed' | 'solid'} */ (mode === 'dashed' ? 'dashed' : 'solid'),
    },
  });
  return { silent: true, symbol: 'none', label: { show: false }, data: steps.map(line) };
}

/**
 * Return the annotations as series of their own, which have a line and no points.
 * @type {(context: Context) => import('echarts').LineSeriesOption[]}
 */
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

/** @type {(points: any[], series: Series[], panel: PanelModel, context: Context) => HTMLElement | undefined} */
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
    .map(
      (point) =>
        /** @type {[string, string, string]} */ ([
          series[point.seriesIndex].color,
          point.seriesName,
          valueText(series[point.seriesIndex].field, point.value[1], context),
        ]),
    );
  if (shown.length > 20) notes.push(`and ${shown.length - 20} more`);
  const at = shown[0] ? series[shown[0].seriesIndex].times[shown[0].dataIndex] : wall;
  return tipContent(shown[0] ? shortTime(at, context.state.zone) : '', lines, notes);
}
