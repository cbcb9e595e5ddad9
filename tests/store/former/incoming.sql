-- Where events and dead letters are inserted: two tables that keep nothing, and behind each one view that hands on what may be stored. So
-- every way in passes the list of erasures (docs/why/store.md). Whatever is inserted into `events` itself does not: nobody but the
-- administrator may, and each deploy looks for it.
--
-- Texts are plain here: of a LowCardinality column the words of rows that are left out would be written into the part, too.
-- A table whose view is missing refuses every insert, by its constraint (a table that keeps nothing would accept it, and it would be
-- gone); who inserts tries again. An existing view is changed in place, so that nobody has to.
CREATE OR REPLACE TABLE incoming_events
(
    scope String,
    obj_name Nullable(String),
    obj_id Nullable(UInt64),
    obj_val Nullable(String),
    source String,
    timestamp DateTime64(3, 'Etc/UTC'),
    count Nullable(UInt32),
    duration UInt32 DEFAULT 0,
    project_id Nullable(UInt64),
    task_id Nullable(UInt64),
    job_id Nullable(UInt64),
    user_id Nullable(UInt64),
    user_name Nullable(String),
    user_email Nullable(String),
    org_id Nullable(UInt64),
    org_slug Nullable(String),
    payload Nullable(String),
    access_token_id Nullable(UInt64),
    CONSTRAINT is_handed_on CHECK hasColumnInTable('{{ database }}', 'incoming_events_let_in', 'scope')
)
ENGINE = `Null`;

CREATE MATERIALIZED VIEW IF NOT EXISTS incoming_events_let_in TO events
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
{{ erasures.let_in("incoming_events") }};

ALTER TABLE incoming_events_let_in MODIFY QUERY
{{ erasures.let_in("incoming_events") }};

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
    CONSTRAINT is_handed_on CHECK hasColumnInTable('{{ database }}', 'incoming_dead_letters_let_in', 'reason')
)
ENGINE = `Null`;

CREATE MATERIALIZED VIEW IF NOT EXISTS incoming_dead_letters_let_in TO events_dead_letter
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
{{ erasures.letters_let_in("incoming_dead_letters") }};

ALTER TABLE incoming_dead_letters_let_in MODIFY QUERY
{{ erasures.letters_let_in("incoming_dead_letters") }};
