-- Fills a schema of `bench` with {finished} processes of three tasks that have ended, spread over the last 60 days. Each task has
-- printed 300 bytes, and one in a hundred of them 20 KB. By rows, since running a million processes takes minutes. The number
-- in braces is put in by the program.
INSERT INTO process_types (name, definition, tasks)
SELECT 'bench-past', '{"name": "bench-past"}', jsonb_agg(jsonb_build_object('task_index', i, 'name', 'task-' || i,
    'command', '/bin/true', 'shell', false, 'timeout_minutes', 60, 'max_retries', 3, 'on_crash', 'rerun',
    'max_output_bytes', 1048576))
FROM generate_series(0, 2) AS i;

INSERT INTO processes (process_id, process_type, status, current_task_index, total_tasks, started_at, completed_at,
    created_at, updated_at)
SELECT 'bench-past-' || n, 'bench-past', 'COMPLETED', 3, 3, ended - interval '1 second', ended, ended - interval '1 second', ended
FROM (SELECT n, now() - ({finished} - n + 0.5) / {finished} * interval '60 days' AS ended
    FROM generate_series(1, {finished}) AS n) AS past;

INSERT INTO tasks (task_id, process_id, task_index, name, command, shell, timeout_minutes, max_retries, on_crash,
    max_output_bytes, status, attempt, started_at, completed_at, exit_code, output, created_at, updated_at)
SELECT process_id || ':' || i, process_id, i, 'task-' || i, '/bin/true', false, 60, 3, 'rerun', 1048576, 'COMPLETED', 1,
    started_at, completed_at, 0, printed.output, created_at, updated_at
FROM processes CROSS JOIN generate_series(0, 2) AS i CROSS JOIN LATERAL (
    SELECT repeat(md5(process_id || i) || E'\n', CASE WHEN hashtext(process_id || i) % 100 = 0 THEN 620 ELSE 9 END) AS output
) AS printed
WHERE process_type = 'bench-past';

INSERT INTO task_executions (process_id, task_index, attempt, node_id, command, outcome, exit_code, started_at,
    completed_at, duration_ms, cpu_ms, peak_memory_bytes, output, output_bytes)
SELECT p.process_id, t.task_index, 1, 'bench-past', '/bin/true', 'SUCCEEDED', 0, t.started_at, t.completed_at, 1, 1, 1048576,
    t.output, octet_length(t.output)
FROM processes p JOIN tasks t USING (process_id) WHERE p.process_type = 'bench-past';
