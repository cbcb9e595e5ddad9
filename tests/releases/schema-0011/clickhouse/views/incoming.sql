-- Where events and dead letters are inserted: two tables that keep nothing, and behind them views that hand on what may be stored. So
-- every way in passes the list of erasures (docs/why/store.md). Whatever is inserted into `events` itself does not: nobody but the
-- administrator may, and each deploy looks for it.
--
-- Texts are plain here: of a LowCardinality column the words of rows that are left out would be written into the part, too.
-- A table whose views are not all there refuses every insert, by its constraint (a table that keeps nothing would accept it, and it would
-- be gone); who inserts tries again. Existing views are changed in place, so that nobody has to.

-- Only what happened before the last erasure needs a look, and the SELECT that takes it is long: ClickHouse reads a query anew with
-- every insert, which took more time than the events of it. So events are judged first, once and for all views behind, and the long
-- one stands behind a table of its own, into which mostly nothing comes: then it is not run.
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
    CONSTRAINT is_handed_on CHECK hasColumnInTable('<database>', 'incoming_events_judged', 'scope') AND hasColumnInTable('<database>', 'judged_events_let_in', 'scope') AND hasColumnInTable('<database>', 'judged_events_late', 'scope') AND hasColumnInTable('<database>', 'late_events_let_in', 'scope')
)
ENGINE = `Null`;

-- of earlier versions: it wrote into `events` what is to be judged now. Inserts are refused until the views below are there
DROP VIEW IF EXISTS incoming_events_let_in;

CREATE TABLE IF NOT EXISTS judged_events
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
    is_late UInt8
)
ENGINE = `Null`;

CREATE TABLE IF NOT EXISTS late_events
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
    access_token_id Nullable(UInt64)
)
ENGINE = `Null`;

CREATE MATERIALIZED VIEW IF NOT EXISTS late_events_let_in TO events
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    scope,
    if(is_touched, if(of_account OR is_forgotten AND scope = 'delete:comment', materialize(CAST(NULL, 'Nullable(String)')), obj_name), obj_name) AS obj_name,
    if(is_touched, if(of_account OR of_given, NULL, obj_id), obj_id) AS obj_id,
    if(is_touched, if(of_given OR is_forgotten AND startsWith(scope, 'update:'), materialize(CAST(NULL, 'Nullable(String)')), obj_val), obj_val) AS obj_val,
    source,
    timestamp,
    count,
    duration,
    project_id,
    task_id,
    job_id,
    user_id,
    user_name,
    user_email,
    org_id,
    org_slug,
    if(is_touched, multiIf(of_account OR is_forgotten OR of_given_before, if(JSONHas(ifNull(payload, ''), 'request'), concat('{"request":', JSONExtractRaw(ifNull(payload, ''), 'request'), '}'), '{}'), notEmpty(of_objects), arrayFold((text, each) -> replaceAll(text, each, 'null'), of_objects, ifNull(payload, '')), payload), payload) AS payload,
    access_token_id
FROM
(
    SELECT
        scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id, is_gone,
        is_late AND (scope = 'delete:comment' AND obj_name IS NOT NULL OR (scope = 'update:comment' OR scope = 'update:user' AND obj_name IN ('username', 'email', 'first_name', 'last_name')) AND (obj_val IS NOT NULL OR JSONHas(ifNull(payload, ''), 'old_value') AND JSONType(ifNull(payload, ''), 'old_value') != 'Null')) AND sipHash128(tuple(scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id)) NOT IN (SELECT sipHash128(tuple(scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id)) FROM events WHERE (scope = 'delete:comment' AND obj_name IS NOT NULL OR (scope = 'update:comment' OR scope = 'update:user' AND obj_name IN ('username', 'email', 'first_name', 'last_name')) AND (obj_val IS NOT NULL OR JSONHas(ifNull(payload, ''), 'old_value') AND JSONType(ifNull(payload, ''), 'old_value') != 'Null')) AND timestamp IN (SELECT timestamp FROM late_events WHERE (scope = 'delete:comment' AND obj_name IS NOT NULL OR (scope = 'update:comment' OR scope = 'update:user' AND obj_name IN ('username', 'email', 'first_name', 'last_name')) AND (obj_val IS NOT NULL OR JSONHas(ifNull(payload, ''), 'old_value') AND JSONType(ifNull(payload, ''), 'old_value') != 'Null')) AND timestamp < (SELECT max(before) FROM erasures))) AS is_forgotten,
        is_late AND scope IN ('create:user', 'delete:user') AND (has(erased.1, ifNull(obj_id, 0)) AND timestamp < erased.2[indexOf(erased.1, ifNull(obj_id, 0))]) AS of_account,
        is_late AND startsWith(scope, 'update:') AND obj_name IN ('assignee', 'owner') AND (has(erased.1, ifNull(obj_id, toUInt64OrZero(extract(ifNull(obj_val, ''), '\'id\'(?:: |, )(\\d+)')))) AND timestamp < erased.2[indexOf(erased.1, ifNull(obj_id, toUInt64OrZero(extract(ifNull(obj_val, ''), '\'id\'(?:: |, )(\\d+)'))))]) AS of_given,
        is_late AND startsWith(scope, 'update:') AND obj_name IN ('assignee', 'owner') AND (has(erased.1, toUInt64OrZero(extract(JSONExtractString(ifNull(payload, ''), 'old_value'), '\'id\'(?:: |, )(\\d+)'))) AND timestamp < erased.2[indexOf(erased.1, toUInt64OrZero(extract(JSONExtractString(ifNull(payload, ''), 'old_value'), '\'id\'(?:: |, )(\\d+)')))]) AS of_given_before,
        if(is_late AND (position(ifNull(payload, ''), '"username"') > 0), arrayFilter(each -> (has(erased.1, JSONExtractUInt(each, 'id')) AND timestamp < erased.2[indexOf(erased.1, JSONExtractUInt(each, 'id'))]), extractAll(ifNull(payload, ''), '\\{\\s*(?:"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+)\\s*,\\s*)*"username"\\s*:\\s*"(?:[^"\\\\]|\\\\.)*"(?:\\s*,\\s*"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+))*\\s*\\}')), []) AS of_objects,
        is_forgotten OR of_account OR of_given OR of_given_before OR notEmpty(of_objects) AS is_touched
    FROM
    (
        SELECT
            scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id, erased,
            notEmpty(erased.1) AND timestamp < arrayMax(erased.2) AS is_late,
            is_late AND (has(erased.1, ifNull(user_id, 0)) AND timestamp < erased.2[indexOf(erased.1, ifNull(user_id, 0))]) AS is_gone
        FROM (SELECT scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id, (SELECT (groupArray(user_id), groupArray(before)) FROM (SELECT user_id, max(before) AS before FROM erasures GROUP BY user_id)) AS erased FROM late_events)
    )
)
WHERE NOT is_gone;

ALTER TABLE late_events_let_in MODIFY QUERY
SELECT
    scope,
    if(is_touched, if(of_account OR is_forgotten AND scope = 'delete:comment', materialize(CAST(NULL, 'Nullable(String)')), obj_name), obj_name) AS obj_name,
    if(is_touched, if(of_account OR of_given, NULL, obj_id), obj_id) AS obj_id,
    if(is_touched, if(of_given OR is_forgotten AND startsWith(scope, 'update:'), materialize(CAST(NULL, 'Nullable(String)')), obj_val), obj_val) AS obj_val,
    source,
    timestamp,
    count,
    duration,
    project_id,
    task_id,
    job_id,
    user_id,
    user_name,
    user_email,
    org_id,
    org_slug,
    if(is_touched, multiIf(of_account OR is_forgotten OR of_given_before, if(JSONHas(ifNull(payload, ''), 'request'), concat('{"request":', JSONExtractRaw(ifNull(payload, ''), 'request'), '}'), '{}'), notEmpty(of_objects), arrayFold((text, each) -> replaceAll(text, each, 'null'), of_objects, ifNull(payload, '')), payload), payload) AS payload,
    access_token_id
FROM
(
    SELECT
        scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id, is_gone,
        is_late AND (scope = 'delete:comment' AND obj_name IS NOT NULL OR (scope = 'update:comment' OR scope = 'update:user' AND obj_name IN ('username', 'email', 'first_name', 'last_name')) AND (obj_val IS NOT NULL OR JSONHas(ifNull(payload, ''), 'old_value') AND JSONType(ifNull(payload, ''), 'old_value') != 'Null')) AND sipHash128(tuple(scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id)) NOT IN (SELECT sipHash128(tuple(scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id)) FROM events WHERE (scope = 'delete:comment' AND obj_name IS NOT NULL OR (scope = 'update:comment' OR scope = 'update:user' AND obj_name IN ('username', 'email', 'first_name', 'last_name')) AND (obj_val IS NOT NULL OR JSONHas(ifNull(payload, ''), 'old_value') AND JSONType(ifNull(payload, ''), 'old_value') != 'Null')) AND timestamp IN (SELECT timestamp FROM late_events WHERE (scope = 'delete:comment' AND obj_name IS NOT NULL OR (scope = 'update:comment' OR scope = 'update:user' AND obj_name IN ('username', 'email', 'first_name', 'last_name')) AND (obj_val IS NOT NULL OR JSONHas(ifNull(payload, ''), 'old_value') AND JSONType(ifNull(payload, ''), 'old_value') != 'Null')) AND timestamp < (SELECT max(before) FROM erasures))) AS is_forgotten,
        is_late AND scope IN ('create:user', 'delete:user') AND (has(erased.1, ifNull(obj_id, 0)) AND timestamp < erased.2[indexOf(erased.1, ifNull(obj_id, 0))]) AS of_account,
        is_late AND startsWith(scope, 'update:') AND obj_name IN ('assignee', 'owner') AND (has(erased.1, ifNull(obj_id, toUInt64OrZero(extract(ifNull(obj_val, ''), '\'id\'(?:: |, )(\\d+)')))) AND timestamp < erased.2[indexOf(erased.1, ifNull(obj_id, toUInt64OrZero(extract(ifNull(obj_val, ''), '\'id\'(?:: |, )(\\d+)'))))]) AS of_given,
        is_late AND startsWith(scope, 'update:') AND obj_name IN ('assignee', 'owner') AND (has(erased.1, toUInt64OrZero(extract(JSONExtractString(ifNull(payload, ''), 'old_value'), '\'id\'(?:: |, )(\\d+)'))) AND timestamp < erased.2[indexOf(erased.1, toUInt64OrZero(extract(JSONExtractString(ifNull(payload, ''), 'old_value'), '\'id\'(?:: |, )(\\d+)')))]) AS of_given_before,
        if(is_late AND (position(ifNull(payload, ''), '"username"') > 0), arrayFilter(each -> (has(erased.1, JSONExtractUInt(each, 'id')) AND timestamp < erased.2[indexOf(erased.1, JSONExtractUInt(each, 'id'))]), extractAll(ifNull(payload, ''), '\\{\\s*(?:"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+)\\s*,\\s*)*"username"\\s*:\\s*"(?:[^"\\\\]|\\\\.)*"(?:\\s*,\\s*"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+))*\\s*\\}')), []) AS of_objects,
        is_forgotten OR of_account OR of_given OR of_given_before OR notEmpty(of_objects) AS is_touched
    FROM
    (
        SELECT
            scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id, erased,
            notEmpty(erased.1) AND timestamp < arrayMax(erased.2) AS is_late,
            is_late AND (has(erased.1, ifNull(user_id, 0)) AND timestamp < erased.2[indexOf(erased.1, ifNull(user_id, 0))]) AS is_gone
        FROM (SELECT scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id, (SELECT (groupArray(user_id), groupArray(before)) FROM (SELECT user_id, max(before) AS before FROM erasures GROUP BY user_id)) AS erased FROM late_events)
    )
)
WHERE NOT is_gone;

CREATE MATERIALIZED VIEW IF NOT EXISTS judged_events_late TO late_events
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id FROM judged_events WHERE is_late;

ALTER TABLE judged_events_late MODIFY QUERY
SELECT scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id FROM judged_events WHERE is_late;

CREATE MATERIALIZED VIEW IF NOT EXISTS judged_events_let_in TO events
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id FROM judged_events WHERE NOT is_late;

ALTER TABLE judged_events_let_in MODIFY QUERY
SELECT scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id FROM judged_events WHERE NOT is_late;

CREATE MATERIALIZED VIEW IF NOT EXISTS incoming_events_judged TO judged_events
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id, ifNull(timestamp < (SELECT max(before) FROM erasures), 1) AS is_late FROM incoming_events;

ALTER TABLE incoming_events_judged MODIFY QUERY
SELECT scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id, ifNull(timestamp < (SELECT max(before) FROM erasures), 1) AS is_late FROM incoming_events;

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
    CONSTRAINT is_handed_on CHECK hasColumnInTable('<database>', 'incoming_dead_letters_let_in', 'reason')
)
ENGINE = `Null`;

CREATE MATERIALIZED VIEW IF NOT EXISTS incoming_dead_letters_let_in TO events_dead_letter
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT received_at, reason, message, original, original_size, original_sha256, original_file, sender
FROM (SELECT received_at, reason, message, original, original_size, original_sha256, original_file, sender, (SELECT (groupArray(user_id), groupArray(before)) FROM (SELECT user_id, max(before) AS before FROM erasures GROUP BY user_id)) AS erased FROM incoming_dead_letters)
WHERE NOT (notEmpty(erased.1) AND arrayExists(piece -> arrayExists(each -> has(erased.1, each) AND arrayMin(if(empty(arrayMap(each -> ifNull(if(match(each, '^[0-9]{9,11}([.][0-9]+)?$'), toDateTime64(toFloat64OrZero(each), 3, 'Etc/UTC'), parseDateTime64BestEffortOrNull(each, 3, 'Etc/UTC')), toDateTime64(0, 3, 'Etc/UTC')), extractAll(piece, '"timestamp"\\s*:\\s*"?([^",}}\\s][^",}}]*)'))), [toDateTime64(0, 3, 'Etc/UTC')], arrayMap(each -> ifNull(if(match(each, '^[0-9]{9,11}([.][0-9]+)?$'), toDateTime64(toFloat64OrZero(each), 3, 'Etc/UTC'), parseDateTime64BestEffortOrNull(each, 3, 'Etc/UTC')), toDateTime64(0, 3, 'Etc/UTC')), extractAll(piece, '"timestamp"\\s*:\\s*"?([^",}}\\s][^",}}]*)')))) < erased.2[indexOf(erased.1, each)], arrayConcat(arrayMap(each -> toUInt64OrZero(each), extractAll(piece, '"user_id"\\s*:\\s*"?(\\d+)')), if(match(piece, '"scope"\\s*:\\s*"(?:create|delete):user"|"obj_name"\\s*:\\s*"(?:assignee|owner)"'), arrayConcat(arrayMap(each -> toUInt64OrZero(each), extractAll(piece, '"obj_id"\\s*:\\s*"?(\\d+)')), arrayMap(each -> toUInt64OrZero(each), extractAll(piece, '\'id\'(?:: |, )(\\d+)'))), []), arrayMap(each -> JSONExtractUInt(each, 'id'), arrayConcat(extractAll(piece, '\\{\\s*(?:"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+)\\s*,\\s*)*"username"\\s*:\\s*"(?:[^"\\\\]|\\\\.)*"(?:\\s*,\\s*"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+))*\\s*\\}'), extractAll(replaceRegexpAll(piece, '\\\\(["\\\\])', '\\1'), '\\{\\s*(?:"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+)\\s*,\\s*)*"username"\\s*:\\s*"(?:[^"\\\\]|\\\\.)*"(?:\\s*,\\s*"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+))*\\s*\\}'))))), arrayPushBack(extractAll(original, '\\{(?:[^{}"]|"(?:[^"\\\\]|\\\\.)*")*"timestamp"\\s*:(?:[^{}"]|"(?:[^"\\\\]|\\\\.)*")*\\}'), replaceRegexpAll(original, '\\{(?:[^{}"]|"(?:[^"\\\\]|\\\\.)*")*"timestamp"\\s*:(?:[^{}"]|"(?:[^"\\\\]|\\\\.)*")*\\}', ''))));

ALTER TABLE incoming_dead_letters_let_in MODIFY QUERY
SELECT received_at, reason, message, original, original_size, original_sha256, original_file, sender
FROM (SELECT received_at, reason, message, original, original_size, original_sha256, original_file, sender, (SELECT (groupArray(user_id), groupArray(before)) FROM (SELECT user_id, max(before) AS before FROM erasures GROUP BY user_id)) AS erased FROM incoming_dead_letters)
WHERE NOT (notEmpty(erased.1) AND arrayExists(piece -> arrayExists(each -> has(erased.1, each) AND arrayMin(if(empty(arrayMap(each -> ifNull(if(match(each, '^[0-9]{9,11}([.][0-9]+)?$'), toDateTime64(toFloat64OrZero(each), 3, 'Etc/UTC'), parseDateTime64BestEffortOrNull(each, 3, 'Etc/UTC')), toDateTime64(0, 3, 'Etc/UTC')), extractAll(piece, '"timestamp"\\s*:\\s*"?([^",}}\\s][^",}}]*)'))), [toDateTime64(0, 3, 'Etc/UTC')], arrayMap(each -> ifNull(if(match(each, '^[0-9]{9,11}([.][0-9]+)?$'), toDateTime64(toFloat64OrZero(each), 3, 'Etc/UTC'), parseDateTime64BestEffortOrNull(each, 3, 'Etc/UTC')), toDateTime64(0, 3, 'Etc/UTC')), extractAll(piece, '"timestamp"\\s*:\\s*"?([^",}}\\s][^",}}]*)')))) < erased.2[indexOf(erased.1, each)], arrayConcat(arrayMap(each -> toUInt64OrZero(each), extractAll(piece, '"user_id"\\s*:\\s*"?(\\d+)')), if(match(piece, '"scope"\\s*:\\s*"(?:create|delete):user"|"obj_name"\\s*:\\s*"(?:assignee|owner)"'), arrayConcat(arrayMap(each -> toUInt64OrZero(each), extractAll(piece, '"obj_id"\\s*:\\s*"?(\\d+)')), arrayMap(each -> toUInt64OrZero(each), extractAll(piece, '\'id\'(?:: |, )(\\d+)'))), []), arrayMap(each -> JSONExtractUInt(each, 'id'), arrayConcat(extractAll(piece, '\\{\\s*(?:"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+)\\s*,\\s*)*"username"\\s*:\\s*"(?:[^"\\\\]|\\\\.)*"(?:\\s*,\\s*"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+))*\\s*\\}'), extractAll(replaceRegexpAll(piece, '\\\\(["\\\\])', '\\1'), '\\{\\s*(?:"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+)\\s*,\\s*)*"username"\\s*:\\s*"(?:[^"\\\\]|\\\\.)*"(?:\\s*,\\s*"(?:[^"\\\\]|\\\\.)*"\\s*:\\s*(?:"(?:[^"\\\\]|\\\\.)*"|[^"{}\\[\\],]+))*\\s*\\}'))))), arrayPushBack(extractAll(original, '\\{(?:[^{}"]|"(?:[^"\\\\]|\\\\.)*")*"timestamp"\\s*:(?:[^{}"]|"(?:[^"\\\\]|\\\\.)*")*\\}'), replaceRegexpAll(original, '\\{(?:[^{}"]|"(?:[^"\\\\]|\\\\.)*")*"timestamp"\\s*:(?:[^{}"]|"(?:[^"\\\\]|\\\\.)*")*\\}', ''))));
