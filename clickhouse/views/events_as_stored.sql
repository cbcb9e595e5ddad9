-- Events as they are stored: one that came again is there twice until its parts are merged. For nothing but finding out how far back the
-- newest (or the first) events lie, before those are read from `events`: without FINAL ClickHouse reads a day after the other, from either
-- end, and stops where it has enough. A part is not touched before its days are due
-- (`read_in_order_use_virtual_row`), and of a day no more at once than a granule.
CREATE OR REPLACE VIEW events_as_stored
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email,
    org_id, org_slug, payload, access_token_id, received_at, request_id
FROM events
SETTINGS final = 0, read_in_order_use_virtual_row = 1, max_block_size = 8192;
