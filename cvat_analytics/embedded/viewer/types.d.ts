// What the scripts in static/js hand to each other, for TypeScript's checker (tsconfig.json). No browser reads it.

/** A cell. What it holds goes by its field's kind, and that by the query. */
// biome-ignore lint/suspicious/noExplicitAny: see above
type Value = any;
/** A part of a dashboard's JSON that Grafana's editor writes, and that is read with a default for all that is missing. */
// biome-ignore lint/suspicious/noExplicitAny: see above
type Json = any;

type Kind = 'time' | 'number' | 'text';
type State = import('./static/js/state.js').State;
type Chart = import('echarts').ECharts;
type ChartOption = import('echarts').EChartsOption;
/** An axis, to be x or y; ECharts has a type for each. */
type Axis = Json;

/** The rows of a query as the server sends them. */
interface Rows {
  refId: string;
  names: string[];
  kinds: Kind[];
  rows: Value[][];
}
interface PanelData {
  frames: Rows[];
  interval?: number;
}

/** A column before its field's options are known. */
interface Column {
  name: string;
  kind: Kind;
  labels: Record<string, string>;
  refId: string;
  values: Value[];
}
interface Field extends Column {
  display: string;
  config: FieldOptions;
  text: (index: number) => string;
}

interface FieldOptions {
  custom: Record<string, Json>;
  unit?: string;
  decimals?: number;
  min?: number;
  max?: number;
  noValue?: string;
  displayName?: string;
  description?: string;
  color?: { mode?: string; fixedColor?: string };
  links?: LinkModel[];
  thresholds?: { mode?: string; steps?: { value?: number | null; color: string }[] };
  mappings?: { type: string; options: Json }[];
  [name: string]: Json;
}
interface LinkModel {
  title: string;
  url: string;
  targetBlank?: boolean;
}
interface Link {
  title: string;
  href: string;
  blank?: boolean;
}
interface Matcher {
  id: string;
  options: Json;
}
interface FieldConfig {
  defaults?: Partial<FieldOptions>;
  overrides?: { matcher: Matcher; properties: { id: string; value: Json }[] }[];
}
interface PanelModel {
  id: number;
  type: string;
  title: string;
  description?: string;
  fieldConfig?: FieldConfig;
  gridPos?: { x?: number; y?: number; w?: number; h?: number };
  links?: LinkModel[];
  options?: Json;
  panels?: PanelModel[];
  targets?: Json[];
  [name: string]: Json;
}
interface Variable {
  name: string;
  type: string;
  label?: string;
  description?: string;
  hide?: number;
  query?: string;
  multi?: boolean;
  includeAll?: boolean;
  current?: { value?: string | string[] };
}
interface DashboardModel {
  uid: string;
  title: string;
  description?: string;
  time?: { from?: string; to?: string };
  timezone?: string;
  refresh?: string;
  templating?: { list: Variable[] };
  panels?: PanelModel[];
}

interface Choice {
  value: string;
  text: string;
}
interface Mark {
  time: number;
  title?: string;
  text?: string;
}
interface Annotation {
  name: string;
  color: string;
  hidden: boolean;
  on: boolean;
  marks: Mark[];
}
/** The names of values, by variable: a user's name for an id. */
type Texts = Record<string, Map<string, string>>;

/** What all of a page has in common. */
interface Context {
  state: State;
  texts: Texts;
  prefix: string;
  annotations: Annotation[];
  onNamed: (listener: () => void) => void;
  named: () => void;
}
/** What a panel remembers from one drawing to the next. */
interface Memory {
  hidden?: Set<string>;
  table?: TableMemory;
}
interface TableMemory {
  filters: Map<string, Set<string>>;
  widths: Map<string, number>;
  sort: { name?: string; down?: boolean };
  page: number;
  change: () => void;
}
interface PanelContext extends Context {
  memory: Memory;
}

type End = () => void;
/** Draw `data` into `body`. Return false when there is nothing to draw, else how to end the drawing. */
type Draw = (body: HTMLElement, panel: PanelModel, data: PanelData, context: PanelContext) => false | End;

/** A series of a chart over time. */
interface Series {
  field: Field;
  times: number[];
  color: string;
  kind?: string;
  stack?: string;
  axis?: number;
}

type Child = string | Node | false | null | undefined | Child[];
type Attributes = {
  [Name in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[Name]) => unknown;
} & {
  data?: Record<string, string>;
  [name: string]: unknown;
};

interface Window {
  /** Absent where the charts' library is not installed. */
  echarts?: typeof import('echarts');
}
/** Swagger UI's own entry. */
declare function SwaggerUIBundle(options: Json): void;
