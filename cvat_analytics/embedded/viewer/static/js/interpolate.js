// Puts variables into titles, texts and links, as Grafana does: $name, ${name}, ${name:format}, and its built-in ones.
import { ALL } from './state.js';

const REFERENCE = /\$\{([^}:]+)(?::([^}]+))?\}|\[\[(\w+)(?::(\w+))?\]\]|\$(\w+)/g;

/**
 * Return `text` with its variables filled in; unknown ones stay as they are.
 * `scope` has values of its own, by name; `encode` is applied to what is filled in, unless a format says otherwise.
 * @param {string | undefined} text
 * @param {State} state
 * @param {{ scope?: Record<string, Value>, encode?: (text: string) => string, texts?: Texts }} more
 */
export function interpolate(text, state, { scope = {}, encode = (value) => value, texts = {} } = {}) {
  return String(text ?? '').replace(REFERENCE, (whole, braced, format, square, squareFormat, plain) => {
    const name = braced ?? square ?? plain;
    const wanted = format ?? squareFormat;
    if (name === '__url_time_range')
      return new URLSearchParams({ from: state.from, to: state.to }).toString();
    if (name === '__all_variables') return new URLSearchParams(state.variableParameters()).toString();
    if (name === '__from') return String(Math.round(state.start));
    if (name === '__to') return String(Math.round(state.end));
    if (name === '__dashboard' || name === '__dashboard.title') return encode(state.model.title);
    if (name === '__dashboard.uid') return encode(state.model.uid);
    if (name in scope) return wanted === 'raw' ? String(scope[name]) : encode(String(scope[name] ?? ''));
    const values = state.variables[name];
    if (!values) return /^__(data|value|field|series)\b/.test(name) ? '' : whole;
    if (wanted === 'queryparam')
      return new URLSearchParams(values.map((value) => [`var-${name}`, value])).toString();
    if (wanted === 'raw' || state.isConstant(name)) return values.join(','); // an address may begin with one
    if (values[0] === ALL) return encode('All');
    const shown =
      wanted === 'text' || !wanted ? values.map((value) => texts[name]?.get(value) ?? value) : values;
    return wanted === 'percentencode'
      ? shown.map(encodeURIComponent).join(',')
      : encode(shown.join(wanted === 'csv' ? ',' : ' + '));
  });
}

/**
 * Return a panel's title as it is read.
 * @type {(panel: PanelModel, context: Context) => string}
 */
export const titleOf = (panel, { state, texts }) => interpolate(panel.title, state, { texts });
