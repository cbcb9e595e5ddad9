-- Where events and dead letters are inserted: two tables that keep nothing, and behind them views that hand on what may be stored. So
-- every way in passes the list of erasures (docs/why/store.md). Whatever is inserted into `events` itself does not: nobody but the
-- administrator may, and each deploy looks for it.
--
-- Texts are plain here: of a LowCardinality column the words of rows that are left out would be written into the part, too.
-- A table whose views are not all there, or do not know its newest column yet, refuses every insert, by its constraint (a table that keeps
-- nothing would accept it, and it would be gone); who inserts tries again. Existing views are changed in place, so that nobody has to.
-- From the end to the beginning, so that each new column is handed on by all that is behind when the first table gets it.
{% macro columns() %}
{%- for name, type in event_columns.items() %}
    {{ name }} {{ type }}{{ "," if not loop.last }}
{%- endfor %}
{%- endmacro %}
{% macro handed_on(table) %}
    CONSTRAINT is_handed_on CHECK {% for view, column in ways_in.behind(table).items() %}hasColumnInTable('{{ database }}', '{{ view }}', '{{ column }}'){{ " AND " if not loop.last }}{% endfor %}
{%- endmacro %}
{% macro view(name, target, query) %}
CREATE MATERIALIZED VIEW IF NOT EXISTS {{ name }} TO {{ target }}
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
{{ query }};

ALTER TABLE {{ name }} MODIFY QUERY
{{ query }};
{% endmacro %}

-- Only what happened before the last erasure needs a look, and the SELECT that takes it is long: ClickHouse reads a query anew with
-- every insert, which took more time than the events of it. So events are judged first, once and for all views behind, and the long
-- one stands behind a table of its own, into which mostly nothing comes: then it is not run.
CREATE OR REPLACE TABLE late_events
(
{{- columns() }}
)
ENGINE = `Null`;
{{ view("late_events_let_in", "events", erasures.let_in("late_events")) }}
CREATE OR REPLACE TABLE judged_events
(
{{- columns() }},
    is_late UInt8
)
ENGINE = `Null`;
{{ view("judged_events_late", "late_events", erasures.judged("judged_events", "is_late")) -}}
{{ view("judged_events_let_in", "events", erasures.judged("judged_events", "NOT is_late")) }}
-- of earlier versions: it wrote into `events` what is to be judged now. Inserts are refused from here until the last view is there
DROP VIEW IF EXISTS incoming_events_let_in;

CREATE OR REPLACE TABLE incoming_events
(
{{- columns() }},
{{- handed_on("incoming_events") }}
)
ENGINE = `Null`;
{{ view("incoming_events_judged", "judged_events", erasures.judge("incoming_events")) }}
CREATE OR REPLACE TABLE incoming_dead_letters
(
    received_at DateTime64(3, 'Etc/UTC'),
    reason String,
    message String,
    original String,
    original_size UInt64 DEFAULT length(original),
    original_sha256 String,
    original_file String,
    sender String,
{{- handed_on("incoming_dead_letters") }}
)
ENGINE = `Null`;
{{ view("incoming_dead_letters_let_in", "events_dead_letter", erasures.letters_let_in("incoming_dead_letters")) }}
