// Numbers as people read them: Grafana's units and decimals, as far as the dashboards use them.
import { formatTime } from './time.js';

/** @typedef {(value: number, decimals?: number) => [string, string]} Unit */

/** @type {(steps: [number, string][]) => Unit} */
const scaled = (steps) => (value, decimals) => {
  const size = Math.abs(value);
  const [limit, suffix] = steps.findLast(([from]) => size >= from) ?? steps[0];
  const shown = value / (limit || 1);
  return [
    number(
      shown,
      decimals ?? (Math.abs(shown) >= 100 || Number.isInteger(shown) ? 0 : Math.abs(shown) >= 10 ? 1 : 2),
    ),
    suffix,
  ];
};
/** @type {(suffix?: string) => Unit} */
const plain =
  (suffix = '') =>
  (value, decimals) => [number(value, decimals), suffix];
/** @type {(size: number, name: string) => Unit} */
const seconds = (size, name) => (value, decimals) =>
  value === 0 ? ['0', ` ${name}`] : DURATION((value * size) / 1000, decimals);
const DURATION = scaled([
  [1e-6, ' µs'],
  [1e-3, ' ms'],
  [1, ' s'],
  [60, ' min'],
  [3600, ' h'],
  [86400, ' d'],
  [31557600, ' y'],
]);
const SHORT = scaled([
  [0, ''],
  [1e3, ' K'],
  [1e6, ' Mil'],
  [1e9, ' Bil'],
  [1e12, ' Tri'],
]);

// as Grafana names them; what is not here is written behind the number, and said (supported.js)
/** @type {Record<string, Unit>} */
const UNITS = {
  none: plain(),
  locale: plain(),
  string: plain(),
  short: SHORT,
  ms: seconds(1, 'ms'),
  s: seconds(1e3, 's'),
  bytes: scaled(
    ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'].map((name, power) => [power && 1024 ** power, ` ${name}`]),
  ),
  percent: plain('%'),
  percentunit: (value, decimals) => [number(value * 100, decimals ?? (Math.abs(value) < 0.1 ? 1 : 0)), '%'],
  eps: (value, decimals) => [SHORT(value, decimals).join(''), ' evt/s'],
};

// making one takes far longer than writing a number with it
/** @type {Map<string, Intl.NumberFormat>} */
const FORMATS = new Map();

/**
 * Return a number with separators; without `decimals` as many as it needs, three at most.
 * @type {(value: number, decimals?: number) => string}
 */
export function number(value, decimals) {
  const most =
    decimals ?? (Number.isInteger(value) ? 0 : Math.abs(value) >= 100 ? 1 : Math.abs(value) >= 1 ? 2 : 3);
  const key = `${decimals ?? 0} ${most}`;
  let format = FORMATS.get(key);
  if (!format) {
    format = new Intl.NumberFormat('en-US', {
      minimumFractionDigits: decimals ?? 0,
      maximumFractionDigits: most,
    });
    FORMATS.set(key, format);
  }
  return format.format(value);
}

const CLOCK = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000,
  864000,
];
/** @type {Record<string, number>} */
const IN_SECONDS = { ms: 1e3, s: 1 };

/**
 * Return the distance of an axis' lines that people read easily for values up to `most`, or undefined for the usual one.
 * @type {(unit: string, most: number) => number | undefined}
 */
export function axisStep(unit, most) {
  if (!(most > 0)) return undefined;
  if (unit === 'bytes') return most < 1024 ? undefined : 2 ** Math.ceil(Math.log2(most / 4));
  const perSecond = IN_SECONDS[unit];
  const step = perSecond && most / perSecond > 20 && CLOCK.find((each) => each >= most / perSecond / 5);
  return step ? step * perSecond : undefined;
}

/**
 * Return whether the viewer knows a unit.
 * @type {(unit?: string) => boolean}
 */
export const knowsUnit = (unit) => !unit || unit in UNITS || /^(time|suffix|prefix):/.test(unit);

/**
 * Return the text of a value in `unit`. Unknown units are written behind the number.
 * @type {(value: Value, unit: string | undefined, decimals: number | undefined, zone: string) => string}
 */
export function formatValue(value, unit, decimals, zone) {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'number') return String(value);
  if (unit?.startsWith('time:')) return formatTime(value, zone, unit.slice(5));
  if (unit?.startsWith('suffix:')) return number(value, decimals) + unit.slice(7);
  if (unit?.startsWith('prefix:')) return unit.slice(7) + number(value, decimals);
  const [text, suffix] = (UNITS[unit || 'none'] ?? plain(` ${unit}`))(value, decimals);
  return text + suffix;
}
