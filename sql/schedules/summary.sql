-- What there is of schedules, in sums; `lateness` is that of the latest firings, each of its schedule, of the last five minutes.
SELECT count(*) AS schedules, count(*) FILTER (WHERE s.paused_at IS NOT NULL) AS paused,
    count(*) FILTER (WHERE s.problem IS NOT NULL AND s.paused_at IS NULL) AS with_problem,
    coalesce(sum(s.fired), 0)::bigint AS fired, coalesce(sum(s.skipped_missed), 0)::bigint AS missed,
    coalesce(sum(s.skipped_overlap), 0)::bigint AS overlap, coalesce(sum(s.skipped_taken), 0)::bigint AS taken,
    coalesce(max(s.last_lateness_ms) FILTER (WHERE s.last_at > now() - interval '5 minutes'), 0) / 1000.0::float8 AS lateness,
    greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(s.next_at) FILTER (WHERE s.paused_at IS NULL AND s.due_at > '-infinity')), 0))::float8
        AS overdue,
    nullif(min(s.due_at) FILTER (WHERE s.paused_at IS NULL), 'infinity') AS next_at
FROM schedules s
