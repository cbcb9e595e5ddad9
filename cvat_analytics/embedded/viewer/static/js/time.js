// Times as Grafana writes them in addresses (now-7d, now/d, milliseconds), and times as people read them in a time zone.

/** @type {Record<string, number>} */
const SIZES = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 };
/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();
/** @type {Map<string, number>} */
const offsets = new Map();

/**
 * Return the name of a time zone that the browser understands for Grafana's `browser`, `utc` or a zone's name.
 * @type {(timezone: string) => string}
 */
export function zoneName(timezone) {
  if (!timezone || timezone === 'browser') return Intl.DateTimeFormat().resolvedOptions().timeZone;
  return timezone.toLowerCase() === 'utc' ? 'UTC' : timezone;
}

/**
 * Return whether the browser knows a time zone.
 * @type {(timezone: string) => boolean}
 */
export function isZone(timezone) {
  try {
    return Boolean(new Intl.DateTimeFormat('en', { timeZone: zoneName(timezone) }));
  } catch {
    return false;
  }
}

/**
 * Return by how many milliseconds the clocks of `zone` are before UTC at `ms`.
 * @type {(ms: number, zone: string) => number}
 */
function offset(ms, zone) {
  if (zone === 'UTC') return 0;
  const key = `${zone} ${Math.floor(ms / 9e5)}`;
  let known = offsets.get(key);
  if (known === undefined) {
    let format = formats.get(zone);
    if (!format) {
      const fields = Object.fromEntries(
        ['year', 'month', 'day', 'hour', 'minute', 'second'].map((name) => [name, 'numeric']),
      );
      format = new Intl.DateTimeFormat('en', { timeZone: zone, hourCycle: 'h23', ...fields });
      formats.set(zone, format);
    }
    const parts = Object.fromEntries(format.formatToParts(ms).map((part) => [part.type, Number(part.value)]));
    const wall = Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second);
    known = wall - Math.floor(ms / 1000) * 1000;
    offsets.set(key, known);
  }
  return known;
}

/**
 * Return what the clocks of `zone` show at `ms`, as the milliseconds at which UTC shows the same.
 * @type {(ms: number, zone: string) => number}
 */
export const toWall = (ms, zone) => ms + offset(ms, zone);

/**
 * Return when the clocks of `zone` show `wall`.
 * @type {(wall: number, zone: string) => number}
 */
export function fromWall(wall, zone) {
  const guess = wall - offset(wall, zone);
  return wall - offset(guess, zone);
}

/**
 * Return `ms` in `zone` in a pattern of moment.js: YYYY MM DD HH mm ss SSS.
 * @type {(ms: number, zone: string, pattern?: string) => string}
 */
export function formatTime(ms, zone, pattern = 'YYYY-MM-DD HH:mm:ss') {
  const iso = new Date(toWall(ms, zone)).toISOString();
  /** @type {Record<string, string>} */
  const parts = { YYYY: iso.slice(0, 4), MM: iso.slice(5, 7), DD: iso.slice(8, 10), HH: iso.slice(11, 13) };
  Object.assign(parts, { mm: iso.slice(14, 16), ss: iso.slice(17, 19), SSS: iso.slice(20, 23) });
  return pattern.replace(/YYYY|MM|DD|HH|mm|SSS|ss/g, (name) => parts[name]);
}

/**
 * Return the milliseconds that `text` means, or undefined. `up`: `/d` means the end of the day, as in `to`.
 * @type {(text: string, now: number, zone: string, up?: boolean) => number | undefined}
 */
export function parseTime(text, now, zone, up = false) {
  if (/^\d{9,15}$/.test(text)) return Number(text);
  const relative = /^now((?:[+-]\d{1,6}[smhdwMy])*)(?:\/([smhdwMy]))?$/.exec(text);
  if (relative) {
    let wall = toWall(now, zone);
    for (const [, sign, count, unit] of relative[1].matchAll(/([+-])(\d+)([smhdwMy])/g))
      wall = add(wall, Number(sign + count), unit);
    if (relative[2]) {
      wall = floor(wall, relative[2]);
      if (up) wall = add(wall, 1, relative[2]) - 1;
    } else if (!/[dwMy]/.test(relative[1])) return now + (wall - toWall(now, zone)); // hours are hours, whatever the clocks do
    return fromWall(wall, zone);
  }
  const absolute = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(\.\d{1,3})?)?)?(Z?)$/.exec(
    text.trim(),
  );
  if (!absolute) return undefined;
  const [year, month, day, hour, minute, second] = absolute.slice(1, 7).map((part) => Number(part ?? 0));
  const wall = Date.UTC(year, month - 1, day, hour, minute, second, Number(absolute[7] ?? 0) * 1000);
  return absolute[8] ? wall : fromWall(wall, zone);
}

/** @type {(wall: number, count: number, unit: string) => number} */
function add(wall, count, unit) {
  if (SIZES[unit]) return wall + count * SIZES[unit];
  const date = new Date(wall);
  const months = date.getUTCFullYear() * 12 + date.getUTCMonth() + count * (unit === 'y' ? 12 : 1);
  const last = new Date(Date.UTC(Math.floor(months / 12), (months % 12) + 1, 0)).getUTCDate();
  return (
    Date.UTC(Math.floor(months / 12), months % 12, Math.min(date.getUTCDate(), last)) +
    (wall - floor(wall, 'd'))
  );
}

/** @type {(wall: number, unit: string) => number} */
function floor(wall, unit) {
  const date = new Date(wall);
  if (unit === 'w') return floor(wall, 'd') - ((date.getUTCDay() + 6) % 7) * SIZES.d;
  if (unit === 'M') return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1);
  if (unit === 'y') return Date.UTC(date.getUTCFullYear(), 0, 1);
  return Math.floor(wall / SIZES[unit]) * SIZES[unit];
}

/** @type {Record<string, string>} */
const NAMES = { s: 'second', m: 'minute', h: 'hour', d: 'day', w: 'week', M: 'month', y: 'year' };

/** The ranges that the picker offers. */
export const RANGES = [
  ['now-15m', 'now', 'Last 15 minutes'],
  ['now-1h', 'now', 'Last hour'],
  ['now-6h', 'now', 'Last 6 hours'],
  ['now-24h', 'now', 'Last 24 hours'],
  ['now-2d', 'now', 'Last 2 days'],
  ['now-7d', 'now', 'Last 7 days'],
  ['now-30d', 'now', 'Last 30 days'],
  ['now-90d', 'now', 'Last 90 days'],
  ['now-1y', 'now', 'Last year'],
  ['now/d', 'now/d', 'Today'],
  ['now-1d/d', 'now-1d/d', 'Yesterday'],
  ['now/w', 'now/w', 'This week'],
  ['now-1w/w', 'now-1w/w', 'Last week'],
  ['now/M', 'now/M', 'This month'],
  ['now-1M/M', 'now-1M/M', 'Last month'],
];

/**
 * Return a range in a few words.
 * @type {(from: string, to: string, now: number, zone: string) => string}
 */
export function describeRange(from, to, now, zone) {
  const known = RANGES.find((range) => range[0] === from && range[1] === to);
  if (known) return known[2];
  const relative = /^now-(\d+)([smhdwMy])$/.exec(from);
  if (relative && to === 'now') {
    const name = NAMES[relative[2]];
    return `Last ${relative[1]} ${name}${relative[1] === '1' ? '' : 's'}`;
  }
  const written = (/** @type {string} */ text, up = false) =>
    formatTime(parseTime(text, now, zone, up) ?? NaN, zone, 'YYYY-MM-DD HH:mm');
  return `${written(from)} to ${to === 'now' ? 'now' : written(to, true)}`;
}
