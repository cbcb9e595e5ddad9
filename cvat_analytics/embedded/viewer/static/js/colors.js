// Colours: Grafana's names and modes, and a palette that is legible on light and on dark.

const PALETTE = [
  '#3b82c4',
  '#e0803a',
  '#3f9e63',
  '#c2506b',
  '#8566c0',
  '#2fa1a8',
  '#b58a1f',
  '#d46ab0',
  '#77828f',
  '#5d7f2c',
  '#6aa6dc',
  '#f0a878',
  '#79c095',
  '#de8a9f',
  '#b09ad8',
  '#7cc7cc',
];
/** @type {Record<string, string>} */
const NAMED = {
  red: '#d9484f',
  orange: '#ee7d31',
  yellow: '#d9a514',
  green: '#3f9e63',
  blue: '#3b82c4',
  purple: '#9a63c9',
  gray: '#77828f',
  grey: '#77828f',
  white: '#ffffff',
  black: '#000000',
};
/** @type {Record<string, [number, number]>} */
const SHADES = {
  'super-light-': [255, 0.6],
  'light-': [255, 0.35],
  'semi-dark-': [0, 0.15],
  'dark-': [0, 0.35],
};
/** @type {Record<string, string>} */
const SCHEMES = {
  oranges: '#e06a1b',
  blues: '#2f7fd0',
  greens: '#2f9a57',
  purples: '#8566c0',
  reds: '#d0454c',
  greys: '#77828f',
  ylorrd: '#d9481f',
  ylgn: '#2f9a57',
  ylgnbu: '#2f7fa8',
  bupu: '#8566c0',
};

/**
 * Return a colour that CSS understands for one of Grafana's names.
 * @type {(name?: string) => string}
 */
export function color(name) {
  if (!name || name === 'text') return style('--text');
  if (name === 'transparent' || name.startsWith('#') || name.startsWith('rgb')) return name;
  const shade = Object.keys(SHADES).find((prefix) => name.startsWith(prefix));
  const base = NAMED[shade ? name.slice(shade.length) : name];
  return base ? (shade ? mixed(base, ...SHADES[shade]) : base) : PALETTE[0];
}

/** @type {(hex: string, target: number, share: number) => string} */
function mixed(hex, target, share) {
  const parts = [1, 3, 5].map((at) =>
    Math.round(parseInt(hex.slice(at, at + 2), 16) * (1 - share) + target * share),
  );
  return `rgb(${parts.join(', ')})`;
}

/**
 * Return the colour of the series with number `index`, as its field's options want it.
 * @type {(field: Field, index: number) => string | undefined}
 */
export function seriesColor(field, index) {
  const { mode, fixedColor } = field.config.color ?? {};
  if (mode === 'fixed' || mode === 'shades') return color(fixedColor);
  if (mode === 'thresholds')
    return thresholdColor(
      field.config,
      field.values.findLast((value) => value !== null),
    );
  if (mode === 'palette-classic-by-name')
    index = [...field.display].reduce((sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % 9973, 7);
  return PALETTE[index % PALETTE.length];
}

/**
 * Return the colour of `value` by the thresholds of a field's options, or undefined when there are none.
 * @type {(config: FieldOptions, value: Value) => string | undefined}
 */
export function thresholdColor(config, value) {
  const { steps, mode } = config.thresholds ?? {};
  if (!steps?.length || value === null || value === undefined) return undefined;
  const { min = 0, max = 100 } = config;
  const at = mode === 'percentage' ? ((value - min) / (max - min)) * 100 : value;
  return color(
    (
      steps.findLast((step) => step.value === null || step.value === undefined || step.value <= at) ??
      steps[0]
    ).color,
  );
}

/**
 * Return the colours of a heat map from its lowest to its highest value.
 * @type {(scheme?: string) => string[]}
 */
export function ramp(scheme) {
  const base = SCHEMES[scheme?.toLowerCase() ?? ''] ?? SCHEMES.oranges;
  return [style('--cell'), mixed(base, dark() ? 0 : 255, 0.55), base];
}

/** @type {(scheme?: string) => boolean} */
export const knowsScheme = (scheme) => !scheme || scheme.toLowerCase() in SCHEMES;
export const dark = () => document.documentElement.dataset.theme === 'dark';

/**
 * Return a colour of the style sheet by the name of its property.
 * @type {(property: string) => string}
 */
export const style = (property) =>
  getComputedStyle(document.documentElement).getPropertyValue(property).trim();
