// Data links: where a click on a value leads. The row's values go into the address encoded, so that they cannot change it.
import { h, popup } from './dom.js';
import { interpolate } from './interpolate.js';

/**
 * Return title and address of each data link of `field` in row `index` of `frame`; empty values lead nowhere.
 * @type {(field: Field, index: number, frame: Field[], context: Context) => Link[]}
 */
export function dataLinks(field, index, frame, context) {
  const value = field.values[index];
  if (value === null || value === undefined || value === '' || !field.config.links?.length) return [];
  /** @type {Record<string, Value>} */
  const scope = {
    '__value.raw': value,
    '__value.numeric': value,
    '__value.text': field.text(index),
    '__value.time': frame.find((each) => each.kind === 'time')?.values[index],
    '__field.name': field.name,
    '__series.name': field.display,
  };
  for (const [key, label] of Object.entries(field.labels ?? {})) scope[`__field.labels.${key}`] = label;
  frame.forEach((each, position) => {
    for (const key of [`["${each.name}"]`, `['${each.name}']`, `.${each.name}`, `[${position}]`]) {
      for (const suffix of ['', '.raw', '.numeric'])
        scope[`__data.fields${key}${suffix}`] ??= each.values[index] ?? '';
      scope[`__data.fields${key}.text`] ??= each.text(index);
    }
  });
  const options = { scope, encode: encodeURIComponent };
  return field.config.links.flatMap((link) => {
    const href = address(interpolate(link.url, context.state, options), context.prefix);
    const title = interpolate(link.title, context.state, { scope }) || 'Link';
    return href ? [{ title, href, blank: link.targetBlank }] : [];
  });
}

/**
 * Return an address that may be followed: a page of the viewer, or one on the web; else undefined.
 * @type {(url: string, prefix: string) => string | undefined}
 */
export function address(url, prefix) {
  if (url.startsWith('/') && !url.startsWith('//')) return prefix + url;
  return /^https?:\/\//i.test(url) ? url : undefined;
}

/**
 * Return `text` as what it links to: itself, or a menu when there are several links.
 * @type {(text: string, links: Link[]) => Child}
 */
export function linked(text, links) {
  const anchor = (/** @type {Link} */ link, /** @type {string} */ label) =>
    h(
      'a',
      {
        href: link.href,
        title: link.title,
        target: link.blank && '_blank',
        rel: link.blank && 'noopener noreferrer',
      },
      label,
    );
  if (!links.length) return text;
  if (links.length === 1) return anchor(links[0], text);
  const menu = () =>
    h(
      'ul',
      { class: 'menu' },
      links.map((link) => h('li', {}, anchor(link, link.title))),
    );
  const button = h(
    'button',
    {
      type: 'button',
      class: 'link',
      title: 'Where to?',
      click: () => void popup(button, menu(), { label: 'Links' }),
    },
    text,
  );
  return button;
}
