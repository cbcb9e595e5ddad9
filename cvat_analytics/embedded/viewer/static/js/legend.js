// The legend of a chart: values beside the names; a click shows one series alone, Ctrl-click adds or removes one.
import { h } from './dom.js';
import { REDUCERS, reduce, valueText } from './fields.js';

/**
 * Return the legend of `series`, whose names in `hidden` are not shown. `changed` is called after a click.
 * @param {{ field: Field, color?: string }[]} series
 * @param {{ displayMode?: string, placement?: string, calcs?: string[], sortBy?: string, sortDesc?: boolean }} options
 * @param {Set<string>} hidden
 * @param {PanelContext} context
 * @param {() => void} changed
 */
export function legend(series, options, hidden, context, changed) {
  const { displayMode = 'list', placement = 'bottom', calcs = [], sortBy, sortDesc } = options;
  const rows = series.map(({ field, color }) => ({
    field,
    color,
    values: calcs.map((calc) => reduce(field.values, calc)),
  }));
  const at = calcs.findIndex((calc) => REDUCERS[calc][0] === sortBy);
  if (at >= 0) rows.sort((a, b) => (b.values[at] - a.values[at]) * (sortDesc ? 1 : -1));
  if (sortBy === 'Name')
    rows.sort((a, b) => a.field.display.localeCompare(b.field.display) * (sortDesc ? -1 : 1));
  const names = series.map(({ field }) => field.display);
  const click = (/** @type {string} */ name) => (/** @type {MouseEvent} */ event) => {
    const alone = names.every((each) => hidden.has(each) === (each !== name));
    if (event.ctrlKey || event.metaKey || event.shiftKey) hidden[hidden.has(name) ? 'delete' : 'add'](name);
    else {
      hidden.clear();
      if (!alone) for (const each of names) if (each !== name) hidden.add(each);
    }
    changed();
  };
  const button = (/** @type {{ field: Field, color?: string }} */ { field, color }) => {
    const mark = h('span', { class: 'mark' });
    mark.style.background = color ?? '';
    return h(
      'button',
      {
        type: 'button',
        class: 'series',
        title: `${field.display}: click to show it alone, Ctrl-click to add it or take it away`,
        'aria-pressed': String(!hidden.has(field.display)),
        click: click(field.display),
      },
      mark,
      field.display || '(empty)',
    );
  };
  const value = (/** @type {Field} */ field, /** @type {Value} */ number) =>
    number === null ? '' : valueText(field, number, context);
  if (displayMode === 'table') {
    const head = h(
      'tr',
      {},
      h('th', {}, 'Name'),
      calcs.map((calc) => h('th', { class: 'number' }, REDUCERS[calc][0])),
    );
    const body = rows.map((row) =>
      h(
        'tr',
        {},
        h('td', {}, button(row)),
        row.values.map((number) => h('td', { class: 'number' }, value(row.field, number))),
      ),
    );
    return h(
      'div',
      { class: `legend ${placement}` },
      h('table', {}, h('thead', {}, head), h('tbody', {}, body)),
    );
  }
  const items = rows.map((row) =>
    h(
      'li',
      {},
      button(row),
      calcs.map((calc, i) =>
        h('span', { class: 'quiet' }, ` ${REDUCERS[calc][0]}: `, h('b', {}, value(row.field, row.values[i]))),
      ),
    ),
  );
  return h('div', { class: `legend ${placement}` }, h('ul', {}, items));
}
