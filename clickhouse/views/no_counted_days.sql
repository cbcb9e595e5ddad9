-- What `counted_days` says where no day is counted: for questions of so short a time that asking the events themselves costs less than finding
-- out which days are counted. A table function takes one of the two by name, so that the other costs nothing (docs/why/store.md).
CREATE OR REPLACE VIEW no_counted_days AS
SELECT (toDate(0), [], [])::Tuple(first_day Date, counted_at Array(DateTime64(3, 'Etc/UTC')), uncounted Array(Date)) AS days;
