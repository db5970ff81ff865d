-- Fills a schema of `bench` as years of use would: {finished} processes of one task that have ended, one a second up to
-- now; {waiting} that are due in the days to come, each with one of {priorities} priorities, half of them above 0; and
-- {held} that are due, longer than any that is ready, while their type is paused. By rows, since running a million
-- processes takes minutes. The numbers in braces are put in by the program.
INSERT INTO process_types (name, definition, tasks)
SELECT name, jsonb_build_object('name', name), '[{"task_index": 0, "name": "only", "command": "/bin/true", "shell": false,
    "timeout_minutes": 60, "max_retries": 3, "on_crash": "rerun", "max_output_bytes": 1048576}]'::jsonb
FROM unnest(ARRAY['bench-past', 'bench-waiting', 'bench-held']) AS name;

UPDATE process_types SET paused = true, paused_at = now() WHERE name = 'bench-held';

-- In eras of the size that they have in use.
DO $$
DECLARE
    size constant integer := greatest(10000, {finished} / 40);
    home integer;
BEGIN
    FOR first IN 1..{finished} BY size LOOP
        home := add_era('ENDED');
        INSERT INTO processes (process_id, process_type, status, current_task_index, total_tasks, started_at, completed_at,
            created_at, updated_at, era)
        SELECT 'bench-past-' || n, 'bench-past', 'COMPLETED', 0, 1, ended, ended, ended, ended, home
        FROM (SELECT n, now() - ({finished} - n) * interval '1 second' AS ended
            FROM generate_series(first, least(first + size - 1, {finished})) AS n) AS past;

        INSERT INTO all_tasks (era, task_id, process_id, task_index, name, command, shell, timeout_minutes, max_retries,
            on_crash, max_output_bytes, status, attempt, started_at, completed_at, exit_code, output_attempt, created_at,
            updated_at)
        SELECT home, process_id || ':0', process_id, 0, 'only', '/bin/true', false, 60, 3, 'rerun', 1048576, 'COMPLETED', 1,
            started_at, completed_at, 0, 1, created_at, updated_at
        FROM processes WHERE era = home;

        INSERT INTO executions (era, process_id, task_index, attempt, node_id, command, outcome, exit_code, started_at,
            completed_at, duration_ms, cpu_ms, peak_memory_bytes, output, output_bytes)
        SELECT home, process_id, 0, 1, 'bench-past', '/bin/true', 'SUCCEEDED', 0, started_at, completed_at, 1, 1, 1048576, '', 0
        FROM processes WHERE era = home;

        UPDATE eras SET is_full = true, (processes, ended_from, ended_to) = (
            SELECT count(*), min(p.completed_at), max(p.completed_at) FROM processes p WHERE p.era = home)
        WHERE era = home;
    END LOOP;
END
$$;

INSERT INTO processes (process_id, process_type, total_tasks, priority)
SELECT 'bench-waiting-' || n, 'bench-waiting', 1, n % {priorities} - {priorities} / 2 FROM generate_series(1, {waiting}) AS n
UNION ALL
SELECT 'bench-held-' || n, 'bench-held', 1, 0 FROM generate_series(1, {held}) AS n;

INSERT INTO all_tasks (era, task_id, process_id, task_index, name, command, shell, timeout_minutes, max_retries, on_crash,
    max_output_bytes)
SELECT era, process_id || ':0', process_id, 0, 'only', '/bin/true', false, 60, 3, 'rerun', 1048576
FROM processes WHERE process_type IN ('bench-waiting', 'bench-held');

INSERT INTO scheduled_tasks (task_name, task_instance, priority, execution_time, state, held_by)
SELECT process_type, process_id, priority, CASE process_type
    WHEN 'bench-held' THEN now() - interval '1 day'
    ELSE now() + interval '1 day' + random() * interval '30 days' END,
    CASE process_type WHEN 'bench-held' THEN 'HELD' ELSE 'SCHEDULED' END,
    CASE process_type WHEN 'bench-held' THEN 'pause:bench-held' END
FROM processes WHERE process_type IN ('bench-waiting', 'bench-held');
