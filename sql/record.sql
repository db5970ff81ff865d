-- Records a batch of results in one transaction: the audit trail, the tasks that ended, the processes, the claims,
-- and the next task of every process whose claim is kept, which it returns.
-- $1 node id; the other parameters are arrays, one element for each result.
--
-- `mine` is the fence: only results whose claim is still this node's, at the version it was claimed with, pass, and
-- their claims stay locked to the end of the transaction. A result that does not come back was not written.
-- Times are the database's: the node says how long ago a command ended and how long it took.
--
-- A request to cancel is a column of the row that the fence locks and reads anyway, and whoever asks locks that row
-- too: it is seen here or it comes too late, and looking for it reads nothing more. A process that would go on ends
-- as CANCELLED, with all tasks from the one that has not completed; one that ends by itself ends as it does. Later
-- tasks are further entries of the index range in which the task itself is found: `ended` costs as much without them
-- as it did with an equality.
WITH result AS (
    SELECT *
    FROM unnest($2::text[], $3::bigint[], $4::int[], $5::int[], $6::text[], $7::int[], $8::text[], $9::bool[],
        $10::text[], $11::float8[], $12::text[], $13::int[], $14::int[], $15::float8[], $16::float8[], $17::float8[],
        $18::bigint[], $19::text[], $20::bigint[], $21::text[], $22::text[], $23::text[], $24::jsonb[])
        AS r (process_id, version, task_index, attempt, task_status, retry_count, process_status, advance,
        claim, wait_ms, outcome, exit_code, signal, ended_ago_ms, duration_ms, cpu_ms,
        peak_memory_bytes, output, output_bytes, error_message, process_error, command, context)
), mine AS MATERIALIZED (
    SELECT result.*, s.cancel_reason,
        s.cancel_requested_at IS NOT NULL AND (result.claim <> 'END' OR result.outcome = 'CANCELLED') AS is_cancelled
    FROM result JOIN scheduled_tasks s ON s.task_instance = result.process_id
    WHERE s.picked_by = $1 AND s.version = result.version
    FOR NO KEY UPDATE OF s
), audit AS (
    INSERT INTO task_executions (process_id, task_index, attempt, node_id, command, outcome, exit_code, signal,
        started_at, completed_at, duration_ms, cpu_ms, peak_memory_bytes, output, output_bytes, error_message)
    SELECT process_id, task_index, attempt, $1, command, outcome, exit_code, signal,
        now() - (ended_ago_ms + duration_ms) * interval '1 millisecond',
        now() - ended_ago_ms * interval '1 millisecond',
        duration_ms, cpu_ms, peak_memory_bytes, output, output_bytes, error_message
    FROM mine
), ended AS (
    UPDATE tasks t
    SET status = CASE WHEN mine.is_cancelled AND (t.task_index > mine.task_index OR mine.task_status <> 'COMPLETED')
            THEN 'CANCELLED' ELSE mine.task_status END,
        retry_count = CASE WHEN t.task_index = mine.task_index THEN mine.retry_count ELSE t.retry_count END,
        exit_code = CASE WHEN t.task_index = mine.task_index THEN mine.exit_code END,
        output = CASE WHEN t.task_index = mine.task_index THEN mine.output END,
        error_message = CASE WHEN t.task_index = mine.task_index THEN mine.error_message END,
        completed_at = CASE
            WHEN mine.is_cancelled OR mine.task_status IN ('COMPLETED', 'FAILED', 'CANCELLED') THEN now() END,
        updated_at = now()
    FROM mine
    WHERE t.process_id = mine.process_id AND t.task_index >= mine.task_index
        AND t.task_index <= CASE WHEN mine.is_cancelled THEN 2147483647 ELSE mine.task_index END
), next AS (
    UPDATE tasks t
    SET status = 'IN_PROGRESS', attempt = t.attempt + 1, started_at = now(), updated_at = now()
    FROM mine
    WHERE mine.claim = 'KEEP' AND NOT mine.is_cancelled
        AND t.process_id = mine.process_id AND t.task_index = mine.task_index + 1
    RETURNING t.process_id, t.task_index, t.name, t.command, t.shell, t.working_directory, t.environment,
        t.timeout_minutes, t.max_retries, t.retry, t.max_output_bytes, t.attempt, t.retry_count
), process AS (
    UPDATE processes p
    SET status = CASE WHEN mine.is_cancelled THEN 'CANCELLED' ELSE mine.process_status END,
        current_task_index = mine.task_index + mine.advance::int,
        process_context = CASE WHEN mine.context IS NULL THEN p.process_context
            ELSE p.process_context || mine.context END,
        error_message = CASE WHEN mine.is_cancelled THEN coalesce(mine.cancel_reason, 'cancelled')
            ELSE mine.process_error END,
        completed_at = CASE WHEN mine.claim = 'END' OR mine.is_cancelled THEN now() END,
        updated_at = now()
    FROM mine
    WHERE p.process_id = mine.process_id
), released AS (
    UPDATE scheduled_tasks s
    SET picked = false, picked_by = NULL, version = s.version + 1,
        execution_time = now() + mine.wait_ms * interval '1 millisecond',
        consecutive_failures = CASE WHEN mine.task_status = 'WAITING_RETRY' THEN s.consecutive_failures + 1 ELSE 0 END
    FROM mine
    WHERE mine.claim = 'RELEASE' AND NOT mine.is_cancelled AND s.task_instance = mine.process_id
), finished AS (
    DELETE FROM scheduled_tasks s
    USING mine
    WHERE (mine.claim = 'END' OR mine.is_cancelled) AND s.task_instance = mine.process_id
)
-- A row for each result that was written and one more for each next task: joined here, by a plan that does not know
-- how large the batch is, they would be compared each with each.
SELECT process_id, NULL::integer AS task_index, NULL::text AS name, NULL::text AS command, NULL::boolean AS shell,
    NULL::text AS working_directory, NULL::jsonb AS environment, NULL::double precision AS timeout_minutes,
    NULL::integer AS max_retries, NULL::jsonb AS retry, NULL::bigint AS max_output_bytes, NULL::integer AS attempt,
    NULL::integer AS retry_count
FROM mine
UNION ALL
SELECT process_id, task_index, name, command, shell, working_directory, environment, timeout_minutes, max_retries,
    retry, max_output_bytes, attempt, retry_count
FROM next
