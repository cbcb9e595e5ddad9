// Draws a `barchart` panel: one group of bars for each row, standing or lying.
import { chartIn, GRID, nameAxis, tipContent, tooltip, valueAxis } from './chart.js';
import { seriesColor, style } from './colors.js';
import { h } from './dom.js';
import { fieldsOf, valueText } from './fields.js';
import { titleOf } from './interpolate.js';
import { legend } from './legend.js';
import { dataLinks } from './links.js';
import { formatValue } from './units.js';

/** @type {Draw} */
export function barchart(body, panel, data, context) {
  const [frame] = fieldsOf(data.frames, panel.fieldConfig, context);
  const {
    orientation = 'auto',
    showValue = 'auto',
    xField,
    stacking,
    legend: legendOptions,
  } = panel.options ?? {};
  const names =
    frame?.find((field) => field.display === xField) ?? frame?.find((field) => field.kind !== 'number');
  const series = (frame ?? [])
    .filter((field) => field.kind === 'number' && field !== names)
    .map((field, index) => ({ field, color: seriesColor(field, index) ?? '' }));
  if (!names?.values.length || !series.length) return false;
  context.memory.hidden ??= new Set();
  const { hidden } = context.memory;
  const lying =
    orientation === 'horizontal' || (orientation === 'auto' && body.clientHeight > body.clientWidth);
  const { unit, decimals, min, max } = series[0].field.config;
  const labels = names.values.map((_, i) => names.text(i) || '(empty)');
  const values = valueAxis((value) => formatValue(value, unit, decimals, context.state.zone), {
    min,
    max,
    ...(decimals === 0 ? { minInterval: 1 } : {}),
    splitNumber: lying ? 5 : 4,
  });
  const categories = nameAxis(labels, { inverse: lying, axisLabel: lying ? { interval: 0 } : {} });
  /** @type {() => import('echarts').BarSeriesOption[]} */
  const bars = () =>
    series.map(({ field, color }) => ({
      type: 'bar',
      name: field.display,
      color,
      data: hidden.has(field.display) ? [] : field.values,
      stack: stacking === 'normal' ? 'A' : undefined,
      barMaxWidth: 34,
      emphasis: { disabled: true },
      label: {
        show:
          showValue === 'always' ||
          (showValue === 'auto' && labels.length * series.length <= 24 && stacking !== 'normal'),
        position: stacking === 'normal' ? 'inside' : lying ? 'right' : 'top',
        color: style('--text'),
        formatter: (/** @type {any} */ point) => valueText(field, point.value, context),
      },
      itemStyle: { opacity: Math.max(field.config.custom.fillOpacity ?? 80, 30) / 100 },
    }));
  const box = h('div', { class: 'chart', role: 'img', 'aria-label': `${titleOf(panel, context)}: chart` });
  body.append(box);
  const tip = (/** @type {any[]} */ points) =>
    tipContent(
      points[0].name,
      points.map((point) => [
        series[point.seriesIndex].color,
        point.seriesName,
        valueText(series[point.seriesIndex].field, point.value, context),
      ]),
    );
  const running = chartIn(box, {
    grid: { ...GRID, right: lying ? 60 : 14 },
    xAxis: lying ? values : categories,
    yAxis: lying ? categories : values,
    series: bars(),
    tooltip: { ...tooltip(tip), axisPointer: { type: 'shadow' } },
  });
  running.chart.on('click', (/** @type {any} */ { seriesIndex, dataIndex }) => {
    const [link] = dataLinks(series[seriesIndex].field, dataIndex, frame, context);
    if (link) location.assign(link.href);
  });
  if (legendOptions?.showLegend ?? series.length > 1) {
    let key = h('div');
    const draw = () => {
      const drawn = legend(series, legendOptions ?? {}, hidden, context, () => {
        running.chart.setOption({ series: bars() });
        draw();
      });
      key.replaceWith(drawn);
      key = drawn;
    };
    draw();
    body.classList.toggle('beside', legendOptions?.placement === 'right');
    body.append(key);
  }
  return running.end;
}
