// Draws a `table` panel: sorting, column filters, the inspector, links, colours, totals, pages. The choice outlives a refresh.
import { choose } from './choose.js';
import { color } from './colors.js';
import { h } from './dom.js';
import { fieldsOf, reduce, valueColor } from './fields.js';
import { inspect } from './inspector.js';
import { dataLinks, linked } from './links.js';
import { align, pager, totalsOf, widthsOf } from './table-parts.js';

const ROW = 28;
const byText = new Intl.Collator(undefined, { numeric: true }).compare;

/** @type {Draw} */
export function table(body, panel, data, context) {
  const frames = fieldsOf(data.frames, panel.fieldConfig, context);
  const frame = frames[panel.options?.frameIndex ?? 0] ?? [];
  if (!frame.length || !frame[0].values.length) return false;
  const shown = new Table(body, frame, panel, context);
  shown.draw();
  const observer = new ResizeObserver(() => shown.draw());
  observer.observe(body);
  return () => observer.disconnect();
}

class Table {
  /**
   * @param {HTMLElement} body
   * @param {Field[]} frame
   * @param {PanelModel} panel
   * @param {PanelContext} context
   */
  constructor(body, frame, panel, context) {
    this.body = body;
    this.frame = frame;
    this.panel = panel;
    this.context = context;
    this.columns = frame.filter(
      ({ config: { custom } }) => !custom.hidden && !custom.hideFrom?.viz && !custom['hideFrom.viz'],
    );
    const change = () => this.change();
    const [by] = panel.options?.sortBy ?? [];
    context.memory.table ??= {
      filters: new Map(),
      widths: new Map(),
      sort: by ? { name: by.displayName, down: Boolean(by.desc) } : {},
      page: 0,
      change,
    };
    this.memory = context.memory.table;
    this.memory.change = change;
    this.rows = this.sorted(this.filtered());
  }

  filtered() {
    const filters = [...this.memory.filters].flatMap(([name, values]) => {
      const field = this.frame.find((each) => each.display === name);
      return field ? [{ field, values }] : [];
    });
    const rows = this.frame[0].values.map((_, i) => i);
    return rows.filter((i) => filters.every(({ field, values }) => values.has(field.text(i))));
  }

  /** @param {number[]} rows */
  sorted(rows) {
    const field = this.frame.find((each) => each.display === this.memory.sort.name);
    if (!field) return rows;
    const turn = this.memory.sort.down ? -1 : 1;
    /** @type {(a: Value, b: Value) => number} */
    const compare = field.kind === 'text' ? byText : (a, b) => a - b;
    return rows.sort((i, j) => {
      const [a, b] = [field.values[i], field.values[j]];
      if (a === null || b === null) return Number(a === null) - Number(b === null);
      return compare(a, b) * turn;
    });
  }

  change() {
    this.memory.page = 0;
    this.rows = this.sorted(this.filtered());
    this.draw();
  }

  draw() {
    const totals = totalsOf(this.columns, this.rows, this.panel, this.context);
    const room = this.body.clientHeight - ROW - 6;
    const fit = (/** @type {number} */ height) => Math.max(1, Math.floor(height / ROW));
    const bars = (totals ? ROW : 0) + (this.memory.filters.size ? ROW : 0);
    const size = fit(room - bars) >= this.rows.length ? this.rows.length : fit(room - bars - ROW);
    const pages = Math.max(1, Math.ceil(this.rows.length / Math.max(size, 1)));
    const page = Math.min(this.memory.page, pages - 1);
    const go = (/** @type {number} */ target) => {
      this.memory.page = target;
      this.draw();
    };
    const rows = this.rows.slice(page * size, (page + 1) * size);
    const widths = widthsOf(this.columns, this.memory.widths, this.body.clientWidth - 2);
    const columns = h(
      'colgroup',
      {},
      widths.map((width) => {
        const column = h('col');
        column.style.width = `${width}px`;
        return column;
      }),
    );
    const grid = h(
      'table',
      { class: 'data' },
      columns,
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          this.columns.map((field, i) => this.head(field, widths[i])),
        ),
      ),
      h(
        'tbody',
        {},
        rows.map((i) =>
          h(
            'tr',
            {},
            this.columns.map((field) => this.cell(field, i)),
          ),
        ),
      ),
      totals && h('tfoot', {}, totals),
    );
    grid.style.width = `${widths.reduce((sum, width) => sum + width, 0)}px`;
    const active = document.activeElement;
    const focus = active instanceof HTMLElement && this.body.contains(active) && active.dataset.focus;
    const left = this.body.querySelector('.scroll')?.scrollLeft ?? 0;
    const scroll = h('div', { class: 'scroll', tabindex: '-1' }, grid);
    const bar = this.filterBar();
    this.body.replaceChildren(...(bar ? [bar, scroll] : [scroll]));
    if (pages > 1) this.body.append(pager(page, pages, size, this.rows.length, go));
    scroll.scrollLeft = left;
    const focused = focus && this.body.querySelector(`[data-focus="${CSS.escape(focus)}"]`);
    if (focused instanceof HTMLElement) focused.focus();
  }

  /**
   * @param {Field} field
   * @param {number} width
   */
  head(field, width) {
    const { name, down } = this.memory.sort;
    const sorted = name === field.display;
    const filtered = this.memory.filters.has(field.display);
    const sort = () => {
      this.memory.sort = !sorted
        ? { name: field.display, down: false }
        : down
          ? {}
          : { name: field.display, down: true };
      this.change();
    };
    const label = h(
      'button',
      {
        type: 'button',
        class: 'name',
        title: `Sort by ${field.display}${field.config.description ? `: ${field.config.description}` : ''}`,
        click: sort,
        data: { focus: `sort ${field.display}` },
      },
      field.display,
      sorted && h('span', { class: 'arrow' }, down ? ' ↓' : ' ↑'),
    );
    const funnel =
      field.config.custom.filterable &&
      h(
        'button',
        {
          type: 'button',
          class: `funnel${filtered ? ' on' : ''}`,
          'aria-label': `Filter ${field.display}`,
          title: `Filter ${field.display}`,
          'aria-expanded': 'false',
          click: (event) => this.filter(field, /** @type {HTMLElement} */ (event.currentTarget)),
          data: { focus: `filter ${field.display}` },
        },
        '▽',
      );
    const edge = h('span', {
      class: 'edge',
      'aria-hidden': 'true',
      pointerdown: (event) => this.resize(field, width, event),
    });
    return h(
      'th',
      {
        scope: 'col',
        class: align(field),
        'aria-sort': sorted ? (down ? 'descending' : 'ascending') : 'none',
      },
      h('div', {}, label, funnel, edge),
    );
  }

  /**
   * @param {Field} field
   * @param {HTMLElement} anchor
   */
  filter(field, anchor) {
    const chosen = this.memory.filters.get(field.display) ?? new Set();
    const texts = [...new Set(field.values.map((_, i) => field.text(i)))];
    texts.sort(byText);
    choose(anchor, {
      label: field.display,
      options: texts.map((text) => ({ value: text, text })),
      chosen,
      done: (values) => {
        if (values.size) this.memory.filters.set(field.display, values);
        else this.memory.filters.delete(field.display);
        this.memory.change(); // of the table that is there now: the rows may have been loaded again
      },
    });
  }

  filterBar() {
    if (!this.memory.filters.size) return undefined;
    const chips = [...this.memory.filters].map(([name, values]) =>
      h(
        'button',
        {
          type: 'button',
          class: 'chip',
          title: `Remove the filter of ${name}`,
          click: () => {
            this.memory.filters.delete(name);
            this.change();
          },
        },
        `${name}: ${[...values]
          .slice(0, 3)
          .map((value) => value || '(empty)')
          .join(', ')}${values.size > 3 ? ' …' : ''} ×`,
      ),
    );
    return h(
      'div',
      { class: 'bar' },
      chips,
      h(
        'span',
        { class: 'quiet' },
        `${this.rows.length.toLocaleString('en-US')} of ${this.frame[0].values.length.toLocaleString('en-US')} rows`,
      ),
    );
  }

  /**
   * @param {Field} field
   * @param {number} i
   */
  cell(field, i) {
    const text = field.text(i);
    const { custom } = field.config;
    const options = custom.cellOptions ?? {};
    const content = h('div', {}, linked(text, dataLinks(field, i, this.frame, this.context)));
    const cell = h('td', { class: `${align(field)}${options.type === 'json-view' ? ' code' : ''}` }, content);
    const own =
      options.type?.startsWith('color') || field.config.mappings?.length
        ? valueColor(field, field.values[i])
        : undefined;
    if (own) {
      cell.style.setProperty('--own', color(own));
      cell.classList.add(options.type === 'color-background' ? 'filled' : 'tinted');
    }
    if (options.type === 'gauge' && field.kind === 'number') {
      const most = field.config.max ?? reduce(field.values, 'max');
      const bar = h('span', { class: 'gauge' });
      bar.style.width = `${Math.max(0, Math.min(1, field.values[i] / (most || 1))) * 100}%`;
      bar.style.background = color(valueColor(field, field.values[i]) ?? 'blue');
      content.prepend(bar);
    }
    if (text) cell.title = text.length > 300 ? `${text.slice(0, 300)}…` : text;
    if (custom.inspect && text && field.values[i] !== null) {
      cell.append(
        h(
          'button',
          {
            type: 'button',
            class: 'eye',
            'aria-label': `Inspect ${field.display}`,
            title: 'Inspect value',
            click: () => inspect(field.display, field.kind === 'text' ? field.values[i] : text),
          },
          '👁',
        ),
      );
    }
    return cell;
  }

  /**
   * @param {Field} field
   * @param {number} width
   * @param {PointerEvent} start
   */
  resize(field, width, start) {
    start.preventDefault();
    const move = (/** @type {PointerEvent} */ event) => {
      this.memory.widths.set(field.display, Math.max(40, width + event.clientX - start.clientX));
      this.draw();
    };
    const end = () => {
      removeEventListener('pointermove', move);
      removeEventListener('pointerup', end);
    };
    addEventListener('pointermove', move);
    addEventListener('pointerup', end);
  }
}
