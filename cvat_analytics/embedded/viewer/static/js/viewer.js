// The page of a dashboard: loads its JSON, lays out the panels, and loads them again when the choice or the time changes.
import { ask, messageOf } from './api.js';
import { color } from './colors.js';
import { h } from './dom.js';
import { filters } from './filters.js';
import { Panel } from './panel.js';
import { State } from './state.js';
import { toolbar } from './toolbar.js';

const root = /** @type {HTMLElement} */ (document.getElementById('dashboard'));
const { prefix = '', uid = '' } = root.dataset;
/** @type {Record<string, number>} */
const SECONDS = { s: 1, m: 60, h: 3600, d: 86400 };

class View {
  /** @param {{ dashboard: DashboardModel, annotations: { name: string, iconColor?: string, hide?: boolean }[] }} answer */
  constructor({ dashboard, annotations }) {
    this.state = new State(dashboard);
    /** @type {Texts} */
    this.texts = {};
    this.late = false;
    /** Names the present loading: an older one that ends later has nothing to say. */
    this.round = 0;
    /** @type {number | undefined} */
    this.timer = undefined;
    /** @type {Annotation[]} */
    this.annotations = annotations.map((model) => ({
      name: model.name,
      color: color(model.iconColor),
      hidden: Boolean(model.hide),
      on: true,
      marks: [],
    }));
    this.controls = h('div', { class: 'controls' });
    this.grid = h('div', { class: 'grid' });
    /** @type {(() => void)[]} */
    this.listeners = [];
    /** @type {Panel[]} */
    this.panels = [];
    this.place(dashboard.panels ?? []);
    root.replaceChildren(
      h(
        'div',
        { class: 'heading' },
        h('h1', {}, dashboard.title),
        h('p', { class: 'quiet' }, dashboard.description ?? ''),
      ),
      this.controls,
      this.grid,
    );
    this.state.addEventListener('change', () => this.load());
    addEventListener('theme', () => this.drawAgain());
    document.addEventListener('visibilitychange', () => !document.hidden && this.late && this.load());
  }

  /** @returns {Context} */
  get context() {
    return {
      state: this.state,
      texts: this.texts,
      prefix,
      annotations: this.annotations.filter((each) => each.on && each.marks.length),
      onNamed: (listener) => {
        this.listeners.push(listener);
      },
      named: () => {
        for (const listener of this.listeners) listener();
      },
    };
  }

  /** Draw what is there once more. */
  drawAgain() {
    for (const panel of this.panels) if (panel.data) panel.draw();
  }

  /**
   * Put each panel where its gridPos says; a row is a heading, its panels are below it.
   * @param {PanelModel[]} models
   */
  place(models) {
    for (const model of models) {
      const { x = 0, y = 0, w = 24, h: height = 8 } = model.gridPos ?? {};
      const panel = model.type === 'row' ? undefined : new Panel(model, this);
      const element = panel?.element ?? h('h2', { class: 'row' }, model.title);
      element.style.gridColumn = `${x + 1} / span ${w}`;
      element.style.gridRow = `${y + 1} / span ${height}`;
      this.grid.append(element);
      if (panel) this.panels.push(panel);
      else if (model.panels?.length) this.place(model.panels);
    }
  }

  /** Load everything for the present choice. */
  async load() {
    this.late = false;
    clearTimeout(this.timer);
    const { state } = this;
    state.read();
    this.drawControls();
    this.drawTabs();
    if (state.problem) {
      this.grid.hidden = true;
      this.controls.append(h('p', { class: 'problem', role: 'alert' }, state.problem));
      root.setAttribute('aria-busy', 'false');
      return;
    }
    this.grid.hidden = false;
    root.setAttribute('aria-busy', 'true');
    this.round += 1;
    const { round } = this;
    await this.loadAnnotations();
    if (round !== this.round) return; // chosen anew meanwhile: the panels are that round's
    await Promise.all(this.panels.map((panel) => panel.load()));
    if (round !== this.round) return;
    root.setAttribute('aria-busy', 'false');
    const every = /^(\d+)([smhd])$/.exec(state.refresh);
    if (every)
      this.timer = setTimeout(
        () => {
          if (document.hidden) this.late = true;
          else this.load();
        },
        Number(every[1]) * SECONDS[every[2]] * 1000,
      );
  }

  async loadAnnotations() {
    if (!this.annotations.length) return;
    try {
      const found = await ask(
        `${encodeURIComponent(this.state.model.uid)}/annotations`,
        this.state.question(),
      );
      for (const { index, marks } of found)
        this.annotations[index].marks = marks.filter(
          (/** @type {Mark} */ { time }) => typeof time === 'number',
        );
    } catch (error) {
      this.controls.append(h('p', { class: 'problem' }, `Annotations: ${messageOf(error)}`));
    }
  }

  drawControls() {
    const active = document.activeElement;
    const focus = active instanceof HTMLElement && (active.dataset.variable ?? active.id);
    this.listeners = [];
    const toggle = (/** @type {number} */ index, /** @type {boolean} */ on) => {
      this.annotations.filter((each) => !each.hidden)[index].on = on;
      this.drawAgain();
    };
    this.controls.replaceChildren(
      filters(this.context),
      toolbar(this.context, {
        refresh: () => this.load(),
        annotations: this.annotations.filter((each) => !each.hidden),
        toggle,
      }),
    );
    if (!focus) return;
    const name = CSS.escape(focus);
    const control =
      this.controls.querySelector(`[data-variable="${name}"]`) ?? this.controls.querySelector(`#${name}`);
    if (control instanceof HTMLElement) control.focus();
  }

  /** Let the links to the other dashboards keep the time range and the filters. */
  drawTabs() {
    for (const tab of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll('nav .tab')))
      tab.href = `${tab.pathname}?${this.state.parameters()}`;
  }
}

try {
  const view = new View(await ask(encodeURIComponent(uid)));
  await view.load();
} catch (error) {
  root.replaceChildren(h('p', { class: 'problem', role: 'alert' }, messageOf(error)));
  root.setAttribute('aria-busy', 'false');
  throw error;
}
