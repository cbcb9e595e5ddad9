// Draws a `stat` panel: one large number for each field, with its course behind it.
import { color, seriesColor, thresholdColor } from './colors.js';
import { h } from './dom.js';
import { fieldsOf, mappingOf, reduce, valueText } from './fields.js';
import { dataLinks, linked } from './links.js';

/** @type {Draw} */
export function stat(body, panel, data, context) {
  const {
    reduceOptions = {},
    colorMode = 'value',
    graphMode = 'area',
    textMode = 'auto',
    orientation = 'auto',
  } = panel.options ?? {};
  const frames = fieldsOf(
    data.frames,
    panel.fieldConfig,
    context,
    data.frames.some((frame) => frame.kinds.includes('time')),
  );
  const wanted = (/** @type {Field} */ field) => reduceOptions.fields || field.kind === 'number';
  let fields = frames.flatMap((frame) =>
    frame.filter((field) => field.kind !== 'time' && wanted(field)).map((field) => ({ field, frame })),
  );
  if (!fields.length)
    fields = frames.flatMap((frame) => frame.slice(0, 1).map((field) => ({ field, frame })));
  const noValue = panel.fieldConfig?.defaults?.noValue;
  const tiles = fields
    .filter(({ field }) => (field.values.length || noValue) && !field.config.custom.hideFrom?.viz)
    .map(({ field, frame }, index) => {
      const value =
        field.kind === 'number'
          ? reduce(field.values, reduceOptions.calcs?.[0] ?? 'lastNotNull')
          : (field.values.at(-1) ?? null);
      const own = ownColor(field, value, index);
      const text = value === null ? (field.config.noValue ?? '–') : valueText(field, value, context);
      const named =
        textMode === 'value_and_name' || textMode === 'name' || (textMode === 'auto' && fields.length > 1);
      const big = h(
        'span',
        { class: text.length > 24 ? 'value long' : 'value' },
        linked(text, dataLinks(field, field.values.length - 1, frame, context)),
      );
      const tile = h(
        'div',
        { class: `tile ${colorMode}` },
        graphMode === 'area' && sparkline(field, own),
        named && h('span', { class: 'name' }, field.display),
        textMode !== 'name' && big,
      );
      tile.style.setProperty('--own', own ?? null);
      tile.style.setProperty('--length', String(Math.max(text.length, 4)));
      return tile;
    });
  if (!tiles.length) return false;
  body.append(h('div', { class: `tiles ${orientation}` }, tiles));
  return () => {};
}

/** @type {(field: Field, value: Value, index: number) => string | undefined} */
function ownColor(field, value, index) {
  const mapped = mappingOf(field.config, value)?.color;
  if (mapped) return color(mapped);
  if (field.config.color?.mode && field.config.color.mode !== 'thresholds') return seriesColor(field, index);
  return thresholdColor(field.config, value) ?? color('green');
}

/**
 * Return the course of a field's values as a picture without numbers, or nothing when there is no course.
 * @type {(field: Field, own?: string) => Child}
 */
function sparkline(field, own) {
  const values = field.values.map((value) => value ?? 0);
  if (field.kind !== 'number' || values.length < 3) return undefined;
  const most = values.reduce((largest, value) => Math.max(largest, value), 0) || 1;
  const points = values.map((value, i) => `${(i / (values.length - 1)) * 100},${40 - (value / most) * 38}`);
  /** @type {(tag: string, attributes: Record<string, string | undefined>, ...children: Node[]) => Node} */
  const svg = (tag, attributes, ...children) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value ?? '');
    element.append(...children);
    return element;
  };
  return svg(
    'svg',
    { viewBox: '0 0 100 40', preserveAspectRatio: 'none', class: 'spark', 'aria-hidden': 'true' },
    svg('path', { d: `M0,40 L${points.join(' L')} L100,40 Z`, fill: own, 'fill-opacity': '0.15' }),
    svg('path', {
      d: `M${points.join(' L')}`,
      fill: 'none',
      stroke: own,
      'vector-effect': 'non-scaling-stroke',
    }),
  );
}
