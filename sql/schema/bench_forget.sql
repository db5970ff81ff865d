-- Fills a schema of `bench` with {finished} processes of three tasks that have ended, spread over the last 60 days. Each task has
-- printed 300 bytes, and one in a hundred of them 20 KB. By rows, since running a million processes takes minutes. The number
-- in braces is put in by the program.
INSERT INTO process_types (name, definition, tasks)
SELECT 'bench-past', '{"name": "bench-past"}', jsonb_agg(jsonb_build_object('task_index', i, 'name', 'task-' || i,
    'command', '/bin/true', 'shell', false, 'timeout_minutes', 60, 'max_retries', 3, 'on_crash', 'rerun',
    'max_output_bytes', 1048576))
FROM generate_series(0, 2) AS i;

-- In eras of the size that they have in use.
DO $$
DECLARE
    size constant integer := greatest(10000, {finished} / 40);
    home integer;
BEGIN
    FOR low IN 1..{finished} BY size LOOP
        home := add_era('ENDED');
        INSERT INTO processes (process_id, process_type, status, current_task_index, total_tasks, started_at, completed_at,
            created_at, updated_at, era)
        SELECT 'bench-past-' || n, 'bench-past', 'COMPLETED', 3, 3, ended - interval '1 second', ended, ended - interval '1 second',
            ended, home
        FROM (SELECT n, now() - ({finished} - n + 0.5) / {finished} * interval '60 days' AS ended
            FROM generate_series(low, least(low + size - 1, {finished})) AS n) AS past;

        INSERT INTO all_tasks (era, task_id, process_id, task_index, name, command, shell, timeout_minutes, max_retries,
            on_crash, max_output_bytes, status, attempt, started_at, completed_at, exit_code, output_attempt, created_at,
            updated_at)
        SELECT home, process_id || ':' || i, process_id, i, 'task-' || i, '/bin/true', false, 60, 3, 'rerun', 1048576,
            'COMPLETED', 1, started_at, completed_at, 0, 1, created_at, updated_at
        FROM processes CROSS JOIN generate_series(0, 2) AS i WHERE era = home;

        CREATE TEMPORARY TABLE printed ON COMMIT DROP AS
        SELECT process_id, task_index, started_at, completed_at, repeat(md5(process_id || task_index) || E'\n',
            CASE WHEN hashtext(process_id || task_index) % 100 = 0 THEN 620 ELSE 9 END) AS output
        FROM all_tasks WHERE era = home;

        INSERT INTO executions (era, process_id, task_index, attempt, node_id, command, outcome, exit_code, started_at,
            completed_at, duration_ms, cpu_ms, peak_memory_bytes, output, output_bytes)
        SELECT home, process_id, task_index, 1, 'bench-past', '/bin/true', 'SUCCEEDED', 0, started_at, completed_at, 1, 1, 1048576,
            CASE WHEN octet_length(output) <= 1024 THEN output END, octet_length(output)
        FROM printed;

        INSERT INTO outputs (era, process_id, task_index, attempt, output)
        SELECT home, process_id, task_index, 1, output FROM printed WHERE octet_length(output) > 1024;
        DROP TABLE printed;

        UPDATE eras SET is_full = true, (processes, ended_from, ended_to) = (
            SELECT count(*), min(p.completed_at), max(p.completed_at) FROM processes p WHERE p.era = home)
        WHERE era = home;
    END LOOP;
END
$$;
