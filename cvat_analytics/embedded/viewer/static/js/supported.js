// Names what of a panel the viewer cannot draw, so that nobody takes its picture for Grafana's.
import { knowsScheme } from './colors.js';
import { MATCHERS, REDUCERS } from './fields.js';
import { knowsUnit } from './units.js';

/** @typedef {(value: Json) => boolean} Rule */
/** @typedef {{ [name: string]: Rule | Rules }} Rules */

const any = () => true;
const one =
  (/** @type {unknown[]} */ ...values) =>
  (/** @type {unknown} */ value) =>
    values.includes(value);
/** @type {Rule} */
const reducers = (list) => list.every((/** @type {string} */ each) => each in REDUCERS);
const COLORS = ['fixed', 'palette-classic', 'palette-classic-by-name', 'thresholds', 'shades'];
/** @type {Rules} */
const COLOR = { mode: one(...COLORS), fixedColor: any, seriesBy: any };
/** @type {Rules} */
const FIELD = {
  unit: knowsUnit,
  decimals: any,
  min: any,
  max: any,
  displayName: any,
  noValue: any,
  description: any,
  links: any,
  filterable: any,
  thresholds: { mode: one('absolute', 'percentage'), steps: any },
  mappings: (/** @type {{ type: string }[]} */ list) =>
    list.every(({ type }) => one('value', 'range', 'regex', 'special')(type)),
};
/** @type {Rules} */
const LEGEND = {
  calcs: reducers,
  displayMode: any,
  placement: any,
  showLegend: any,
  sortBy: any,
  sortDesc: any,
  width: any,
};
const AXIS = {
  axisPlacement: any,
  axisLabel: any,
  axisBorderShow: any,
  axisColorMode: any,
  axisCenteredZero: one(false),
  axisSoftMin: any,
  axisSoftMax: any,
  axisGridShow: any,
  axisWidth: any,
};
const GRAPH = {
  ...AXIS,
  fillOpacity: any,
  lineWidth: any,
  gradientMode: any,
  stacking: { mode: one('none', 'normal'), group: any },
  hideFrom: any,
  scaleDistribution: { type: one('linear', 'log'), log: any },
  thresholdsStyle: { mode: one('off', 'line', 'dashed') },
};
const TOOLTIP = { mode: any, sort: any, hideZeros: any, maxHeight: any, maxWidth: any };
/** @type {Rules} */
const REDUCE = {
  calcs: (list) => list.length === 1 && list[0] in REDUCERS,
  fields: one('', '/.*/'),
  values: one(false),
};

/**
 * What is drawn of each type of panel: options and custom field options, by Grafana's names.
 * @type {Record<string, { options: Rules, custom: Rules, color?: Rules }>}
 */
const TYPES = {
  timeseries: {
    options: { legend: LEGEND, tooltip: TOOLTIP },
    custom: {
      ...GRAPH,
      drawStyle: one('line', 'bars', 'points'),
      lineInterpolation: one('linear', 'smooth', 'stepAfter', 'stepBefore'),
      lineStyle: any,
      barAlignment: any,
      barWidthFactor: any,
      pointSize: any,
      showPoints: any,
      spanNulls: any,
      insertNulls: one(false),
      showValues: one(false),
    },
  },
  barchart: {
    options: {
      legend: LEGEND,
      tooltip: TOOLTIP,
      orientation: any,
      showValue: any,
      xField: any,
      stacking: one('none', 'normal'),
      barWidth: any,
      groupWidth: any,
      barRadius: any,
      xTickLabelRotation: any,
      xTickLabelMaxLength: any,
      xTickLabelSpacing: any,
      text: any,
      fullHighlight: any,
    },
    custom: { ...GRAPH },
  },
  stat: {
    options: {
      reduceOptions: REDUCE,
      colorMode: one('value', 'background', 'background_solid', 'none'),
      graphMode: any,
      textMode: any,
      orientation: any,
      justifyMode: any,
      text: any,
      wideLayout: any,
      showPercentChange: one(false),
      percentChangeColorMode: any,
    },
    custom: {},
  },
  table: {
    options: {
      showHeader: one(true),
      cellHeight: any,
      enablePagination: any,
      sortBy: any,
      footer: any,
      frameIndex: any,
    },
    custom: {
      width: any,
      minWidth: any,
      align: any,
      filterable: any,
      inspect: any,
      hidden: any,
      hideFrom: any,
      footer: any,
      'footer.reducers': reducers,
      'hideFrom.viz': any,
      wrapText: any,
      wrapHeaderText: any,
      cellOptions: {
        type: one('auto', 'color-text', 'color-background', 'json-view', 'data-links', 'gauge'),
        mode: any,
        applyToRow: one(false),
        valueDisplayMode: any,
        wrapText: any,
      },
    },
  },
  heatmap: {
    options: {
      calculate: one(false),
      cellGap: any,
      cellRadius: any,
      cellValues: any,
      legend: any,
      tooltip: any,
      rowsFrame: any,
      showValue: any,
      filterValues: any,
      yAxis: any,
      exemplars: any,
      selectionMode: any,
      annotations: any,
      color: {
        mode: one('scheme'),
        scheme: knowsScheme,
        fill: any,
        steps: any,
        exponent: any,
        scale: one('exponential', undefined),
        reverse: one(false),
        min: any,
        max: any,
      },
    },
    custom: { hideFrom: any, scaleDistribution: any },
  },
  'status-history': {
    options: { legend: LEGEND, tooltip: TOOLTIP, showValue: any, rowHeight: any, colWidth: any },
    custom: { fillOpacity: any, lineWidth: any, hideFrom: any },
    color: {
      mode: (mode) => /^continuous-/.test(mode) && knowsScheme(mode.slice('continuous-'.length)),
      seriesBy: any,
    },
  },
  text: { options: { mode: one('markdown'), content: any, code: any }, custom: {} },
};

const PANEL = [
  'datasource',
  'description',
  'fieldConfig',
  'gridPos',
  'id',
  'interval',
  'links',
  'maxDataPoints',
  'options',
  'pluginVersion',
  'targets',
  'title',
  'transparent',
  'type',
  'hideTimeOverride',
];

/**
 * Return the names of what a panel has and the viewer does not draw.
 * @type {(panel: PanelModel) => string[]}
 */
export function unsupported(panel) {
  const type = TYPES[panel.type];
  if (!type) return [`type ${panel.type}`];
  const found = Object.keys(panel).filter((key) => !PANEL.includes(key) && !empty(panel[key]));
  const { custom, ...defaults } = panel.fieldConfig?.defaults ?? {};
  const field = { ...FIELD, color: type.color ?? COLOR };
  check(panel.options, type.options, 'options', found);
  check(defaults, field, '', found);
  check(custom, type.custom, 'custom', found);
  for (const { matcher, properties } of panel.fieldConfig?.overrides ?? []) {
    if (!(matcher.id in MATCHERS)) found.push(`override ${matcher.id}`);
    for (const { id, value } of properties) {
      if (id.startsWith('custom.')) check({ [id.slice(7)]: value }, type.custom, 'custom', found);
      else check({ [id]: value }, field, '', found);
    }
  }
  return [...new Set(found)];
}

/** @type {Rule} */
const empty = (value) =>
  value === undefined ||
  value === null ||
  value === '' ||
  value === false ||
  (Array.isArray(value) && !value.length);

/** @type {(values: Json, known: Rules, path: string, found: string[]) => void} */
function check(values, known, path, found) {
  for (const [key, value] of Object.entries(values ?? {})) {
    const name = path ? `${path}.${key}` : key;
    const rule = known[key];
    if (rule === undefined) found.push(name);
    else if (typeof rule === 'object') check(value, rule, name, found);
    else if (!rule(value))
      found.push(`${name} ${typeof value === 'string' || typeof value === 'boolean' ? value : ''}`.trim());
  }
}
