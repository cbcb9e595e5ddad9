// Numbers as people read them: Grafana's units and decimals, as far as the dashboards use them.
import { formatTime } from './time.js';

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
const plain =
  (suffix = '') =>
  (value, decimals) => [number(value, decimals), suffix];
const bytes = (base, names) => scaled(names.map((name, power) => [power ? base ** power : 0, ` ${name}`]));
const seconds = (size, name) => (value, decimals) =>
  value === 0 ? ['0', ` ${name}`] : DURATION((value * size) / 1000, decimals);
const DURATION = scaled(
  [
    [0, ' µs'],
    [1e-3, ' ms'],
    [1, ' s'],
    [60, ' min'],
    [3600, ' h'],
    [86400, ' d'],
    [31557600, ' y'],
  ].map(([from, name]) => [from || 1e-6, name]),
);
const SHORT = scaled([
  [0, ''],
  [1e3, ' K'],
  [1e6, ' Mil'],
  [1e9, ' Bil'],
  [1e12, ' Tri'],
]);
const IEC = bytes(1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']);
const SI = bytes(1000, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']);
const rate = (scale, suffix) => (value, decimals) => {
  const [text, unit] = scale(value, decimals);
  return [text, `${unit}${suffix}`];
};

const UNITS = {
  none: plain(),
  locale: plain(),
  string: plain(),
  short: SHORT,
  sishort: SHORT,
  ns: seconds(1e-6, 'ns'),
  µs: seconds(1e-3, 'µs'),
  ms: seconds(1, 'ms'),
  s: seconds(1e3, 's'),
  m: seconds(6e4, 'min'),
  h: seconds(36e5, 'h'),
  d: seconds(864e5, 'd'),
  dtdurationms: seconds(1, 'ms'),
  dtdurations: seconds(1e3, 's'),
  bytes: IEC,
  kbytes: (value, decimals) => IEC(value * 1024, decimals),
  mbytes: (value, decimals) => IEC(value * 1024 ** 2, decimals),
  decbytes: SI,
  deckbytes: (value, decimals) => SI(value * 1000, decimals),
  decmbytes: (value, decimals) => SI(value * 1e6, decimals),
  binBps: rate(IEC, '/s'),
  Bps: rate(SI, '/s'),
  percent: plain('%'),
  percentunit: (value, decimals) => [number(value * 100, decimals ?? (Math.abs(value) < 0.1 ? 1 : 0)), '%'],
  ops: rate(SHORT, ' ops/s'),
  reqps: rate(SHORT, ' req/s'),
  rps: rate(SHORT, ' rd/s'),
  wps: rate(SHORT, ' wr/s'),
  cps: rate(SHORT, ' c/s'),
  eps: rate(SHORT, ' evt/s'),
  opm: rate(SHORT, ' ops/m'),
  cpm: rate(SHORT, ' c/m'),
  bool: (value) => [value ? 'True' : 'False', ''],
  bool_yes_no: (value) => [value ? 'Yes' : 'No', ''],
  bool_on_off: (value) => [value ? 'On' : 'Off', ''],
};

const TIMES = {
  dateTimeAsIso: 'YYYY-MM-DD HH:mm:ss',
  dateTimeAsIsoNoDateIfToday: 'YYYY-MM-DD HH:mm:ss',
  dateTimeAsSystem: 'YYYY-MM-DD HH:mm:ss',
  dateTimeAsLocal: 'YYYY-MM-DD HH:mm:ss',
};

/** Return a number with separators; without `decimals` as many as it needs, three at most. */
export function number(value, decimals) {
  const most =
    decimals ?? (Number.isInteger(value) ? 0 : Math.abs(value) >= 100 ? 1 : Math.abs(value) >= 1 ? 2 : 3);
  return value.toLocaleString('en-US', { minimumFractionDigits: decimals ?? 0, maximumFractionDigits: most });
}

const CLOCK = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000,
  864000,
];
const IN_SECONDS = { ms: 1e3, s: 1, m: 1 / 60, h: 1 / 3600, dtdurationms: 1e3, dtdurations: 1 };

/** Return the distance of an axis' lines that people read easily for values up to `most`, or undefined for the usual one. */
export function axisStep(unit, most) {
  if (!(most > 0)) return undefined;
  if (['bytes', 'binBps'].includes(unit))
    return most < 1024 ? undefined : 2 ** Math.ceil(Math.log2(most / 4));
  const perSecond = IN_SECONDS[unit];
  const step = perSecond && most / perSecond > 20 && CLOCK.find((each) => each >= most / perSecond / 5);
  return step ? step * perSecond : undefined;
}

/** Return whether the viewer knows a unit. */
export const knowsUnit = (unit) =>
  !unit ||
  unit in UNITS ||
  unit in TIMES ||
  unit === 'dateTimeFromNow' ||
  /^(time|suffix|prefix|si):/.test(unit);

/** Return the text of a value in `unit`. Unknown units are written behind the number. */
export function formatValue(value, unit, decimals, zone) {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'number') return String(value);
  if (unit?.startsWith('time:')) return formatTime(value, zone, unit.slice(5));
  if (unit in TIMES) return formatTime(value, zone, TIMES[unit]);
  if (unit === 'dateTimeFromNow') return ago(value);
  if (unit?.startsWith('suffix:')) return number(value, decimals) + unit.slice(7);
  if (unit?.startsWith('prefix:')) return unit.slice(7) + number(value, decimals);
  const [text, suffix] = (UNITS[unit || 'none'] ?? plain(` ${unit}`))(value, decimals);
  return text + suffix;
}

function ago(ms) {
  const difference = (Date.now() - ms) / 1000;
  if (Math.abs(difference) < 10) return 'just now';
  const text = DURATION(Math.abs(difference), 0).join('');
  return difference > 0 ? `${text} ago` : `in ${text}`;
}
