// What all charts have in common: the ECharts instance in its box, colours of the page, axes, and the tooltip's content.
import { style } from './colors.js';
import { h } from './dom.js';
import { formatTime, fromWall, toWall } from './time.js';

/**
 * Return a chart in `box` that keeps the box's size. Canvas, because its SVG would need style attributes, which the page forbids.
 * @type {(box: HTMLElement, option: ChartOption, resized?: (chart: Chart) => void) => { chart: Chart, end: End }}
 */
export function chartIn(box, option, resized = () => {}) {
  if (!window.echarts) throw new Error('the charts are not installed');
  const chart = window.echarts.init(box, null, { renderer: 'canvas' });
  chart.setOption({
    animation: false,
    useUTC: true,
    textStyle: { fontFamily: 'system-ui, sans-serif', color: style('--quiet') },
    ...option,
  });
  const observer = new ResizeObserver(() => {
    chart.resize();
    resized(chart);
  });
  observer.observe(box);
  return {
    chart,
    end: () => {
      observer.disconnect();
      chart.dispose();
    },
  };
}

export const GRID = { left: 6, right: 14, top: 14, bottom: 4 };

/**
 * Return an axis of values whose labels `text` writes.
 * @type {(text: (value: number) => string, extra?: object) => Axis}
 */
export function valueAxis(text, extra = {}) {
  return {
    type: 'value',
    axisLabel: { formatter: text, color: style('--quiet'), hideOverlap: true },
    axisLine: { show: false },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: style('--grid') } },
    nameTextStyle: { color: style('--quiet') },
    splitNumber: 4,
    ...extra,
  };
}

/**
 * Return an axis of names.
 * @type {(names: string[], extra?: { axisLabel?: object, [name: string]: unknown }) => Axis}
 */
export function nameAxis(names, extra = {}) {
  return {
    type: 'category',
    data: names,
    axisTick: { show: false },
    axisLine: { lineStyle: { color: style('--line') } },
    ...extra,
    axisLabel: {
      color: style('--quiet'),
      hideOverlap: true,
      overflow: 'truncate',
      width: 190,
      ...extra.axisLabel,
    },
  };
}

/**
 * Return the time axis for the page's range, in its time zone. ECharts knows UTC only, so times are put where UTC shows the zone's clock.
 * @type {(state: State) => Axis}
 */
export function timeAxis({ start, end, zone }) {
  const formatter = {
    year: '{yyyy}',
    month: '{yyyy}-{MM}',
    day: '{MM}-{dd}',
    hour: '{HH}:{mm}',
    minute: '{HH}:{mm}',
    second: '{HH}:{mm}:{ss}',
    millisecond: '{HH}:{mm}:{ss}',
  };
  return {
    type: 'time',
    min: toWall(start, zone),
    max: toWall(end, zone),
    containShape: false,
    axisLabel: { formatter, color: style('--quiet'), hideOverlap: true },
    axisLine: { lineStyle: { color: style('--line') } },
    axisTick: { lineStyle: { color: style('--line') } },
    splitLine: { show: false },
  };
}

/**
 * Return the options of a tooltip whose content is made of elements: text from events never becomes markup.
 * @type {(content: (points: any) => HTMLElement | undefined, trigger?: 'axis' | 'item') => object}
 */
export function tooltip(content, trigger = 'axis') {
  return {
    trigger,
    confine: true,
    formatter: content,
    backgroundColor: style('--card'),
    borderColor: style('--line'),
    padding: 8,
    textStyle: { color: style('--text'), fontSize: 12 },
    axisPointer: { type: 'line', lineStyle: { color: style('--quiet') }, label: { show: false } },
  };
}

/**
 * Return a tooltip's content: a title, lines of [colour, name, value], and notes.
 * @type {(title: string, lines: [string, string, string][], notes?: string[]) => HTMLElement}
 */
export function tipContent(title, lines, notes = []) {
  const row = (/** @type {[string, string, string]} */ [background, name, value]) => {
    const mark = h('span', { class: 'mark' });
    mark.style.background = background;
    return h('tr', {}, h('td', {}, mark, name), h('td', { class: 'number' }, value));
  };
  return h(
    'div',
    { class: 'tip' },
    h('strong', {}, title),
    lines.length > 0 && h('table', {}, lines.map(row)),
    notes.map((note) => h('p', {}, note)),
  );
}

/**
 * Let the visitor choose a time range by dragging over a chart.
 * @type {(chart: Chart, state: State) => void}
 */
export function dragToZoom(chart, state) {
  const box = chart.getDom();
  let from = 0;
  /** @type {HTMLElement | undefined} */
  let mark;
  const span = (/** @type {number} */ x) => [Math.min(from, x), Math.max(from, x)];
  const move = (/** @type {PointerEvent} */ event) => {
    const [left, right] = span(
      Math.max(0, Math.min(event.clientX - box.getBoundingClientRect().left, chart.getWidth())),
    );
    mark ??= box.appendChild(h('div', { class: 'selection' }));
    mark.style.left = `${left}px`;
    mark.style.width = `${right - left}px`;
  };
  const end = (/** @type {PointerEvent} */ event) => {
    removeEventListener('pointermove', move);
    mark?.remove();
    mark = undefined;
    const pixels = span(event.clientX - box.getBoundingClientRect().left);
    if (pixels[1] - pixels[0] < 8) return;
    const walls = pixels.map((x) => chart.convertFromPixel({ xAxisIndex: 0 }, x));
    const [start, stop] = walls.map((wall) =>
      Math.round(Math.max(state.start, Math.min(fromWall(wall, state.zone), state.end))),
    );
    if (stop - start >= 1000) state.set({ from: String(start), to: String(stop) });
  };
  box.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    from = event.clientX - box.getBoundingClientRect().left;
    addEventListener('pointermove', move);
    addEventListener('pointerup', end, { once: true });
  });
}

/**
 * Return a time in the page's zone, as short as its precision allows.
 * @type {(ms: number, zone: string) => string}
 */
export const shortTime = (ms, zone) =>
  formatTime(ms, zone, ms % 60000 ? 'YYYY-MM-DD HH:mm:ss' : 'YYYY-MM-DD HH:mm');
