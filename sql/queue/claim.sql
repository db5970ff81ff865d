-- Claims due processes for a node and marks the task of each that is next as in progress: one scan of READY rows, the
-- highest priority first, then by time.
-- $1 node id, $2 how many at the most. The parts of the queue to look at, highest first, one element for each: $3 the
-- lowest and $4 the highest priority, $5 how many seconds ago the earliest was due that is looked at, null for all. One
-- part is enough, unless a transaction somewhere holds back vacuum: then the scan would read a dead entry for each claim
-- there was, and what has been due for longer is known to be claimed. $6 types that are passed over. $7 how many at the
-- most while another node has room, which it says by an advisory lock (see wake_nodes in the seventh migration): what
-- would wait here for an executor is its to claim.
--
-- A node whose row does not say that it lives claims nothing: others may be about to take over what it claims. A row with
-- version -1 comes back then.
--
-- A row whose type is paused becomes HELD instead. For each such type a row without a version comes back, and one without
-- a type too if another node has room.
--
-- Rows that limits bound go through `admit_processes`, all of them by one call, in the order of the queue, which is the
-- order of `met`. Those that may not run now become HELD; a row with their number as its version comes back. Where none
-- is met nothing is called. Rows that the call has let through are not compared with those that were met: they are a list
-- of their own.
--
-- Ids of processes are joined as arrays of one, here and in the engine's other statements. Joined by plain equality, an
-- index is also considered as a whole, for its order; where the statistics know of no rows (a queue that was drained, a
-- new database) that costs as little as one descent, and the plan outlives the emptiness. An array has no order to use.
-- `met` locks no more rows than that, in the order of the index: the lateral subquery is driven lazily by the parts.
WITH room AS MATERIALIZED (
    -- Twice: a start may just have looked as well.
    SELECT CASE WHEN pg_try_advisory_lock(1347375665, hashtext(current_schema()))
            OR pg_try_advisory_lock(1347375665, hashtext(current_schema()))
        THEN NOT pg_advisory_unlock(1347375665, hashtext(current_schema())) ELSE true END AS is_elsewhere,
        EXISTS (SELECT FROM nodes WHERE node_id = $1 AND state IN ('RUNNING', 'STOPPING')) AS is_alive
), met AS MATERIALIZED (
    SELECT d.task_instance, d.task_name, d.is_limited
    FROM unnest($3::int[], $4::int[], $5::float8[]) AS part (lowest, highest, due_ago_s)
    CROSS JOIN LATERAL (
        SELECT s.task_instance, s.task_name, s.limits IS NOT NULL AS is_limited
        FROM scheduled_tasks s
        WHERE s.state = 'READY' AND s.priority >= part.lowest AND s.priority <= part.highest
            AND s.execution_time >= coalesce(now() - interval '1 second' * part.due_ago_s, '-infinity')
            AND s.cancel_requested_at IS NULL AND s.task_name <> ALL ($6::text[])
        ORDER BY s.priority DESC, s.execution_time
        LIMIT (SELECT CASE WHEN NOT is_alive THEN 0 WHEN is_elsewhere THEN $7::bigint ELSE $2::bigint END FROM room)
        FOR UPDATE SKIP LOCKED
    ) AS d
    LIMIT (SELECT CASE WHEN NOT is_alive THEN 0 WHEN is_elsewhere THEN $7::bigint ELSE $2::bigint END FROM room)
), held AS (
    UPDATE scheduled_tasks s
    SET state = 'HELD', held_by = 'pause:' || met.task_name
    FROM met
    WHERE met.task_name = ANY (ARRAY(SELECT name FROM process_types WHERE paused))
        AND s.task_instance = ANY (ARRAY[met.task_instance])
    RETURNING s.task_name
), verdict AS MATERIALIZED (
    SELECT v.process_id, v.blocked_by
    FROM (
        SELECT array_agg(task_instance) AS process_ids FROM met
        WHERE is_limited AND task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
        HAVING count(*) > 0
    ) AS limited CROSS JOIN LATERAL admit_processes(limited.process_ids) AS v
), blocked AS (
    UPDATE scheduled_tasks s
    SET state = 'HELD', held_by = 'limit:' || v.blocked_by
    FROM verdict v
    WHERE v.blocked_by IS NOT NULL AND s.task_instance = ANY (ARRAY[v.process_id])
    RETURNING s.task_instance
), claimed AS (
    UPDATE scheduled_tasks s
    SET state = 'CLAIMED', picked = true, picked_by = $1, version = s.version + 1,
        admitted_version = CASE WHEN met.is_limited THEN s.version + 1 END
    FROM (
        SELECT task_instance, false AS is_limited FROM met
        WHERE NOT is_limited AND task_name <> ALL (ARRAY(SELECT name FROM process_types WHERE paused))
        UNION ALL
        SELECT process_id, true FROM verdict WHERE blocked_by IS NULL
    ) AS met
    WHERE s.task_instance = ANY (ARRAY[met.task_instance])
    RETURNING s.task_instance, s.task_name, s.version, s.priority, s.execution_time, s.limits,
        CASE WHEN isfinite(s.execution_time)
            THEN extract(epoch FROM clock_timestamp() - s.execution_time)::float8 END AS due_ago_s,
        CASE WHEN isfinite(s.execution_time)
            THEN extract(epoch FROM clock_timestamp() - greatest(s.execution_time, s.waiting_since))::float8 END AS queue_delay_s
), process AS (
    UPDATE processes p
    SET status = 'IN_PROGRESS', started_at = coalesce(p.started_at, now()), updated_at = now()
    FROM (SELECT * FROM claimed ORDER BY task_instance) AS claimed -- as everybody locks them
    WHERE p.process_id = ANY (ARRAY[claimed.task_instance])
    RETURNING claimed.*, p.era, p.current_task_index, p.total_tasks, p.input_data, p.process_context
), task AS (
    UPDATE open_tasks t
    SET status = 'IN_PROGRESS', attempt = t.attempt + 1, started_at = now(), updated_at = now()
    FROM process
    WHERE t.era = process.era AND t.process_id = ANY (ARRAY[process.task_instance])
        AND t.task_index = process.current_task_index
    RETURNING process.*, t.task_index, t.name, t.command, t.shell, t.working_directory, t.environment,
        t.timeout_minutes, t.max_retries, t.retry, t.max_output_bytes, t.attempt, t.retry_count
)
-- A row for each claim and one more for each whose process and task are there: joined here, by a plan that does not
-- know how many there are, they would be compared each with each.
SELECT task_instance, task_name, version, priority, execution_time, due_ago_s, queue_delay_s, limits, NULL::integer AS total_tasks,
    NULL::jsonb AS input_data, NULL::jsonb AS process_context, NULL::integer AS task_index, NULL::text AS name,
    NULL::text AS command, NULL::boolean AS shell, NULL::text AS working_directory, NULL::jsonb AS environment,
    NULL::double precision AS timeout_minutes, NULL::integer AS max_retries, NULL::jsonb AS retry,
    NULL::bigint AS max_output_bytes, NULL::integer AS attempt, NULL::integer AS retry_count
FROM claimed
UNION ALL
SELECT task_instance, task_name, version, priority, execution_time, due_ago_s, queue_delay_s, limits, total_tasks, input_data, process_context,
    task_index, name, command, shell, working_directory, environment, timeout_minutes, max_retries, retry,
    max_output_bytes, attempt, retry_count
FROM task
UNION ALL
SELECT NULL, task_name, version, NULL::integer, NULL::timestamptz, NULL::float8, NULL::float8, NULL::text[],
    NULL::integer, NULL::jsonb, NULL::jsonb, NULL::integer, NULL, NULL, NULL::boolean, NULL, NULL::jsonb, NULL::double precision,
    NULL::integer, NULL::jsonb, NULL::bigint, NULL::integer, NULL::integer
FROM (
    SELECT DISTINCT task_name, NULL::bigint AS version FROM held
    UNION ALL SELECT NULL, NULL FROM room WHERE is_elsewhere
    UNION ALL SELECT NULL, -1 FROM room WHERE NOT is_alive
    UNION ALL SELECT NULL, count(*) FROM blocked HAVING count(*) > 0
) AS told
