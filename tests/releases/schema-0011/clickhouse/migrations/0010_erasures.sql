-- Who was erased, and when: what happened before that instant leaves the person out, however late it comes. A mirror of the list beside
-- the inventory, which is what stays when this database is lost. A user id of CVAT's and an instant, and nothing else.
CREATE TABLE IF NOT EXISTS erasures
(
    user_id UInt64,
    before DateTime64(3, 'Etc/UTC')
)
ENGINE = ReplacingMergeTree(before)
ORDER BY user_id;

-- Who has run an erasure when, and how many rows, lines and files of which place it took. Nothing says whose they were.
CREATE TABLE IF NOT EXISTS erasure_runs
(
    id UUID,
    begun_at DateTime64(3, 'Etc/UTC'),
    -- NULL: it was cut off; the same command completes it
    ended_at Nullable(DateTime64(3, 'Etc/UTC')),
    operator String,
    keep_sums Bool,
    -- as JSON
    counts String
)
ENGINE = ReplacingMergeTree
ORDER BY id;
