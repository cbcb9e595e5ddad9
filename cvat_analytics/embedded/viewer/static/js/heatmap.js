// Draws a `heatmap` or `status-history` panel of ready-made rows: one row for each series, one cell for each time, the deeper the more.
import { chartIn, GRID, nameAxis, tipContent, tooltip } from './chart.js';
import { ramp, style } from './colors.js';
import { h } from './dom.js';
import { fieldsOf, valueText } from './fields.js';
import { titleOf } from './interpolate.js';
import { dataLinks } from './links.js';
import { formatTime } from './time.js';

/** @type {Draw} */
export function heatmap(body, panel, data, context) {
  const [frame] = fieldsOf(data.frames, panel.fieldConfig, context, true);
  const time = frame?.find((field) => field.kind === 'time');
  const rows = (frame ?? []).filter((field) => field.kind === 'number');
  if (!time?.values.length || !rows.length) return false;
  const { zone } = context.state;
  const history = panel.type === 'status-history';
  const {
    color = {},
    yAxis = {},
    cellValues = {},
    showValue = 'auto',
    legend = {},
    cellGap = 1,
    filterValues,
  } = panel.options ?? {};
  const { mode = '' } = rows[0].config.color ?? {};
  const scheme = history ? mode.slice('continuous-'.length) : color.scheme;
  const times = filled(time.values);
  const days = times.length > 1 && times[1] - times[0] >= 864e5;
  const label = (/** @type {number} */ each) => formatTime(each, zone, days ? 'MM-DD' : 'MM-DD HH:mm');
  const places = new Map(times.map((each, i) => [each, i]));
  const least = filterValues?.le ?? 1e-9;
  const cells = rows.flatMap((field, y) =>
    time.values.flatMap((each, i) =>
      field.values[i] === null || field.values[i] < least ? [] : [[places.get(each), y, field.values[i], i]],
    ),
  );
  if (!cells.length) return false;
  const unit = {
    ...rows[0].config,
    unit: cellValues.unit ?? rows[0].config.unit,
    decimals: cellValues.decimals ?? rows[0].config.decimals,
  };
  const text = (/** @type {number} */ value) => valueText({ ...rows[0], config: unit }, value, context);
  const most = cells.reduce((largest, cell) => Math.max(largest, cell[2]), 0);
  const colors = ramp(scheme);
  const box = h('div', { class: 'chart', role: 'img', 'aria-label': `${titleOf(panel, context)}: heat map` });
  body.append(box);
  const fits = () =>
    showValue === 'always' ||
    (showValue === 'auto' && box.clientWidth / times.length > 44 && box.clientHeight / rows.length > 15);
  /** @type {import('echarts').VisualMapComponentOption} */
  const key = {
    type: 'continuous',
    dimension: 2,
    min: color.min ?? rows[0].config.min ?? 0,
    max: color.max ?? rows[0].config.max ?? most,
    calculable: false,
    orient: 'vertical',
    right: 4,
    top: 'center',
    itemHeight: 90,
    itemWidth: 10,
    formatter: (value) => text(Number(value)),
    inRange: { color: colors },
    textStyle: { color: style('--quiet'), fontSize: 10 },
  };
  const keyed = history ? legend.showLegend !== false : legend.show !== false;
  const wide = 8 + text(most).length * 6;
  const running = chartIn(box, {
    grid: { ...GRID, right: !keyed ? 8 : 24 + wide },
    xAxis: nameAxis(times.map(label), { splitArea: { show: false } }),
    yAxis: nameAxis(
      rows.map((field) => field.display),
      {
        inverse: history || yAxis.reverse === true, // Grafana begins a history at the top and a heat map at the bottom
        axisLabel: { interval: 0 },
      },
    ),
    visualMap: { ...key, show: keyed, text: [text(most), text(color.min ?? 0)] },
    series: [
      {
        type: 'heatmap',
        data: cells,
        itemStyle: { borderColor: style('--card'), borderWidth: cellGap + 1, borderRadius: 3 },
        emphasis: { itemStyle: { borderColor: style('--text') } },
        label: {
          show: fits(),
          formatter: (/** @type {any} */ { value }) => text(value[2]),
          color: style('--text'),
          fontSize: 10,
        },
      },
    ],
    tooltip: tooltip(
      ({ value }) =>
        tipContent(label(times[value[0]]), [[colors[2], rows[value[1]].display, text(value[2])]]),
      'item',
    ),
  });
  running.chart.on('click', (/** @type {any} */ { value }) => {
    const [link] = dataLinks(rows[value[1]], value[3], frame, context);
    if (link) location.assign(link.href);
  });
  return running.end;
}

/**
 * Return all times from the first to the last in the steps that they have, so that an empty day leaves a gap.
 * @type {(times: number[]) => number[]}
 */
function filled(times) {
  if (times.length < 2) return times;
  const step = times.slice(1).reduce((least, each, i) => Math.min(least, each - times[i]), Infinity);
  const steps = (times[times.length - 1] - times[0]) / step;
  if (!(steps < 2000) || times.some((each) => (each - times[0]) % step)) return times;
  return Array.from({ length: Math.round(steps) + 1 }, (_, i) => times[0] + i * step);
}
