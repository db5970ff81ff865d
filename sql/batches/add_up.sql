-- Writes what was added up: one element of each list for each batch. What had ended when counting for a halt began is never more than
-- what has ended: retries take some back.
UPDATE batches b
SET not_started = n.not_started, in_progress = n.in_progress, completed = n.completed, failed = n.failed, cancelled = n.cancelled,
    ticks = n.ticks,
    halt_base = ARRAY[least(b.halt_base[1], n.completed), least(b.halt_base[2], n.failed), least(b.halt_base[3], n.cancelled)]
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::jsonb[])
    AS n (name, not_started, in_progress, completed, failed, cancelled, ticks)
WHERE b.name = n.name
