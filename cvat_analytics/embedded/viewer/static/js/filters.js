// The filters above the panels: one control for each variable of the dashboard.
import { ask, messageOf } from './api.js';
import { choose } from './choose.js';
import { h } from './dom.js';
import { ALL, choices } from './state.js';

/** The types of variables that the viewer knows. */
const FIXED = ['custom', 'interval'];

/**
 * Return the controls. `context.texts` learns the names of values, such as a user's name for an id.
 * @type {(context: Context) => HTMLElement}
 */
export function filters(context) {
  const variables = (context.state.model.templating?.list ?? []).filter(
    (variable) => variable.hide !== 2 && variable.type !== 'constant',
  );
  return h(
    'div',
    { class: 'filters' },
    variables.map((variable) => {
      const label = variable.hide === 1 ? '' : variable.label || variable.name;
      if (variable.type === 'textbox') return textBox(variable, label, context);
      if (variable.type === 'query' || FIXED.includes(variable.type)) return list(variable, label, context);
      return h('span', { class: 'problem' }, `${label}: the viewer has no filter of type ${variable.type}`);
    }),
  );
}

/** @type {(variable: Variable, label: string, context: Context) => HTMLElement} */
function textBox(variable, label, { state }) {
  const [value = ''] = state.variables[variable.name];
  const apply = () => {
    const typed = input.value.trim();
    if (typed !== value) state.set({ variables: { [variable.name]: [typed] } });
  };
  const input = h('input', {
    type: 'text',
    value,
    spellcheck: 'false',
    'aria-label': label || variable.name,
    change: apply,
    data: { variable: variable.name },
  });
  return h('label', { class: 'filter', title: variable.description }, h('span', {}, label), input);
}

/** @type {(variable: Variable, label: string, context: Context) => HTMLElement} */
function list(variable, label, context) {
  const { state, texts } = context;
  const values = state.variables[variable.name];
  const all = values[0] === ALL;
  texts[variable.name] ??= new Map();
  const names = texts[variable.name];
  const summary = () => {
    if (all) return 'All';
    const shown = values.filter((value) => value !== '').map((value) => names.get(value) ?? value);
    if (!shown.length) return 'None';
    return shown.length > 2 ? `${shown.length} chosen` : shown.join(' + ');
  };
  const text = h('b', {}, summary());
  const open = async () => {
    /** @type {Choice[]} */
    let options;
    try {
      options = await optionsOf(variable, context);
    } catch (error) {
      options = [];
      button.title = messageOf(error);
      button.classList.add('failed');
    }
    const missing = all
      ? []
      : values.filter((value) => value && !options.some((option) => option.value === value));
    choose(button, {
      label: label || variable.name,
      multi: Boolean(variable.multi),
      all: Boolean(variable.includeAll),
      chosen: new Set(all ? [] : values),
      options: [
        ...missing.map((value) => ({ value, text: `${names.get(value) ?? value} (not in this time range)` })),
        ...options,
      ],
      note: 'There is nothing to choose in this time range.',
      done: (chosen) =>
        state.set({
          variables: { [variable.name]: chosen.size ? [...chosen] : [variable.includeAll ? ALL : ''] },
        }),
    });
  };
  const button = h(
    'button',
    {
      type: 'button',
      class: 'filter',
      title: variable.description,
      'aria-haspopup': 'dialog',
      'aria-expanded': 'false',
      click: open,
      data: { variable: variable.name },
    },
    h('span', {}, label),
    text,
  );
  if (FIXED.includes(variable.type))
    for (const option of choices(variable)) names.set(option.value, option.text);
  const unnamed = !all && values.some((value) => value && !names.has(value));
  const undecided =
    variable.type === 'query' && !variable.includeAll && values.every((value) => value === '');
  if (unnamed || undecided) {
    optionsOf(variable, context).then(
      (options) => {
        if (undecided && options.length) state.set({ variables: { [variable.name]: [options[0].value] } });
        else context.named();
      },
      () => {},
    );
  }
  text.textContent = summary();
  context.onNamed(() => {
    text.textContent = summary();
  });
  return button;
}

/**
 * Return what can be chosen, and remember the names.
 * @type {(variable: Variable, context: Context) => Promise<Choice[]>}
 */
async function optionsOf(variable, { state, texts }) {
  if (FIXED.includes(variable.type)) return choices(variable);
  const options = await ask(
    `${encodeURIComponent(state.model.uid)}/variables/${encodeURIComponent(variable.name)}`,
    state.question(),
  );
  for (const { value, text } of options) texts[variable.name].set(value, text);
  return options;
}
