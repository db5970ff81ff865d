-- Whether the queue moves: how long ago a process has ended or a node has begun a task, and which of the processes that
-- are due has waited for longest.
SELECT extract(epoch FROM clock_timestamp() - greatest(
        (SELECT completed_at FROM processes WHERE completed_at IS NOT NULL ORDER BY completed_at DESC LIMIT 1),
        (SELECT max(t.started_at) FROM scheduled_tasks s
            JOIN processes p ON p.process_id = s.task_instance
            JOIN open_tasks t ON t.era = p.era AND t.process_id = p.process_id AND t.task_index = p.current_task_index
            WHERE s.state = 'CLAIMED')))::float8 AS moved_s,
    (SELECT task_instance FROM scheduled_tasks
        WHERE NOT picked AND state <> 'HELD' AND execution_time <= now() AND isfinite(execution_time)
        ORDER BY greatest(execution_time, waiting_since) LIMIT 1) AS oldest
