// Parts of a table panel: totals, pages, and how wide the columns are.
import { h } from './dom.js';
import { REDUCERS, reduce, valueText } from './fields.js';

/**
 * Return the footer's cells: calculations over all rows that pass the column filters.
 * @type {(columns: Field[], rows: number[], panel: PanelModel, context: Context) => HTMLElement | undefined}
 */
export function totalsOf(columns, rows, panel, context) {
  const old = panel.options?.footer;
  const cells = columns.map((field) => {
    const reducers =
      field.config.custom['footer.reducers'] ??
      field.config.custom.footer?.reducers ??
      (old?.show && field.kind === 'number' && (!old.fields?.length || old.fields.includes(field.display))
        ? old.reducer
        : undefined) ??
      [];
    return reducers.map((/** @type {string} */ reducer) => ({
      name: REDUCERS[reducer][0],
      value: reduce(
        rows.map((i) => field.values[i]),
        reducer,
      ),
      field,
      reducer,
    }));
  });
  if (!cells.some((each) => each.length)) return undefined;
  const text = (
    /** @type {{ name: string, value: Value, field: Field, reducer: string }} */ {
      name,
      value,
      field,
      reducer,
    },
  ) => [
    h('span', { class: 'quiet' }, `${name} `),
    reducer.includes('ount') ? value.toLocaleString('en-US') : valueText(field, value, context),
  ];
  return h(
    'tr',
    {},
    cells.map((each, i) => h('td', { class: align(columns[i]) }, each.flatMap(text))),
  );
}

/**
 * Return the buttons that lead through the pages of `count` rows; `go` gets the number of the page.
 * @type {(page: number, pages: number, size: number, count: number, go: (page: number) => void) => HTMLElement}
 */
export function pager(page, pages, size, count, go) {
  const button = (/** @type {string} */ text, /** @type {string} */ label, /** @type {number} */ target) =>
    h(
      'button',
      {
        type: 'button',
        class: 'quiet',
        'aria-label': label,
        disabled: target < 0 || target >= pages || target === page,
        click: () => go(target),
        data: { focus: label },
      },
      text,
    );
  const last = Math.min((page + 1) * size, count);
  return h(
    'div',
    { class: 'bar pager' },
    button('«', 'First page', 0),
    button('‹', 'Previous page', page - 1),
    h('span', {}, `Page ${page + 1} of ${pages}`),
    button('›', 'Next page', page + 1),
    button('»', 'Last page', pages - 1),
    h('span', { class: 'quiet' }, `${page * size + 1} – ${last} of ${count.toLocaleString('en-US')} rows`),
  );
}

/**
 * Return the columns' widths in pixels: as configured or dragged, the others by what is in them, filling the panel.
 * @type {(columns: Field[], dragged: Map<string, number>, room: number) => number[]}
 */
export function widthsOf(columns, dragged, room) {
  const wanted = columns.map((field) => {
    const { custom } = field.config;
    const set = dragged.get(field.display) ?? custom.width;
    if (set) return { width: set, fixed: true, least: set };
    const longest = Math.max(
      field.display.length + 4,
      ...field.values.slice(0, 60).map((_, i) => field.text(i).length),
    );
    const least = custom.minWidth ?? 110;
    return {
      width: Math.min(Math.max(longest * 6.9 + 22, custom.minWidth ?? 70), Math.max(320, least)),
      fixed: false,
      least,
    };
  });
  const sum = (/** @type {{ width: number }[]} */ list) =>
    list.reduce((total, { width }) => total + width, 0);
  const free = wanted.filter(({ fixed }) => !fixed);
  const rest = room - sum(wanted);
  // too wide: those with a width of their own choice give way as far as they may; else they share what is left
  const least = free.reduce((total, each) => total + Math.min(each.width, each.least), 0);
  const share = rest >= 0 ? rest / (sum(free) || 1) : Math.max(-1, rest / (sum(free) - least || 1));
  return wanted.map(({ width, fixed, least: own }) => {
    if (fixed) return width;
    return Math.floor(rest >= 0 ? width * (1 + share) : width + (width - Math.min(width, own)) * share);
  });
}

/**
 * Return on which side of its column a field is written.
 * @type {(field: Field) => string}
 */
export const align = ({ kind, config: { custom, links, unit } }) => {
  if (custom.align && custom.align !== 'auto') return custom.align;
  return kind === 'number' && (unit || !links?.length) ? 'right' : 'left';
};
