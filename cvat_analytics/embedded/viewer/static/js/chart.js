// What all charts have in common: the ECharts instance in its box, colours of the page, axes, and the tooltip's content.
import { style } from './colors.js';
import { h } from './dom.js';
import { fromWall, toWall, formatTime } from './time.js';

/** Return a chart in `box` that keeps the box's size. Canvas, because its SVG would need style attributes, which the page forbids. */
export function chartIn(box, option, resized = () => {}) {
  const chart = window.echarts.init(box, null, { renderer: 'canvas' });
  chart.setOption({ animation: false, useUTC: true, toolbox: { show: false }, textStyle: { fontFamily: 'system-ui, sans-serif', color: style('--quiet') }, ...option });
  const observer = new ResizeObserver(() => {
    chart.resize();
    resized(chart);
  });
  observer.observe(box);
  return { chart, end: () => { observer.disconnect(); chart.dispose(); } };
}

export const GRID = { left: 6, right: 14, top: 14, bottom: 4 };

/** Return an axis of values whose labels `text` writes. */
export function valueAxis(text, extra = {}) {
  return {
    type: 'value', axisLabel: { formatter: text, color: style('--quiet'), hideOverlap: true }, axisLine: { show: false }, axisTick: { show: false },
    splitLine: { lineStyle: { color: style('--grid') } }, nameTextStyle: { color: style('--quiet') }, splitNumber: 4, ...extra,
  };
}

/** Return an axis of names. */
export function nameAxis(names, extra = {}) {
  return {
    type: 'category', data: names, axisTick: { show: false }, axisLine: { lineStyle: { color: style('--line') } }, ...extra,
    axisLabel: { color: style('--quiet'), hideOverlap: true, overflow: 'truncate', width: 190, ...extra.axisLabel },
  };
}

/** Return the time axis for the page's range, in its time zone. ECharts knows UTC only, so times are put where UTC shows the zone's clock. */
export function timeAxis({ start, end, zone }) {
  const formatter = { year: '{yyyy}', month: '{yyyy}-{MM}', day: '{MM}-{dd}', hour: '{HH}:{mm}', minute: '{HH}:{mm}', second: '{HH}:{mm}:{ss}', millisecond: '{HH}:{mm}:{ss}' };
  return {
    type: 'time', min: toWall(start, zone), max: toWall(end, zone), containShape: false, axisLabel: { formatter, color: style('--quiet'), hideOverlap: true },
    axisLine: { lineStyle: { color: style('--line') } }, axisTick: { lineStyle: { color: style('--line') } }, splitLine: { show: false },
  };
}

/** Return the options of a tooltip whose content is made of elements: text from events never becomes markup. */
export function tooltip(content, trigger = 'axis') {
  return {
    trigger, confine: true, formatter: content, backgroundColor: style('--card'), borderColor: style('--line'), padding: 8,
    textStyle: { color: style('--text'), fontSize: 12 }, axisPointer: { type: 'line', lineStyle: { color: style('--quiet') }, label: { show: false } },
  };
}

/** Return a tooltip's content: a title, lines of [colour, name, value], and notes. */
export function tipContent(title, lines, notes = []) {
  const row = ([background, name, value]) => {
    const mark = h('span', { class: 'mark' });
    mark.style.background = background;
    return h('tr', {}, h('td', {}, mark, name), h('td', { class: 'number' }, value));
  };
  return h('div', { class: 'tip' }, h('strong', {}, title), lines.length > 0 && h('table', {}, lines.map(row)), notes.map((note) => h('p', {}, note)));
}

/** Let the visitor choose a time range by dragging over a chart. */
export function dragToZoom(chart, state) {
  chart.dispatchAction({ type: 'takeGlobalCursor', key: 'brush', brushOption: { brushType: 'lineX', brushMode: 'single' } });
  chart.on('brushEnd', ({ areas: [area] }) => {
    if (!area) return;
    const [from, to] = area.coordRange.map((wall) => Math.round(fromWall(wall, state.zone)));
    if (to - from >= 1000) state.set({ from: String(from), to: String(to) });
  });
}

export const BRUSH = { toolbox: [], xAxisIndex: 0, throttleType: 'debounce', outOfBrush: { colorAlpha: 1 } };

/** Return a time in the page's zone, as short as its precision allows. */
export const shortTime = (ms, zone) => formatTime(ms, zone, ms % 60000 ? 'YYYY-MM-DD HH:mm:ss' : 'YYYY-MM-DD HH:mm');
