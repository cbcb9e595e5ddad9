-- What dashboards ask of all time is answered from projections of the counts, which have a twentieth of their rows: who was active when and in
-- what (`people`), and what happened when (`kinds`). ClickHouse takes the smallest that has what a question names, and the counts themselves
-- where neither has. Each merge makes them anew of the rows that are left.
--
-- Browsers and operating systems are counted too, so that no payload is read for them: they are of `load:cvat` only, and empty elsewhere.
-- Rows of before have neither; their days are counted anew by views/event_counts.sql, and until then from the events.
ALTER TABLE event_counts_settled
    ADD COLUMN IF NOT EXISTS browser LowCardinality(String) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS system LowCardinality(String) CODEC(ZSTD(1)),
    MODIFY ORDER BY (toDate(hour), scope, source, user_id, hour, org_id, project_id, task_id, job_id, browser, system);

ALTER TABLE event_counts_settled MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';

ALTER TABLE event_counts_settled ADD PROJECTION IF NOT EXISTS people
(
    SELECT hour, counted_at, user_id, org_id, project_id, task_id, job_id, sum(events), groupBitOr(quarters)
    GROUP BY hour, counted_at, user_id, org_id, project_id, task_id, job_id
);

ALTER TABLE event_counts_settled ADD PROJECTION IF NOT EXISTS kinds
(
    SELECT scope, source, browser, system, hour, counted_at, sum(events)
    GROUP BY scope, source, browser, system, hour, counted_at
);

-- Parts with and without projections are not merged with one another. This is done in the background.
ALTER TABLE event_counts_settled MATERIALIZE PROJECTION people;
ALTER TABLE event_counts_settled MATERIALIZE PROJECTION kinds;
