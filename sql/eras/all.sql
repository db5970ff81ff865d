-- How many eras there are, how many of them hold something that runs, waits or may come, of how many the tables are still to be
-- dropped; and the bytes of long outputs.
SELECT count(*) AS eras, count(*) FILTER (WHERE closed_at IS NULL) AS open, count(*) FILTER (WHERE emptied_at IS NOT NULL) AS emptied,
    (SELECT coalesce(sum(pg_total_relation_size(i.inhrelid)), 0)::bigint FROM pg_inherits i
        WHERE i.inhparent = 'outputs'::regclass) AS output_bytes
FROM eras
