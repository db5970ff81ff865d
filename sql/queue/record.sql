-- Records a batch of results in one transaction: the audit trail, the tasks that ended, the processes, the claims,
-- and the next task of every process whose claim is kept, which it returns.
-- $1 node id; the other parameters are arrays, one element for each result.
--
-- `mine` is the fence: only results whose claim is still this node's, at the version it was claimed with, pass, and
-- their claims stay locked to the end of the transaction. A result that does not come back was not written.
-- A node whose row does not say that it lives keeps no claim: it would begin the next task while others take that over.
-- Times are the database's: the node says how long ago a command ended and how long it took.
--
-- A request to cancel is a column of the row that the fence locks and reads anyway, and whoever asks locks that row
-- too: it is seen here or it comes too late, and looking for it reads nothing more. A process that would go on ends
-- as CANCELLED, with all tasks from the one that has not completed; one that ends by itself ends as it does.
--
-- Of a process whose commands take slots of limits the claim is kept if those of the next one are among them, and nobody has
-- precedence; otherwise it is given back, and the next task admitted anew. Its row says so, as its type may have gained the
-- limit while the command ran.
--
-- Outputs of more than 1,024 bytes are not among the parameters. They follow in the same transaction, by COPY, for the
-- processes that come back here with the era that they belong to (`outputs`). As parameters they went through an array and
-- the tuplestore of `mine`: 8 outputs of 1 MB took the server 4.9 ms each in place of 3.4.
--
-- What a task passes on joins the context, and is kept with its execution: a retry from that task on takes it back.
--
-- A process that is given back without a wait (its node stops or has died, others have precedence) keeps its place in
-- the queue: it goes on before what is new.
--
-- The shape is a matter of instructions, counted for batches of 10 and 250 results, per result (from 320,000 and
-- 223,000 to 248,000 and 185,000, the sixth migration included; before ids were joined as arrays of one, which changed
-- no rate that could be measured):
-- * arrays are unnested in a select list, where they advance together, and not in FROM, where each of them becomes a
--   tuplestore of its own;
-- * the claims are locked in a lateral subquery: a row that is joined beside a locked one is copied as a whole, in
--   case the locked one has to be looked at again, and so is one that an UPDATE joins. Hence also `ending` and
--   `moving`, which are as narrow as their updates need;
-- * a task that ended and the one that begins are one range of the index and one UPDATE. Later tasks of a cancelled
--   process are further entries of that range.
WITH mine AS MATERIALIZED (
    SELECT r.*, s.era, s.cancel_reason,
        CASE WHEN s.is_by_task AND r.asked = 'KEEP' AND NOT keeps_slots(r.process_id, r.task_index + 1) THEN 'RELEASE'
            ELSE r.asked END AS claim,
        s.is_requested AND (r.asked <> 'END' OR r.outcome = 'CANCELLED') AS is_cancelled
    FROM (
        SELECT unnest($2::text[]) AS process_id, unnest($3::bigint[]) AS version, unnest($4::int[]) AS task_index,
            unnest($5::int[]) AS attempt, unnest($6::text[]) AS task_status, unnest($7::int[]) AS retry_count,
            unnest($8::text[]) AS process_status, unnest($9::bool[]) AS advance,
            unnest((SELECT CASE WHEN EXISTS (SELECT FROM nodes WHERE node_id = $1 AND state IN ('RUNNING', 'STOPPING'))
                THEN $10::text[] ELSE array_replace($10::text[], 'KEEP', 'RELEASE') END)) AS asked,
            unnest($11::float8[]) AS wait_ms, unnest($12::text[]) AS outcome, unnest($13::int[]) AS exit_code,
            unnest($14::int[]) AS signal, unnest($15::float8[]) AS ended_ago_ms, unnest($16::float8[]) AS duration_ms,
            unnest($17::float8[]) AS cpu_ms, unnest($18::bigint[]) AS peak_memory_bytes, unnest($19::text[]) AS output,
            unnest($20::bigint[]) AS output_bytes, unnest($21::text[]) AS error_message,
            unnest($22::text[]) AS process_error, unnest($23::text[]) AS command, unnest($24::jsonb[]) AS context
    ) AS r CROSS JOIN LATERAL (
        SELECT s.era, s.cancel_reason, s.cancel_requested_at IS NOT NULL AS is_requested, s.task_limits IS NOT NULL AS is_by_task
        FROM scheduled_tasks s
        WHERE s.task_instance = r.process_id AND s.picked_by = $1 AND s.version = r.version
        FOR NO KEY UPDATE
    ) AS s
), audit AS (
    INSERT INTO executions (era, process_id, task_index, attempt, node_id, command, outcome, exit_code, signal,
        started_at, completed_at, duration_ms, cpu_ms, peak_memory_bytes, output, output_bytes, error_message,
        context_values)
    SELECT era, process_id, task_index, attempt, $1, command, outcome, exit_code, signal,
        now() - (ended_ago_ms + duration_ms) * interval '1 millisecond',
        now() - ended_ago_ms * interval '1 millisecond',
        duration_ms, cpu_ms, peak_memory_bytes, output, output_bytes, error_message, context
    FROM mine
), ending AS MATERIALIZED (
    SELECT era, process_id, task_index, attempt, CASE WHEN is_cancelled THEN 2147483647 WHEN claim = 'KEEP' THEN task_index + 1
        ELSE task_index END AS last_index, is_cancelled, task_status, retry_count, exit_code, error_message
    FROM mine
), task AS (
    UPDATE open_tasks t
    SET status = CASE WHEN t.task_index = m.task_index AND (NOT m.is_cancelled OR m.task_status = 'COMPLETED') THEN m.task_status
            WHEN m.is_cancelled THEN 'CANCELLED' ELSE 'IN_PROGRESS' END,
        attempt = CASE WHEN t.task_index = m.task_index OR m.is_cancelled THEN t.attempt ELSE t.attempt + 1 END,
        started_at = CASE WHEN t.task_index = m.task_index OR m.is_cancelled THEN t.started_at ELSE now() END,
        retry_count = CASE WHEN t.task_index = m.task_index THEN m.retry_count ELSE t.retry_count END,
        exit_code = CASE WHEN t.task_index = m.task_index THEN m.exit_code END,
        output = NULL,
        output_attempt = CASE WHEN t.task_index = m.task_index THEN m.attempt END,
        error_message = CASE WHEN t.task_index = m.task_index THEN m.error_message END,
        completed_at = CASE WHEN m.is_cancelled
            OR t.task_index = m.task_index AND m.task_status IN ('COMPLETED', 'FAILED', 'CANCELLED') THEN now() END,
        updated_at = now()
    FROM ending m
    WHERE t.era = m.era AND t.process_id = ANY (ARRAY[m.process_id]) AND t.task_index BETWEEN m.task_index AND m.last_index
    RETURNING t.process_id, t.task_index, t.name, t.command, t.shell, t.working_directory, t.environment,
        t.timeout_minutes, t.max_retries, t.retry, t.max_output_bytes, t.attempt, t.retry_count, t.status
), moving AS MATERIALIZED (
    SELECT process_id, task_index + advance::int AS next_index, is_cancelled OR claim = 'END' AS has_ended,
        CASE WHEN is_cancelled THEN 'CANCELLED' ELSE process_status END AS status,
        CASE WHEN is_cancelled THEN coalesce(cancel_reason, 'cancelled') ELSE process_error END AS error_message, context
    FROM mine
), process AS (
    UPDATE processes p
    SET status = m.status,
        current_task_index = m.next_index,
        process_context = CASE WHEN m.context IS NULL THEN p.process_context ELSE p.process_context || m.context END,
        error_message = m.error_message,
        completed_at = CASE WHEN m.has_ended THEN now() END,
        updated_at = now()
    FROM moving m
    WHERE p.process_id = ANY (ARRAY[m.process_id])
), released AS (
    UPDATE scheduled_tasks s
    SET state = CASE WHEN s.reserved_for IS NOT NULL THEN 'HELD' WHEN mine.wait_ms > 0 THEN 'SCHEDULED' ELSE 'READY' END,
        held_by = 'node:' || s.reserved_for, picked = false, picked_by = NULL, version = s.version + 1,
        execution_time = CASE WHEN mine.wait_ms > 0 THEN now() + mine.wait_ms * interval '1 millisecond'
            ELSE s.execution_time END,
        waiting_since = CASE WHEN mine.wait_ms > 0 THEN NULL ELSE now() END,
        consecutive_failures = CASE WHEN mine.task_status = 'WAITING_RETRY' THEN s.consecutive_failures + 1 ELSE 0 END
    FROM mine
    WHERE mine.claim = 'RELEASE' AND NOT mine.is_cancelled
        AND s.task_instance = ANY (ARRAY[mine.process_id])
), finished AS (
    DELETE FROM scheduled_tasks s
    USING mine
    WHERE (mine.claim = 'END' OR mine.is_cancelled)
        AND s.task_instance = ANY (ARRAY[mine.process_id])
)
SELECT process_id, era, claim = 'RELEASE' AND asked = 'KEEP' AND NOT is_cancelled AS is_given_back, NULL::integer AS task_index, NULL::text AS name, NULL::text AS command, NULL::boolean AS shell,
    NULL::text AS working_directory, NULL::jsonb AS environment, NULL::double precision AS timeout_minutes,
    NULL::integer AS max_retries, NULL::jsonb AS retry, NULL::bigint AS max_output_bytes, NULL::integer AS attempt,
    NULL::integer AS retry_count
FROM mine
UNION ALL
SELECT process_id, NULL, false, task_index, name, command, shell, working_directory, environment, timeout_minutes, max_retries,
    retry, max_output_bytes, attempt, retry_count
FROM task WHERE status = 'IN_PROGRESS'
