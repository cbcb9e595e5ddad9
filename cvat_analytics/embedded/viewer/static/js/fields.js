// Turns the server's frames into fields: values with labels, a name to show, and the options of the panel's fieldConfig.
import { thresholdColor } from './colors.js';
import { interpolate } from './interpolate.js';
import { formatTime } from './time.js';
import { formatValue } from './units.js';

/**
 * Return a frame (a list of fields) for each of the server's frames. `wide`: text columns become labels of series.
 * @type {(frames: Rows[], fieldConfig: FieldConfig | undefined, context: Context, wide?: boolean) => Field[][]}
 */
export function fieldsOf(frames, fieldConfig, context, wide = false) {
  const columns = frames.map((frame) =>
    wide ? widened(frame) : frame.names.map((name, i) => column(frame, i, name)),
  );
  const keys = new Set(columns.flat().flatMap((each) => Object.keys(each.labels)));
  const completed = (/** @type {Column} */ each) => {
    const display = displayName(each, keys);
    /** @type {Field} */
    const field = {
      ...each,
      display,
      config: { custom: {} },
      text: (index) => valueText(field, field.values[index], context),
    };
    const options = configOf(field, fieldConfig);
    if (options.displayName) {
      /** @type {Record<string, string>} */
      const scope = {
        '__field.name': field.name,
        '__field.displayName': field.display,
        '__series.name': field.display,
      };
      for (const [key, label] of Object.entries(field.labels)) scope[`__field.labels.${key}`] = label;
      field.display = interpolate(options.displayName, context.state, { scope });
    }
    field.config = configOf(field, fieldConfig); // again: overrides go by the name that is shown
    return field;
  };
  return columns.map((frame) => frame.map(completed));
}

/** @type {(frame: Rows, i: number, name: string) => Column} */
const column = (frame, i, name) => ({
  name,
  kind: frame.kinds[i],
  labels: {},
  refId: frame.refId,
  values: frame.rows.map((row) => row[i]),
});

/**
 * Return the columns of a long frame with one series for each combination of its texts.
 * @type {(frame: Rows) => Column[]}
 */
function widened(frame) {
  const time = frame.kinds.indexOf('time');
  const texts = frame.kinds.flatMap((kind, i) => (kind === 'text' ? [i] : []));
  const numbers = frame.kinds.flatMap((kind, i) => (kind === 'number' ? [i] : []));
  if (time < 0) return frame.names.map((name, i) => column(frame, i, name));
  const times = [...new Set(frame.rows.map((row) => row[time]))].sort((a, b) => a - b);
  const places = new Map(times.map((value, place) => [value, place]));
  /** @type {Map<string, Column>} */
  const series = new Map();
  for (const row of frame.rows) {
    for (const i of numbers) {
      const key = JSON.stringify([i, ...texts.map((at) => row[at])]);
      let one = series.get(key);
      if (!one) {
        const labels = Object.fromEntries(texts.map((at) => [frame.names[at], row[at] ?? '']));
        one = {
          name: frame.names[i],
          kind: 'number',
          labels,
          refId: frame.refId,
          values: new Array(times.length).fill(null),
        };
        series.set(key, one);
      }
      one.values[/** @type {number} */ (places.get(row[time]))] = row[i];
    }
  }
  const byLabels = (/** @type {Column} */ a, /** @type {Column} */ b) =>
    Object.values(a.labels).join().localeCompare(Object.values(b.labels).join());
  return [
    { name: frame.names[time], kind: 'time', labels: {}, refId: frame.refId, values: times },
    ...[...series.values()].sort(byLabels),
  ];
}

/** @type {(field: Column, keys: Set<string>) => string} */
function displayName(field, keys) {
  const labels = Object.entries(field.labels);
  if (!labels.length) return field.name;
  const text =
    keys.size === 1 ? labels[0][1] : `{${labels.map(([key, value]) => `${key}="${value}"`).join(', ')}}`;
  return /^value$/i.test(field.name) ? text : `${field.name} ${text}`;
}

/**
 * Return a field's options by Grafana's names: the defaults, then each override that fits.
 * @type {(field: Field, fieldConfig?: FieldConfig) => FieldOptions}
 */
function configOf(field, fieldConfig = {}) {
  const { custom = {}, ...defaults } = fieldConfig.defaults ?? {};
  /** @type {FieldOptions} */
  const config = { ...defaults, custom: { ...custom } };
  for (const { matcher, properties } of fieldConfig.overrides ?? []) {
    if (!matches(field, matcher)) continue;
    for (const { id, value } of properties) {
      if (id.startsWith('custom.')) config.custom[id.slice(7)] = value;
      else config[id] = value;
    }
  }
  return config;
}

/**
 * The overrides' matchers that the viewer knows.
 * @type {Record<string, (field: Field, options: Json) => boolean>}
 */
export const MATCHERS = {
  byName: (field, name) => field.display === name || field.name === name,
  byNames: (field, { names, mode }) => names.includes(field.display) !== (mode === 'exclude'),
  byRegexp: (field, pattern) => new RegExp(pattern.replace(/^\/|\/$/g, '')).test(field.display),
  byType: (field, type) => (type === 'string' ? 'text' : type) === field.kind,
  byFrameRefID: (field, refId) => field.refId === refId,
};
/** @type {(field: Field, matcher: Matcher) => boolean} */
const matches = (field, { id, options }) => MATCHERS[id]?.(field, options) ?? false;

/**
 * Return the value mapping that fits, or undefined.
 * @type {(config: FieldOptions, value: Value) => { text?: string, color?: string } | undefined}
 */
export function mappingOf(config, value) {
  for (const { type, options } of config.mappings ?? []) {
    /** @type {Record<string, boolean>} */
    const special = {
      null: value === null,
      nan: Number.isNaN(value),
      'null+nan': value === null || Number.isNaN(value),
      true: value === true,
      false: value === false,
      empty: value === '',
    };
    if (type === 'value' && options[String(value)]) return options[String(value)];
    if (
      type === 'range' &&
      typeof value === 'number' &&
      (options.from ?? -Infinity) <= value &&
      value <= (options.to ?? Infinity)
    )
      return options.result;
    if (
      type === 'regex' &&
      typeof value === 'string' &&
      new RegExp(options.pattern.replace(/^\/|\/$/g, '')).test(value)
    )
      return options.result;
    if (type === 'special' && special[options.match]) return options.result;
  }
  return undefined;
}

/**
 * Return a value as it is shown.
 * @type {(field: Field, value: Value, context: Context) => string}
 */
export function valueText(field, value, context) {
  const mapped = mappingOf(field.config, value);
  if (mapped?.text !== undefined) return mapped.text;
  if (value === null || value === undefined) return field.config.noValue ?? '';
  const { unit, decimals } = field.config;
  if (field.kind === 'time')
    return unit?.startsWith('time:')
      ? formatValue(value, unit, decimals, context.state.zone)
      : formatTime(value, context.state.zone);
  if (field.kind !== 'number') return String(value);
  // an id is a name, not a quantity: it has a link and no unit, and is written without separators
  if (!unit && decimals === undefined && (field.config.links?.length || /(^|[ _])id$/i.test(field.name)))
    return String(value);
  return formatValue(value, unit, decimals, context.state.zone);
}

/**
 * Return the colour of a value by its mapping or threshold, or undefined.
 * @type {(field: Field, value: Value) => string | undefined}
 */
export const valueColor = (field, value) =>
  mappingOf(field.config, value)?.color ?? thresholdColor(field.config, value);

/**
 * Grafana's calculations over a field's values, those that the viewer knows.
 * @type {Record<string, [string, (values: Value[]) => Value]>}
 */
export const REDUCERS = {
  sum: ['Total', (values) => values.reduce((sum, value) => sum + value, 0)],
  mean: ['Mean', (values) => values.reduce((sum, value) => sum + value, 0) / values.length],
  max: ['Max', (values) => values.reduce((most, value) => Math.max(most, value), -Infinity)],
  min: ['Min', (values) => values.reduce((least, value) => Math.min(least, value), Infinity)],
  last: ['Last', (values) => values.at(-1)],
  lastNotNull: ['Last *', (values) => values.at(-1)],
  first: ['First', (values) => values[0]],
  firstNotNull: ['First *', (values) => values[0]],
  count: ['Count', (values) => values.length],
  distinctCount: ['Distinct', (values) => new Set(values).size],
  range: ['Range', (values) => REDUCERS.max[1](values) - REDUCERS.min[1](values)],
};

/**
 * Return the result of a calculation over what of `values` is not empty, or null when nothing is.
 * @type {(values: Value[], reducer: string) => Value}
 */
export function reduce(values, reducer) {
  const present = values.filter((value) => value !== null && value !== undefined);
  return present.length || reducer === 'count' || reducer === 'sum' ? REDUCERS[reducer][1](present) : null;
}
