// Builds elements. Text is always text, never markup: values on the page come from events, which anybody can send.

/**
 * Return an element. `attributes` with a function are listeners, `data` are data attributes, others are attributes.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {...Child} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name, /** @type {EventListener} */ (value));
    else if (name === 'data') Object.assign(element.dataset, value);
    else if (name === 'value' || name === 'checked') Object.assign(element, { [name]: value });
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  append(element, children);
  return element;
}

/** @type {(element: HTMLElement, children: Child[]) => void} */
function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child !== undefined && child !== null && child !== false) element.append(child);
  }
}

/**
 * Open `content` as a popup at `anchor`; it closes with Escape or a click elsewhere, and `closed` is called then.
 * @type {(anchor: HTMLElement, content: Child, about: { label: string, closed?: () => void }) => { close: () => void }}
 */
export function popup(anchor, content, { label, closed = () => {} }) {
  const box = h('div', { class: 'popup', popover: 'auto', role: 'dialog', 'aria-label': label }, content);
  document.body.append(box);
  box.addEventListener('toggle', (event) => {
    if (event.newState !== 'closed') return;
    box.remove();
    anchor.setAttribute('aria-expanded', 'false');
    closed();
  });
  box.showPopover();
  anchor.setAttribute('aria-expanded', 'true');
  place(box, anchor);
  /** @type {HTMLElement | null} */ (box.querySelector('input, button, a'))?.focus();
  return { close: () => box.hidePopover() };
}

/**
 * Show `text` while the pointer or the keyboard is on `anchor`.
 * @type {(anchor: HTMLElement, text: string) => void}
 */
export function hint(anchor, text) {
  /** @type {HTMLElement | undefined} */
  let box;
  const hide = () => {
    box?.remove();
    box = undefined;
  };
  const show = () => {
    if (box) return;
    box = h('div', { class: 'popup hint', popover: 'manual', role: 'tooltip' }, text);
    document.body.append(box);
    box.showPopover();
    place(box, anchor);
  };
  for (const name of ['mouseenter', 'focus']) anchor.addEventListener(name, show);
  for (const name of ['mouseleave', 'blur']) anchor.addEventListener(name, hide);
  anchor.addEventListener('keydown', (event) => event.key === 'Escape' && hide());
}

/**
 * Put a box below its anchor, or above where there is no room, inside the window.
 * @type {(box: HTMLElement, anchor: HTMLElement) => void}
 */
function place(box, anchor) {
  const at = anchor.getBoundingClientRect();
  const size = box.getBoundingClientRect();
  const below = at.bottom + 4 + size.height <= innerHeight || at.top < size.height;
  box.style.left = `${Math.max(4, Math.min(at.left, innerWidth - size.width - 8))}px`;
  box.style.top = `${Math.max(4, below ? at.bottom + 4 : at.top - size.height - 4)}px`;
}
