// What the visitor has chosen, in the page's address as Grafana writes it: from, to, timezone, refresh, var-NAME.
import { isZone, parseTime, zoneName } from './time.js';

export const ALL = '$__all';

/** Return the values of a variable as a list. */
const list = (/** @type {string | string[] | undefined} */ value) =>
  Array.isArray(value) ? value : [value ?? ''];

export class State extends EventTarget {
  timezone = 'browser';
  zone = 'UTC';
  from = '';
  to = '';
  refresh = '';
  /** The range in milliseconds, NaN where `from` or `to` is no time: `problem` says so then, and nothing is drawn. */
  start = NaN;
  end = NaN;
  /** @type {string | undefined} */
  problem = undefined;
  /** @type {Record<string, string[]>} */
  variables = {};

  /** @param {DashboardModel} model */
  constructor(model) {
    super();
    this.model = model;
    this.read();
    addEventListener('popstate', () => {
      this.read();
      this.dispatchEvent(new Event('change'));
    });
  }

  /** Read the address, and settle relative times anew. */
  read() {
    const query = new URLSearchParams(location.search);
    const defaults = this.model.time ?? {};
    const timezone =
      query.get('timezone') ?? localStorage.getItem('timezone') ?? (this.model.timezone || 'browser');
    this.timezone = isZone(timezone) ? timezone : 'browser';
    this.zone = zoneName(this.timezone);
    this.from = query.get('from') ?? defaults.from ?? 'now-7d';
    this.to = query.get('to') ?? defaults.to ?? 'now';
    this.refresh = query.get('refresh') ?? this.model.refresh ?? '';
    this.variables = {};
    for (const variable of this.model.templating?.list ?? []) {
      const given = query.getAll(`var-${variable.name}`);
      const { multi, includeAll } = variable;
      let values =
        given.length && variable.type !== 'constant'
          ? given
          : list(variable.current?.value ?? defaultValue(variable)).map(String);
      if (includeAll && (values.includes(ALL) || values.every((value) => value === ''))) values = [ALL];
      this.variables[variable.name] = multi ? values : values.slice(-1);
    }
    const now = Date.now();
    const start = parseTime(this.from, now, this.zone);
    const end = parseTime(this.to, now, this.zone, true);
    this.start = start ?? NaN;
    this.end = end ?? NaN;
    this.problem = undefined;
    if (start === undefined)
      this.problem = `time ${this.from}: write now, now-7d, now/d or milliseconds since 1970`;
    else if (end === undefined)
      this.problem = `time ${this.to}: write now, now-7d, now/d or milliseconds since 1970`;
    else if (this.start >= this.end)
      this.problem = `time range from ${this.from} to ${this.to}: it ends before it starts`;
  }

  /**
   * Change what is chosen and put it into the address.
   * @param {{ variables?: Record<string, string[]>, from?: string, to?: string, timezone?: string, refresh?: string }} changes
   */
  set(changes) {
    const { variables = {}, ...rest } = changes;
    Object.assign(this, rest);
    if (rest.timezone) localStorage.setItem('timezone', rest.timezone);
    Object.assign(this.variables, variables);
    history.pushState(null, '', `?${this.parameters()}`);
    this.read();
    this.dispatchEvent(new Event('change'));
  }

  /** Return the parameters of an address that shows the same choice, on this dashboard or another. */
  parameters() {
    const query = new URLSearchParams({ from: this.from, to: this.to, timezone: this.timezone });
    for (const [name, value] of this.variableParameters()) query.append(name, value);
    if (this.refresh) query.set('refresh', this.refresh);
    return query;
  }

  /**
   * Return name and value of each variable as they stand in an address.
   * @returns {[string, string][]}
   */
  variableParameters() {
    return Object.entries(this.variables).flatMap(([name, values]) =>
      values.map((value) => /** @type {[string, string]} */ ([`var-${name}`, value])),
    );
  }

  /** Return the parameters of a question to the server: relative times are settled here, so that all panels have the same. */
  question() {
    const query = new URLSearchParams({
      from: String(Math.round(this.start)),
      to: String(Math.round(this.end)),
      timezone: this.zone,
    });
    for (const [name, value] of this.variableParameters()) query.append(name, value);
    return query;
  }

  /**
   * Return whether a variable is a constant, which nobody but the dashboard's author can set.
   * @param {string} name
   */
  isConstant(name) {
    return this.model.templating?.list.find((variable) => variable.name === name)?.type === 'constant';
  }
}

/** @type {(variable: Variable) => string | undefined} */
function defaultValue(variable) {
  if (variable.includeAll) return ALL;
  if (variable.type === 'custom' || variable.type === 'interval') return choices(variable)[0]?.value;
  return variable.type === 'textbox' || variable.type === 'constant' ? variable.query : '';
}

/**
 * Return value and text of what a variable with a fixed list offers: `a,b` or `text : value, …`, `\,` being a comma.
 * @type {(variable: Variable) => Choice[]}
 */
export function choices(variable) {
  const parts = String(variable.query ?? '').match(/(?:\\,|[^,])+/g) ?? [];
  return parts.map((part) => {
    const text = part.trim().replaceAll('\\,', ',');
    const pair = /^(.+)\s:\s(.+)$/.exec(text);
    return pair ? { text: pair[1], value: pair[2] } : { text, value: text };
  });
}
