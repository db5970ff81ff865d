-- Years of use in seconds: 100,000 processes that have ended, one a second, on five nodes of which the last ran few of them, long
-- ago; and 30,000 that wait, all of them newer.
INSERT INTO process_types (name, definition, tasks)
SELECT name, jsonb_build_object('name', name), '[{"task_index": 0, "name": "only", "command": "/bin/true", "shell": false,
    "timeout_minutes": 60, "max_retries": 3, "on_crash": "rerun", "max_output_bytes": 1048576}]'::jsonb
FROM unnest(ARRAY['etl', 'report', 'well', 'sync', 'rare', 'queued', 'held']) AS name;
UPDATE process_types SET paused = true, paused_at = now() WHERE name = 'held';

INSERT INTO nodes (node_id, name, host, pid, version, executors, state, started_at, last_heartbeat, lease_seconds)
SELECT 'node-' || n, 'n' || n, 'h', n, '1', 8, CASE n WHEN 5 THEN 'STOPPED' ELSE 'RUNNING' END, now() - interval '2 days',
    CASE n WHEN 5 THEN now() - interval '10 hours' ELSE now() + interval '1 day' END, 300
FROM generate_series(1, 5) AS n;

INSERT INTO processes (process_id, process_type, status, current_task_index, total_tasks, started_at, completed_at,
    created_at, updated_at, error_message, input_data)
SELECT type || '-' || n, type, status, 0, 1, t + interval '2 seconds', t + interval '5 seconds' + n % 7 * interval '10 seconds', t, t,
    CASE WHEN status <> 'COMPLETED' THEN 'exit code 1' END,
    CASE WHEN n % 10 = 1 THEN jsonb_build_object('metadata',
        jsonb_build_object('customer', 'c' || n % 5000, 'kind', 'k' || n % 20)) ELSE '{}' END
FROM (
    SELECT n, now() - (100000 - n) * interval '1 second' AS t,
        CASE WHEN n % 1000 = 7 THEN 'rare' WHEN n % 10 < 5 THEN 'etl' WHEN n % 10 < 8 THEN 'report' WHEN n % 10 = 8 THEN 'well'
            ELSE 'sync' END AS type,
        CASE WHEN n % 10 = 8 THEN 'COMPLETED' WHEN n / 10 % 20 = 3 AND n % 10 <> 7 THEN 'FAILED' WHEN n / 10 % 100 = 50 THEN 'CANCELLED'
            ELSE 'COMPLETED' END AS status
    FROM generate_series(1, 100000) AS n
) AS past ORDER BY n;

INSERT INTO executions (era, process_id, task_index, attempt, node_id, command, outcome, exit_code, started_at, completed_at,
    duration_ms, cpu_ms, peak_memory_bytes, output, output_bytes)
SELECT era, process_id, task_index, 1, CASE WHEN n BETWEEN 30000 AND 60000 AND n % 150 = 0 THEN 'node-5' ELSE 'node-' || n % 4 + 1 END,
    '/bin/true', CASE status WHEN 'COMPLETED' THEN 'SUCCEEDED' ELSE 'FAILED' END, 0, started_at, completed_at, 1, 1, 1, '', 0
FROM (SELECT *, split_part(process_id, '-', 2)::integer AS n FROM processes) AS ended, generate_series(0, 1) AS task_index
ORDER BY n;

INSERT INTO processes (process_id, process_type, total_tasks, priority, created_at, status, started_at, input_data)
SELECT type || '-w' || n, type, 1, n % 3, now() - (30000 - n) * interval '10 milliseconds',
    CASE n % 300 WHEN 1 THEN 'IN_PROGRESS' ELSE 'NOT_STARTED' END, CASE n % 300 WHEN 1 THEN now() END,
    CASE n % 10 WHEN 1 THEN jsonb_build_object('metadata',
        jsonb_build_object('customer', 'c' || n % 5000, 'kind', 'k' || n % 20)) ELSE '{}' END
FROM (
    SELECT n, CASE WHEN n % 3 = 0 THEN 'etl' WHEN n % 3 = 1 THEN 'report' WHEN n % 300 = 2 THEN 'rare' WHEN n % 30 = 5 THEN 'held'
        ELSE 'queued' END AS type
    FROM generate_series(1, 30000) AS n
) AS waiting ORDER BY n;

INSERT INTO scheduled_tasks (task_name, task_instance, priority, execution_time, state, held_by, picked, picked_by, version)
SELECT process_type, process_id, priority, CASE WHEN n % 5 = 0 THEN now() + n * interval '1 second' ELSE now() END,
    CASE WHEN status = 'IN_PROGRESS' THEN 'CLAIMED' WHEN process_type = 'held' THEN 'HELD' WHEN n % 5 = 0 THEN 'SCHEDULED'
        ELSE 'READY' END,
    CASE WHEN process_type = 'held' AND status = 'NOT_STARTED' THEN 'pause:held' END, status = 'IN_PROGRESS',
    CASE status WHEN 'IN_PROGRESS' THEN 'node-' || n / 300 % 4 + 1 END, CASE status WHEN 'IN_PROGRESS' THEN 2 ELSE 1 END
FROM (SELECT *, split_part(process_id, '-w', 2)::integer AS n FROM processes WHERE completed_at IS NULL) AS waiting
ORDER BY n;
