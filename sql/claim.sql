-- Claims due processes for a node and marks the task of each that is next as in progress.
-- $1 node id, $2 how many at the most; $3 priorities that are known and $4, for each of them, how many seconds ago the
-- earliest was due that is looked at: what has been due for longer is known to be claimed; null: look from the front, as
-- at priorities that are not known. $5 a priority: only those above it; null: all.
--
-- `level` walks the distinct priorities, so that rows of a high one that are not due yet (retries, starts in the future)
-- are never read on the way to lower ones that are: those that are known without a look, the gaps between them by one
-- index descent each. A descent into a priority itself would read, as long as something holds back vacuum, the dead
-- entries that claims have left, to find that none waits. The index is walked backwards: what came last is there, while
-- dead entries are left where what came first was.
-- Ids of processes are joined as arrays of one, here and in the engine's other statements. Joined by plain equality, an
-- index is also considered as a whole, for its order; where the statistics know of no rows (a queue that was drained, a
-- new database) that costs as little as one descent, and the plan outlives the emptiness. An array has no order to use.
-- `due` locks no more than $2 rows, in the order of the index: the lateral subquery is driven lazily by `level`.
WITH RECURSIVE level AS (
    SELECT 2147483648 AS priority -- above all
    UNION ALL
    SELECT coalesce((SELECT s.priority FROM scheduled_tasks s
            WHERE NOT s.picked AND s.priority < level.priority AND s.priority > coalesce(known.priority, $5::int, -2147483649)
            ORDER BY s.priority DESC LIMIT 1), known.priority)
    FROM level CROSS JOIN LATERAL (
        SELECT max(priority)::bigint AS priority FROM unnest($3::int[]) AS p (priority) WHERE p.priority < level.priority
    ) AS known
    WHERE level.priority > coalesce($5::int, -2147483649)
), due AS MATERIALIZED (
    SELECT d.task_instance
    FROM level CROSS JOIN LATERAL (
        SELECT s.task_instance
        FROM scheduled_tasks s
        WHERE NOT s.picked AND s.priority = level.priority AND ($5::int IS NULL OR level.priority > $5)
            AND s.execution_time <= now()
            AND s.execution_time >= coalesce(now() - interval '1 second' * (SELECT known.due_ago_s
                FROM unnest($3::int[], $4::float8[]) AS known (priority, due_ago_s)
                WHERE known.priority = level.priority), '-infinity')
            AND s.reserved_for IS NULL AND s.cancel_requested_at IS NULL
            AND s.task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
        ORDER BY s.execution_time
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ) AS d
    LIMIT $2
), claimed AS (
    UPDATE scheduled_tasks s
    SET picked = true, picked_by = $1, version = s.version + 1
    FROM due
    WHERE s.task_instance = ANY (ARRAY[due.task_instance])
    RETURNING s.task_instance, s.task_name, s.version, s.priority, s.execution_time,
        CASE WHEN isfinite(s.execution_time)
            THEN extract(epoch FROM clock_timestamp() - s.execution_time)::float8 END AS late_s
), process AS (
    UPDATE processes p
    SET status = 'IN_PROGRESS', started_at = coalesce(p.started_at, now()), updated_at = now()
    FROM claimed
    WHERE p.process_id = ANY (ARRAY[claimed.task_instance])
    RETURNING claimed.*, p.current_task_index, p.total_tasks, p.input_data, p.process_context
), task AS (
    UPDATE tasks t
    SET status = 'IN_PROGRESS', attempt = t.attempt + 1, started_at = now(), updated_at = now()
    FROM process
    WHERE t.process_id = ANY (ARRAY[process.task_instance])
        AND t.task_index = process.current_task_index
    RETURNING process.*, t.task_index, t.name, t.command, t.shell, t.working_directory, t.environment,
        t.timeout_minutes, t.max_retries, t.retry, t.max_output_bytes, t.attempt, t.retry_count
)
-- A row for each claim and one more for each whose process and task are there: joined here, by a plan that does not
-- know how many there are, they would be compared each with each.
SELECT task_instance, task_name, version, priority, execution_time, late_s, NULL::integer AS total_tasks,
    NULL::jsonb AS input_data, NULL::jsonb AS process_context, NULL::integer AS task_index, NULL::text AS name,
    NULL::text AS command, NULL::boolean AS shell, NULL::text AS working_directory, NULL::jsonb AS environment,
    NULL::double precision AS timeout_minutes, NULL::integer AS max_retries, NULL::jsonb AS retry,
    NULL::bigint AS max_output_bytes, NULL::integer AS attempt, NULL::integer AS retry_count
FROM claimed
UNION ALL
SELECT task_instance, task_name, version, priority, execution_time, late_s, total_tasks, input_data, process_context,
    task_index, name, command, shell, working_directory, environment, timeout_minutes, max_retries, retry,
    max_output_bytes, attempt, retry_count
FROM task
