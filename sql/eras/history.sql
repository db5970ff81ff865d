-- What the history takes up: bytes of all tables of the schema with their indexes, those of outputs, and how many eras there
-- are, how many of them hold something that runs or waits, and of how many the tables are still to be dropped.
SELECT (SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r') AS bytes,
    (SELECT coalesce(sum(pg_total_relation_size(i.inhrelid)), 0)::bigint FROM pg_inherits i
        WHERE i.inhparent = 'outputs'::regclass) AS output_bytes,
    (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'processes'::regclass) AS processes,
    count(*) AS eras, count(*) FILTER (WHERE closed_at IS NULL) AS open_eras, count(*) FILTER (WHERE emptied_at IS NOT NULL) AS emptied
FROM eras
