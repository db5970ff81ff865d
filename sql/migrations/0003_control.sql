-- works from: 2
--
-- Cancelling, retrying, pausing and forgetting processes, for operators and for programs in any language.
--
-- It only adds: a node of the version before goes on beside it. It does not hear of a cancelled process whose command
-- it runs; that process ends when its claim is given back.
--
-- Errors carry SQLSTATEs of their own, which go on from those of start_process: PO007 unknown process id, PO008 a
-- process that can't be retried as it is, PO009 unknown task.

-- A request to cancel lives in the row that every result has to lock: whoever records sees it without another look.
-- It ends with the row.
ALTER TABLE scheduled_tasks
    ADD COLUMN cancel_requested_at timestamptz,
    ADD COLUMN cancel_reason text;

-- What every node asks for at each heartbeat; empty but for moments.
CREATE INDEX scheduled_tasks_cancelled ON scheduled_tasks (task_instance) WHERE cancel_requested_at IS NOT NULL;

ALTER TABLE process_types
    ADD COLUMN paused_at timestamptz,
    ADD COLUMN pause_reason text;

-- Finished processes by their end: what is old enough to be forgotten, what has finished lately. Written once in a
-- process's life, at its end.
CREATE INDEX processes_completed ON processes (completed_at, process_id) WHERE completed_at IS NOT NULL;

-- A process that is retried gets a new row in the queue. Its version begins where no claim on it can have been
-- before: a row counts up by one for each claim, so a node that still holds an old claim never matches.
CREATE SEQUENCE retry_version START 1000000 INCREMENT 1000000;

-- Cancels processes: the ones that wait are CANCELLED when the caller's transaction commits; of one that a node has
-- claimed the node ends the command, within seconds, and records it. One row comes back for each id:
--   outcome   CANCELLED, REQUESTED (its node has been told), FINISHED (before; nothing changes), NOT_FOUND
--   status    of the process now
--   picked_by the node that has to end it
CREATE FUNCTION cancel_processes(
    process_ids   text[],
    reason        text DEFAULT NULL,
    cancelled_by  text DEFAULT NULL
) RETURNS TABLE (process_id text, outcome text, status text, picked_by text)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    message text := 'cancelled'
        || coalesce(' by ' || nullif(btrim(cancel_processes.cancelled_by), ''), '')
        || coalesce(': ' || nullif(btrim(cancel_processes.reason), ''), '');
    ended   text[];
    is_held boolean;
BEGIN
    -- By the bytes of the ids, as nodes record their results: two transactions cannot wait for each other.
    PERFORM FROM scheduled_tasks s WHERE s.task_instance = ANY (process_ids)
    ORDER BY s.task_instance COLLATE "C" FOR UPDATE;

    -- Who asks first is the one whose reason counts.
    UPDATE scheduled_tasks s SET cancel_requested_at = now(), cancel_reason = message
    WHERE s.task_instance = ANY (process_ids) AND s.cancel_requested_at IS NULL;

    SELECT array_agg(e.id) INTO ended FROM end_cancelled_processes(process_ids, cardinality(process_ids)) AS e (id);

    SELECT EXISTS (SELECT FROM scheduled_tasks s WHERE s.task_instance = ANY (process_ids)) INTO is_held;
    IF is_held THEN
        -- No process type's name begins with a new line.
        PERFORM pg_notify(current_schema(), E'\ncontrol');
    END IF;

    RETURN QUERY
    SELECT w.id,
        CASE
            WHEN p.process_id IS NULL THEN 'NOT_FOUND'
            WHEN e.id IS NOT NULL THEN 'CANCELLED'
            WHEN s.task_instance IS NOT NULL THEN 'REQUESTED'
            ELSE 'FINISHED'
        END,
        p.status, s.picked_by
    FROM (SELECT u.id, min(u.n) AS n FROM unnest(process_ids) WITH ORDINALITY AS u (id, n)
        WHERE u.id IS NOT NULL GROUP BY u.id) AS w
    LEFT JOIN processes p ON p.process_id = w.id
    LEFT JOIN scheduled_tasks s ON s.task_instance = w.id
    LEFT JOIN unnest(ended) AS e (id) ON e.id = w.id
    ORDER BY w.n;
END
$function$;

-- The same for one process; gives the outcome, and an error for an id that is unknown.
CREATE FUNCTION cancel_process(
    process_id    text,
    reason        text DEFAULT NULL,
    cancelled_by  text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    told text;
BEGIN
    SELECT c.outcome INTO told FROM cancel_processes(
        ARRAY[cancel_process.process_id], cancel_process.reason, cancel_process.cancelled_by) AS c;
    IF coalesce(told, 'NOT_FOUND') = 'NOT_FOUND' THEN
        RAISE EXCEPTION 'no process has the id %', coalesce(quote_literal(left(cancel_process.process_id, 300)), 'null')
            USING ERRCODE = 'PO007', HINT = 'see them in the table processes';
    END IF;
    RETURN told;
END
$function$;

-- Ends the cancelled processes that no node holds, and gives their ids: those of the list, or with null all there are.
-- Nodes call it at each heartbeat: a claim may be given back after its process was cancelled.
CREATE FUNCTION end_cancelled_processes(process_ids text[] DEFAULT NULL, at_most integer DEFAULT 500)
RETURNS SETOF text
LANGUAGE sql
SET search_path FROM CURRENT
AS $function$
    WITH waiting AS MATERIALIZED (
        SELECT s.task_instance
        FROM scheduled_tasks s
        WHERE s.cancel_requested_at IS NOT NULL AND NOT s.picked
            AND (end_cancelled_processes.process_ids IS NULL OR s.task_instance = ANY (end_cancelled_processes.process_ids))
        LIMIT at_most
        FOR UPDATE SKIP LOCKED
    ), ended AS (
        DELETE FROM scheduled_tasks s
        USING waiting
        WHERE s.task_instance = waiting.task_instance
        RETURNING s.task_instance, s.cancel_reason
    ), process AS (
        UPDATE processes p
        SET status = 'CANCELLED', error_message = coalesce(ended.cancel_reason, 'cancelled'), completed_at = now(),
            updated_at = now()
        FROM ended
        WHERE p.process_id = ended.task_instance
        RETURNING p.process_id, p.current_task_index
    ), task AS (
        UPDATE tasks t
        SET status = 'CANCELLED', completed_at = now(), updated_at = now()
        FROM process
        WHERE t.process_id = process.process_id AND t.task_index >= process.current_task_index
            AND t.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
    )
    SELECT process_id FROM process
$function$;

-- An input with changes on top; what the changes set to null is gone.
CREATE FUNCTION changed_input(input jsonb, changes jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $function$
    SELECT CASE WHEN changes IS NULL THEN input ELSE jsonb_strip_nulls(
        input || (changes - 'config' - 'metadata')
        || CASE WHEN changes -> 'config' IS NULL THEN '{}'
            ELSE jsonb_build_object('config', coalesce(input -> 'config', '{}') || (changes -> 'config')) END
        || CASE WHEN changes -> 'metadata' IS NULL THEN '{}'
            ELSE jsonb_build_object('metadata', coalesce(input -> 'metadata', '{}') || (changes -> 'metadata')) END
    ) END
$function$;

-- The variables without a default that a process's own tasks, from one on, take from the input and that are not in
-- it; null when it lacks none. `$${` is the text `${`.
CREATE FUNCTION missing_variables(process_id text, from_index integer, input jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $function$
    SELECT string_agg(DISTINCT '${' || found.name || '}', ', ' ORDER BY '${' || found.name || '}')
    FROM tasks t
    CROSS JOIN LATERAL (
        SELECT t.command AS template
        UNION ALL SELECT t.working_directory
        UNION ALL SELECT pair.value FROM jsonb_each_text(t.environment) AS pair
    ) AS texts
    CROSS JOIN LATERAL (
        SELECT match[1] AS name FROM regexp_matches(replace(texts.template, '$${', ''), '\$\{([^}]*)\}', 'g') AS match
    ) AS found
    WHERE t.process_id = missing_variables.process_id AND t.task_index >= missing_variables.from_index
        AND position(':-' IN found.name) = 0
        AND CASE
            WHEN found.name LIKE 'config.%' THEN missing_variables.input -> 'config' ->> substr(found.name, 8)
            WHEN found.name LIKE 'metadata.%' THEN missing_variables.input -> 'metadata' ->> substr(found.name, 10)
            WHEN found.name IN ('input_file', 'output_dir', 'user_id') THEN missing_variables.input ->> found.name
            ELSE ''
        END IS NULL
$function$;

-- What a retry would do with each of these processes, without doing it: see retry_processes.
CREATE FUNCTION plan_retries(process_ids text[], from_task text DEFAULT NULL, changes jsonb DEFAULT NULL)
RETURNS TABLE (n bigint, id text, status text, outcome text, detail text, from_index integer, input jsonb)
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $function$
    SELECT f.n, f.id, f.status, f.outcome,
        CASE f.outcome
            WHEN 'RETRIED' THEN f.from_name
            WHEN 'MISSING_INPUT' THEN f.missing
            WHEN 'NO_SUCH_TASK' THEN
                (SELECT string_agg(t.name, ', ' ORDER BY t.task_index) FROM tasks t WHERE t.process_id = f.id)
        END,
        f.from_index, f.input
    FROM (
        SELECT w.n, w.id, p.status, t.task_index AS from_index, t.name AS from_name, i.input, m.missing,
            CASE
                WHEN p.process_id IS NULL THEN 'NOT_FOUND'
                WHEN p.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') THEN 'UNFINISHED'
                WHEN p.status = 'COMPLETED' AND from_task IS NULL THEN 'COMPLETED'
                WHEN t.task_index IS NULL THEN 'NO_SUCH_TASK'
                WHEN m.missing IS NOT NULL THEN 'MISSING_INPUT'
                ELSE 'RETRIED'
            END AS outcome
        FROM (SELECT u.id, min(u.n) AS n FROM unnest(plan_retries.process_ids) WITH ORDINALITY AS u (id, n)
            WHERE u.id IS NOT NULL GROUP BY u.id) AS w
        LEFT JOIN processes p ON p.process_id = w.id
        LEFT JOIN LATERAL (SELECT changed_input(p.input_data, changes) AS input) AS i ON true
        LEFT JOIN LATERAL (
            SELECT t.task_index, t.name FROM tasks t
            WHERE t.process_id = p.process_id AND CASE
                WHEN from_task IS NULL THEN t.task_index = p.current_task_index
                ELSE t.name = from_task OR t.task_index::text = from_task
            END
            -- A task that is named like another one's index is the one that is meant.
            ORDER BY t.name = from_task DESC
            LIMIT 1
        ) AS t ON true
        -- Without changes the input is as the start has checked it.
        LEFT JOIN LATERAL (
            SELECT missing_variables(p.process_id, t.task_index, i.input) AS missing WHERE changes IS NOT NULL
        ) AS m ON true
    ) AS f
    ORDER BY f.n
$function$;

-- Has finished processes go again, from the task that failed or was cancelled, or from the task of a name (or an
-- index as text). That task and all after it are NOT_STARTED again and have their retries anew; the tasks before it
-- stay as they are; the audit trail goes on; values that tasks have passed on are kept. `changes` is put on top of the
-- input: "input_file", "output_dir" and "user_id" replace, "config" and "metadata" are merged. One row for each id:
--   outcome  RETRIED, UNFINISHED (it runs or waits: cancel it first), COMPLETED (name a task), NO_SUCH_TASK,
--            MISSING_INPUT, NOT_FOUND; nothing but RETRIED changes anything
--   status   of the process now
--   detail   the task it goes on from; the variables that are missing; the tasks there are
CREATE FUNCTION retry_processes(process_ids text[], from_task text DEFAULT NULL, changes jsonb DEFAULT NULL)
RETURNS TABLE (process_id text, outcome text, status text, detail text)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
BEGIN
    IF changes IS NOT NULL AND input_problem(changes) IS NOT NULL THEN
        RAISE EXCEPTION 'invalid input: %', input_problem(changes) USING ERRCODE = 'PO002',
            HINT = 'input is {"input_file", "output_dir", "user_id", "config": {}, "metadata": {}}';
    END IF;

    -- In one order everywhere, so that two retries cannot wait for each other. What runs is not touched.
    PERFORM FROM processes p
    WHERE p.process_id = ANY (process_ids) AND p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    ORDER BY p.process_id COLLATE "C" FOR UPDATE;

    RETURN QUERY
    WITH planned AS MATERIALIZED (
        SELECT * FROM plan_retries(process_ids, from_task, changes)
    ), process AS (
        UPDATE processes p
        SET status = CASE WHEN planned.from_index = 0 THEN 'NOT_STARTED' ELSE 'IN_PROGRESS' END,
            started_at = CASE WHEN planned.from_index > 0 THEN p.started_at END,
            current_task_index = planned.from_index, input_data = planned.input, completed_at = NULL,
            error_message = NULL, updated_at = now()
        FROM planned
        WHERE planned.outcome = 'RETRIED' AND p.process_id = planned.id
            AND p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
        RETURNING p.process_id, p.process_type, p.priority, p.status, p.current_task_index
    ), task AS (
        UPDATE tasks t
        SET status = 'NOT_STARTED', retry_count = 0, started_at = NULL, completed_at = NULL, error_message = NULL,
            exit_code = NULL, output = NULL, updated_at = now()
        FROM process
        WHERE t.process_id = process.process_id AND t.task_index >= process.current_task_index
    ), queued AS (
        INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, priority, version)
        SELECT process.process_type, process.process_id, now(), process.priority, nextval('retry_version')
        FROM process
    )
    SELECT planned.id,
        CASE WHEN planned.outcome = 'RETRIED' AND process.process_id IS NULL THEN 'UNFINISHED' ELSE planned.outcome END,
        coalesce(process.status, planned.status), planned.detail
    FROM planned LEFT JOIN process ON process.process_id = planned.id
    ORDER BY planned.n;

    PERFORM pg_notify(current_schema(), 'retry');
END
$function$;

-- The same for one process; gives the name of the task it goes on from, and an error where it can't.
CREATE FUNCTION retry_process(process_id text, from_task text DEFAULT NULL, changes jsonb DEFAULT NULL) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    told record;
    id   text := coalesce(quote_literal(left(retry_process.process_id, 300)), 'null');
BEGIN
    SELECT r.outcome, r.status, r.detail INTO told
    FROM retry_processes(ARRAY[retry_process.process_id], retry_process.from_task, retry_process.changes) AS r;
    CASE coalesce(told.outcome, 'NOT_FOUND')
        WHEN 'RETRIED' THEN
            RETURN told.detail;
        WHEN 'NOT_FOUND' THEN
            RAISE EXCEPTION 'no process has the id %', id
                USING ERRCODE = 'PO007', HINT = 'see them in the table processes';
        WHEN 'UNFINISHED' THEN
            RAISE EXCEPTION 'process % is %, only a finished one can be retried', id, told.status
                USING ERRCODE = 'PO008', HINT = 'cancel it first, or wait for its end';
        WHEN 'COMPLETED' THEN
            RAISE EXCEPTION 'process % is COMPLETED, nothing of it has failed', id
                USING ERRCODE = 'PO008', HINT = 'name the task to go again from';
        WHEN 'NO_SUCH_TASK' THEN
            RAISE EXCEPTION 'process % has no task %', id, coalesce(quote_literal(from_task), 'to go again from')
                USING ERRCODE = 'PO009', HINT = 'its tasks are: ' || coalesce(told.detail, 'none');
        WHEN 'MISSING_INPUT' THEN
            RAISE EXCEPTION 'input lacks %, which the tasks of process % need', told.detail, id
                USING ERRCODE = 'PO003', HINT = 'add it to the changed input';
    END CASE;
END
$function$;

CREATE FUNCTION set_paused(process_type text, wanted boolean, reason text) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
BEGIN
    UPDATE process_types SET paused = wanted, paused_at = CASE WHEN wanted THEN now() END, pause_reason = set_paused.reason
    WHERE name = set_paused.process_type AND paused <> wanted;
    IF FOUND THEN
        PERFORM pg_notify(current_schema(), E'\ncontrol');
        IF NOT wanted THEN
            PERFORM pg_notify(current_schema(), set_paused.process_type);
        END IF;
        RETURN true;
    END IF;
    IF NOT EXISTS (SELECT FROM process_types WHERE name = set_paused.process_type) THEN
        RAISE EXCEPTION 'unknown process type "%"', set_paused.process_type
            USING ERRCODE = 'PO001', HINT = 'register it first; known are: ' ||
                coalesce((SELECT string_agg(name, ', ' ORDER BY name) FROM
                    (SELECT name FROM process_types ORDER BY name LIMIT 20) AS known), 'none');
    END IF;
    RETURN false;
END
$function$;

-- Holds a process type's processes back: none of them is claimed, one that runs stops before its next task. Starting
-- them goes on. Gives whether it was not paused before; pausing again keeps time and reason.
CREATE FUNCTION pause_process_type(process_type text, reason text DEFAULT NULL) RETURNS boolean
LANGUAGE sql
SET search_path FROM CURRENT
AS $function$
    SELECT set_paused(pause_process_type.process_type, true, nullif(btrim(reason), ''))
$function$;

-- Lets them go on. Gives whether it was paused.
CREATE FUNCTION resume_process_type(process_type text) RETURNS boolean
LANGUAGE sql
SET search_path FROM CURRENT
AS $function$
    SELECT set_paused(resume_process_type.process_type, false, NULL)
$function$;
