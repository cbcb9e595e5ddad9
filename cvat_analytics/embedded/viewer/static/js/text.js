// Draws a `text` panel: a small part of Markdown (headings, lists, bold, code, links), as elements, never as markup.
import { h } from './dom.js';
import { interpolate } from './interpolate.js';
import { address } from './links.js';

/** The headings of a panel stand below its title.
 * @type {('h3' | 'h4' | 'h5' | 'h6')[]} */
const HEADINGS = ['h3', 'h4', 'h5', 'h6', 'h6', 'h6'];

/** @type {Draw} */
export function text(body, panel, _data, context) {
  const lines = interpolate(panel.options?.content ?? '', context.state, { texts: context.texts }).split(
    '\n',
  );
  const box = h('div', { class: 'prose' });
  /** @type {HTMLElement | undefined} */
  let list;
  /** @type {HTMLElement | undefined} */
  let paragraph;
  for (const line of lines) {
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    const item = /^\s*(?:[-*]|(\d+)\.)\s+(.*)$/.exec(line);
    if (item) {
      list ??= box.appendChild(h(item[1] ? 'ol' : 'ul'));
      list.append(h('li', {}, inline(item[2], context)));
      paragraph = undefined;
      continue;
    }
    list = undefined;
    if (heading) box.append(h(HEADINGS[heading[1].length - 1], {}, inline(heading[2], context)));
    if (heading || !line.trim()) {
      paragraph = undefined;
      continue;
    }
    paragraph ??= box.appendChild(h('p'));
    paragraph.append(...inline(line, context), ' ');
  }
  body.append(box);
  return () => {};
}

/** @type {(line: string, context: Context) => (string | HTMLElement)[]} */
function inline(line, context) {
  const parts = line.split(/(\*\*[^*]+\*\*|`[^`]+`|\[[^\]]+\]\([^)\s]+\))/);
  return parts.filter(Boolean).map((part) => {
    const link = /^\[([^\]]+)\]\(([^)\s]+)\)$/.exec(part);
    if (link && address(link[2], context.prefix))
      return h('a', { href: address(link[2], context.prefix) }, link[1]);
    if (/^\*\*.+\*\*$/.test(part)) return h('strong', {}, part.slice(2, -2));
    return /^`.+`$/.test(part) ? h('code', {}, part.slice(1, -1)) : part;
  });
}
