// A list with a search field and check boxes: chooses filter values above the panels and in table columns.
import { h, popup } from './dom.js';

const MOST = 500;

/**
 * Open a list at `anchor`. `chosen` are values of `options`, none for all of them; `multi`: several may be chosen.
 * `done` gets the new ones when the list closes with another choice.
 * @param {HTMLElement} anchor
 * @param {{ label: string, options: Choice[], chosen: Set<string>, multi?: boolean, all?: boolean, note?: string, done: (chosen: Set<string>) => void }} about
 */
export function choose(anchor, { label, options, chosen, multi = true, all = true, note, done }) {
  const selected = new Set(chosen);
  const search = h('input', {
    type: 'search',
    placeholder: 'Search by name',
    'aria-label': `Search in ${label}`,
    input: () => fill(),
    keydown: (event) => event.key === 'Enter' && first(),
  });
  const list = h('div', { class: 'options', role: 'group', 'aria-label': label });
  const matching = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    return options.filter(({ text, value }) =>
      words.every((word) => `${text} ${value}`.toLowerCase().includes(word)),
    );
  };
  const pick = (/** @type {string} */ value) => {
    if (!multi) {
      selected.clear();
      selected.add(value);
      box.close();
    } else selected[selected.has(value) ? 'delete' : 'add'](value);
    fill();
  };
  const first = () => {
    const [found] = matching();
    if (found) pick(found.value);
  };
  const line = (/** @type {Choice} */ { value, text }) =>
    h(
      'label',
      { title: text },
      h('input', {
        type: multi ? 'checkbox' : 'radio',
        checked: selected.has(value),
        value,
        change: () => pick(value),
      }),
      text || '(empty)',
    );
  const fill = () => {
    const found = matching();
    const everything =
      all &&
      !search.value &&
      h(
        'label',
        { class: 'all' },
        h('input', {
          type: multi ? 'checkbox' : 'radio',
          checked: selected.size === 0,
          change: () => {
            selected.clear();
            if (multi) fill();
            else box.close();
          },
        }),
        'All',
      );
    const rest =
      found.length > MOST && h('p', { class: 'quiet' }, `and ${found.length - MOST} more: search for them`);
    list.replaceChildren(
      ...[
        everything,
        ...found.slice(0, MOST).map(line),
        rest,
        !found.length && h('p', { class: 'quiet' }, options.length ? 'Nothing has this name.' : note),
      ].filter((each) => each !== false),
    );
  };
  fill();
  const buttons =
    multi &&
    h(
      'footer',
      {},
      h('button', { type: 'button', click: () => box.close() }, 'Apply'),
      h(
        'button',
        {
          type: 'button',
          class: 'quiet',
          click: () => {
            selected.clear();
            fill();
          },
        },
        'Clear',
      ),
    );
  const box = popup(anchor, [search, list, buttons], {
    label,
    closed: () => {
      const same = selected.size === chosen.size && [...selected].every((value) => chosen.has(value));
      if (!same) done(selected);
    },
  });
}
