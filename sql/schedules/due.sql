-- Schedules that are due, and those whose next time is to be computed, at most $1; other nodes have the rest. They stay locked
-- until the transaction ends, in which they are fired. A node that stands still meanwhile loses it after five seconds, and
-- others go on with them.
SELECT s.name, s.revision, schedule_document(s)::text AS document, s.next_at, s.last_at, s.counts_from, clock_timestamp() AS now
FROM (SELECT set_config('idle_in_transaction_session_timeout', '5s', true)) AS bound, schedules s
WHERE s.paused_at IS NULL AND (s.due_at <= clock_timestamp() OR s.due_at IS NULL)
ORDER BY s.due_at NULLS FIRST
LIMIT $1
FOR UPDATE OF s SKIP LOCKED
