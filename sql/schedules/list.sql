-- Schedules by name: those after $1, at most $2, or with $3 that one alone; without their inputs unless $4.
SELECT s.name, s.process_type, (CASE WHEN $4 THEN schedule_document(s) ELSE schedule_document(s) - 'input' END)::text AS document, s.source, s.paused_at, s.paused_by, s.pause_reason,
    nullif(s.next_at, 'infinity') AS next_at, nullif(s.due_at, 'infinity') AS due_at, s.next_at = 'infinity' IS TRUE AS is_over,
    s.last_at, s.last_process_id, s.last_lateness_ms, unfinished_of(s.recent) AS unfinished,
    s.fired, s.skipped_missed, s.skipped_overlap, s.skipped_taken, s.problem, s.problem_since, s.created_at, s.changed_at, s.changed_by,
    clock_timestamp() AS now
FROM schedules s
WHERE CASE WHEN $3::text IS NULL THEN $1::text IS NULL OR s.name > $1 ELSE s.name = $3 END
ORDER BY s.name
LIMIT $2
