-- The batches that have something to be added up, and with $1 all that a node looks at now and then; locked, but for those that
-- somebody else holds: a start of many may hold one for seconds, and comes next time.
SELECT b.name, b.state, b.ended_at IS NOT NULL AS has_ended, b.not_started, b.in_progress, b.completed, b.failed, b.cancelled,
    b.announced, coalesce(b.filling_at > now() - interval '1 minute', false) AS is_filling, b.halt, b.halt_base, b.halts_now,
    b.cancel_reason IS NOT NULL AS is_cancelled, b.ticks, extract(epoch FROM now())::float8 AS now_s,
    b.ended_at IS NOT NULL AND b.then_type IS NOT NULL AND b.then_id IS NULL AND NOT b.was_cancelled AS is_to_follow
FROM batches b
WHERE b.name = ANY (ARRAY(SELECT DISTINCT batch FROM batch_changes))
    OR $1 AND (b.ended_at IS NULL OR b.then_type IS NOT NULL AND b.then_id IS NULL AND NOT b.was_cancelled)
ORDER BY b.name
FOR NO KEY UPDATE SKIP LOCKED
