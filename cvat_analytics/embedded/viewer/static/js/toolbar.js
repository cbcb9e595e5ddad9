// Time range, time zone, refresh and annotations: the controls on the right above the panels.
import { h, popup } from './dom.js';
import { describeRange, formatTime, parseTime, RANGES } from './time.js';

const REFRESH = ['', '5s', '10s', '30s', '1m', '5m', '15m', '30m', '1h', '2h', '1d'];
const ZONES = [
  'browser',
  'utc',
  'Asia/Tokyo',
  'Europe/Berlin',
  'Europe/London',
  'America/New_York',
  'America/Los_Angeles',
  'Asia/Kolkata',
  'Asia/Shanghai',
];

/**
 * Return the controls. `refresh` loads everything anew; `toggle` switches one of `annotations`.
 * @param {Context} context
 * @param {{ refresh: () => void, annotations: Annotation[], toggle: (index: number, on: boolean) => void }} actions
 */
export function toolbar({ state }, { refresh, annotations, toggle }) {
  const now = Date.now();
  const range = h(
    'button',
    {
      type: 'button',
      id: 'range',
      'aria-haspopup': 'dialog',
      'aria-expanded': 'false',
      title: state.problem
        ? ''
        : `${formatTime(state.start, state.zone)} to ${formatTime(state.end, state.zone)}`,
      click: () => void picker(range, state),
    },
    '◷ ',
    state.problem ? 'Time range' : describeRange(state.from, state.to, now, state.zone),
  );
  /** @type {Record<string, string>} */
  const names = { browser: `Browser (${Intl.DateTimeFormat().resolvedOptions().timeZone})`, utc: 'UTC' };
  const zone = h(
    'select',
    {
      id: 'zone',
      'aria-label': 'Time zone',
      title: 'Time zone',
      change: () => void state.set({ timezone: zone.value }),
    },
    [...new Set([...ZONES, state.timezone])].map((name) =>
      h('option', { value: name, selected: name === state.timezone }, names[name] ?? name),
    ),
  );
  zone.value = state.timezone;
  const every = h(
    'select',
    {
      id: 'refresh',
      'aria-label': 'Refresh every',
      title: 'Refresh every',
      change: () => void state.set({ refresh: every.value }),
    },
    [...new Set([...REFRESH, state.refresh])].map((text) => h('option', { value: text }, text || 'Off')),
  );
  every.value = state.refresh;
  const marks = annotations.map(({ name, color, on }, index) => {
    const mark = h('span', { class: 'mark' });
    mark.style.background = color;
    const box = h('input', { type: 'checkbox', checked: on, change: () => void toggle(index, box.checked) });
    return h('label', { class: 'switch', title: `Marks in the graphs: ${name}` }, box, mark, name);
  });
  return h(
    'div',
    { class: 'toolbar' },
    marks,
    h(
      'button',
      {
        type: 'button',
        class: 'quiet',
        title: 'Earlier',
        'aria-label': 'Earlier',
        click: () => move(state, -0.5),
      },
      '‹',
    ),
    range,
    h(
      'button',
      {
        type: 'button',
        class: 'quiet',
        title: 'Later',
        'aria-label': 'Later',
        click: () => move(state, 0.5),
      },
      '›',
    ),
    h(
      'button',
      {
        type: 'button',
        class: 'quiet',
        title: 'Twice as long',
        'aria-label': 'Zoom out',
        click: () => zoomOut(state),
      },
      '⊖',
    ),
    zone,
    h(
      'button',
      { type: 'button', id: 'reload', title: 'Load again', 'aria-label': 'Load again', click: refresh },
      '↻',
    ),
    every,
  );
}

/** @type {(anchor: HTMLElement, state: State) => void} */
function picker(anchor, state) {
  const write = (/** @type {string} */ text, /** @type {number} */ ms) =>
    /now/.test(text) || Number.isNaN(ms) ? text : formatTime(ms, state.zone);
  const from = h('input', { type: 'text', id: 'from', value: write(state.from, state.start) });
  const to = h('input', { type: 'text', id: 'to', value: write(state.to, state.end) });
  const problem = h('p', { class: 'problem', hidden: true });
  const apply = (/** @type {Event} */ event) => {
    event.preventDefault();
    const [start, end] = [
      parseTime(from.value.trim(), Date.now(), state.zone),
      parseTime(to.value.trim(), Date.now(), state.zone, true),
    ];
    problem.hidden = start !== undefined && end !== undefined && start < end;
    problem.textContent =
      start === undefined || end === undefined
        ? 'Write now-7d, now/d or 2026-01-31 08:00'
        : 'It ends before it starts';
    if (!problem.hidden) return;
    const kept = (/** @type {string} */ text, /** @type {number | undefined} */ ms) =>
      text.includes('now') ? text.trim() : String(ms);
    box.close();
    state.set({ from: kept(from.value, start), to: kept(to.value, end) });
  };
  const form = h(
    'form',
    { submit: apply },
    h('label', {}, 'From', from),
    h('label', {}, 'To', to),
    problem,
    h('button', { type: 'submit' }, 'Apply'),
    h('p', { class: 'quiet' }, `Times are ${state.zone}. A drag over a graph chooses its part.`),
  );
  const quick = h(
    'ul',
    { class: 'menu' },
    RANGES.map(([start, end, text]) =>
      h(
        'li',
        {},
        h(
          'button',
          {
            type: 'button',
            class: 'link',
            'aria-current': start === state.from && end === state.to ? 'true' : undefined,
            click: () => {
              box.close();
              state.set({ from: start, to: end });
            },
          },
          text,
        ),
      ),
    ),
  );
  const box = popup(anchor, h('div', { class: 'picker' }, form, quick), { label: 'Time range' });
}

/** @type {(state: State, share: number) => void} */
function move(state, share) {
  if (state.problem) return;
  const by = Math.round((state.end - state.start) * share);
  state.set({ from: String(Math.round(state.start + by)), to: String(Math.round(state.end + by)) });
}

/** @type {(state: State) => void} */
function zoomOut(state) {
  if (state.problem) return;
  const half = Math.round((state.end - state.start) / 2);
  state.set({
    from: String(Math.round(state.start - half)),
    to: String(Math.round(Math.min(state.end + half, Math.max(state.end, Date.now())))),
  });
}
