-- One row per deploy that changed something: dashboards mark it, so that a change in the curves has a name.
CREATE TABLE IF NOT EXISTS deployments
(
    at DateTime64(3, 'Etc/UTC') DEFAULT now64(3),
    -- of cvat-analytics, and of the checkout if git knows it
    version String,
    revision String,
    -- the hosts on which something was changed, with commas
    host String,
    -- how many operations changed something
    changes UInt32
)
ENGINE = MergeTree
ORDER BY at;
