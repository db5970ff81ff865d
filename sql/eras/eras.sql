-- All eras, and how many processes one is to hold: a fortieth of all, but no less than $1. Few eras make few partitions; small
-- ones let a part of the history go as a whole.
SELECT e.era, e.kind, e.closed_at IS NOT NULL AS is_closed, e.is_full, e.processes, e.ended_from, e.ended_to, e.moved_to,
    e.emptied_at IS NOT NULL AS is_emptied, e.outputs_deleted_at IS NOT NULL AS is_without_outputs,
    e.era = newest.last_value AS is_newest, extract(epoch FROM now() - e.opened_at)::float8 AS age_s,
    greatest($1::bigint, size.reltuples::bigint / 40) AS size
FROM eras e
CROSS JOIN (SELECT last_value FROM newest_era) AS newest
CROSS JOIN (SELECT reltuples FROM pg_class WHERE oid = 'processes'::regclass) AS size
ORDER BY e.era
