-- For which time of the schedule $1 the process $2 was started.
SELECT f.scheduled_at, f.outcome, f.reason, f.how_many, f.process_id, f.lateness_ms, f.noted_at
FROM schedule_firings f WHERE f.schedule = $1 AND f.process_id = $2
ORDER BY f.firing_number DESC LIMIT 1
