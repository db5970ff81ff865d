-- How much lies in the tables of the schema, for `doctor`: their bytes with indexes and long values, about how many processes
-- there are, and how many of them ended longer ago than $1 seconds, counted up to a million.
SELECT
    (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r') AS bytes,
    (SELECT greatest(c.reltuples, 0)::float8 FROM pg_class c WHERE c.oid = 'processes'::regclass) AS processes,
    (SELECT count(*) FROM (
        SELECT FROM processes WHERE completed_at < now() - $1::float8 * interval '1 second' LIMIT 1000000
    ) AS old) AS old
