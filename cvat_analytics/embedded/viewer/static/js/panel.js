// One panel: its frame and title, and what is in it: a drawing, or plainly why there is none.
import { ask, messageOf } from './api.js';
import { barchart } from './barchart.js';
import { h, hint } from './dom.js';
import { heatmap } from './heatmap.js';
import { interpolate, titleOf } from './interpolate.js';
import { address } from './links.js';
import { stat } from './stat.js';
import { unsupported } from './supported.js';
import { table } from './table.js';
import { text } from './text.js';
import { timeseries } from './timeseries.js';

/** @type {Record<string, Draw>} */
const DRAW = { timeseries, barchart, heatmap, 'status-history': heatmap, stat, table, text };
const CHARTS = ['timeseries', 'barchart', 'heatmap', 'status-history'];

export class Panel {
  /**
   * @param {PanelModel} model
   * @param {{ context: Context }} dashboard
   */
  constructor(model, dashboard) {
    this.model = model;
    this.dashboard = dashboard;
    /** @type {Memory} */
    this.memory = {};
    /** @type {AbortController | undefined} */
    this.request = undefined;
    /** @type {PanelData | undefined} */
    this.data = undefined;
    /** @type {string | undefined} */
    this.problem = undefined;
    /** @type {false | End | undefined} */
    this.end = undefined;
    this.body = h('div', { class: 'body' });
    this.title = h('h2');
    this.missing = unsupported(model);
    const info =
      model.description &&
      h(
        'button',
        { type: 'button', class: 'info', 'aria-label': `What ${titleOf(model, dashboard.context)} means` },
        'i',
      );
    if (info && model.description) hint(info, model.description);
    const note =
      this.missing.length > 0 &&
      h('button', { type: 'button', class: 'info warning', 'aria-label': 'Not drawn as in Grafana' }, '!');
    if (note) hint(note, `The viewer does not draw: ${this.missing.join(', ')}. Grafana does.`);
    this.links = h('span', { class: 'links' });
    this.element = h(
      'section',
      { class: 'panel', id: `panel-${model.id}`, 'aria-busy': 'true' },
      h('header', {}, this.title, info, note, this.links),
      this.body,
    );
  }

  get context() {
    return { ...this.dashboard.context, memory: this.memory };
  }

  /** Ask for the rows and draw them. */
  async load() {
    const { state, prefix, texts } = this.dashboard.context;
    this.request?.abort();
    this.request = new AbortController();
    const { signal } = this.request;
    this.element.setAttribute('aria-busy', 'true');
    this.title.textContent = titleOf(this.model, this.dashboard.context);
    this.links.replaceChildren(
      ...(this.model.links ?? []).flatMap((link) => {
        const href = address(interpolate(link.url, state, { encode: encodeURIComponent }), prefix);
        return href
          ? [
              h(
                'a',
                { href, target: link.targetBlank && '_blank', rel: 'noopener' },
                interpolate(link.title, state, { texts }),
              ),
            ]
          : [];
      }),
    );
    try {
      const query = state.question();
      query.set('points', String(Math.max(100, Math.round(this.body.clientWidth || 800))));
      const asked = `${encodeURIComponent(state.model.uid)}/panels/${this.model.id}`;
      this.data = this.model.targets?.length ? await ask(asked, query, signal) : { frames: [] };
      this.problem = undefined;
    } catch (error) {
      if (signal.aborted) return;
      this.problem = messageOf(error);
    }
    this.draw();
  }

  /** Draw what was loaded last. */
  draw() {
    if (this.end) this.end();
    this.end = undefined;
    this.body.replaceChildren();
    this.body.className = 'body';
    try {
      if (!this.problem) this.drawData();
    } catch (error) {
      this.problem = `The viewer cannot draw this: ${messageOf(error)}`;
      console.error(error);
    }
    if (this.problem) this.body.replaceChildren(h('p', { class: 'problem', role: 'alert' }, this.problem));
    this.element.setAttribute('aria-busy', 'false');
  }

  drawData() {
    const { type } = this.model;
    const chart = CHARTS.includes(type);
    const known =
      type in DRAW &&
      !(chart && (!window.echarts || this.missing.some((name) => name.startsWith('options.calculate'))));
    const data = this.data ?? { frames: [] };
    const frames = data.frames.filter((frame) => frame.rows.length);
    if (!known && !data.frames.length) {
      this.body.append(
        h(
          'p',
          { class: 'empty' },
          `The viewer does not know panels of type ${type}; Grafana shows this one.`,
        ),
      );
      return;
    }
    const filled = type === 'text' || type === 'stat' || frames.length > 0;
    if (filled && !known && !chart)
      this.body.append(
        h('p', { class: 'quiet' }, `The viewer does not know panels of type ${type}: their rows as a table.`),
      );
    const box = known ? this.body : this.body.appendChild(h('div', { class: 'body' }));
    this.end =
      filled &&
      (known ? DRAW[type] : table)(
        box,
        this.model,
        { ...data, frames: known ? data.frames : frames },
        this.context,
      );
    if (!this.end) this.body.replaceChildren(emptyState(this.model));
  }
}

/**
 * Return what a panel without data says: what to check, in the panel's own words where it has some.
 * @type {(model: PanelModel) => HTMLElement}
 */
function emptyState(model) {
  const own = model.fieldConfig?.defaults?.noValue;
  const advice =
    'Nothing was recorded in this time range for these filters. Choose a longer time range, or set the filters above to All.';
  return h(
    'div',
    { class: 'empty' },
    h('strong', {}, own ? 'No data' : 'No data here'),
    h('p', {}, own || advice),
  );
}
