-- Seconds until the next schedule is due; none where none is.
SELECT extract(epoch FROM min(s.due_at) - clock_timestamp())::float8 AS seconds
FROM schedules s WHERE s.paused_at IS NULL AND s.due_at < 'infinity'
