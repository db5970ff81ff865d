-- What became of the last times of a schedule, the latest first: $1 its name, $2 how many.
SELECT f.scheduled_at, f.outcome, f.reason, f.how_many, f.process_id, f.lateness_ms, f.noted_at
FROM schedule_firings f WHERE f.schedule = $1
ORDER BY f.firing_number DESC LIMIT $2
