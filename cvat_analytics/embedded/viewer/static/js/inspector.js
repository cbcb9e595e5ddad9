// The value inspector: shows a whole value in a drawer, JSON with one field a line.
import { h } from './dom.js';

/**
 * Return JSON with one field a line; other text as it is.
 * @type {(text: string) => string}
 */
function pretty(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/**
 * Show `value` of the column `name`.
 * @type {(name: string, value: Value) => void}
 */
export function inspect(name, value) {
  const text = pretty(String(value ?? ''));
  const copy = h(
    'button',
    {
      type: 'button',
      click: async () => {
        await navigator.clipboard?.writeText(text);
        copy.textContent = 'Copied';
      },
    },
    'Copy',
  );
  const close = h('button', { type: 'button', click: () => void drawer.close() }, 'Close');
  const drawer = h(
    'dialog',
    { class: 'drawer', 'aria-label': `Value of ${name}` },
    h('header', {}, h('h2', {}, name), copy, close),
    h('pre', { tabindex: '0' }, text),
  );
  drawer.addEventListener('close', () => drawer.remove());
  drawer.addEventListener('click', (event) => event.target === drawer && drawer.close());
  document.body.append(drawer);
  drawer.showModal();
}
