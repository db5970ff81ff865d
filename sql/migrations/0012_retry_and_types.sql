-- works from: 6
--
-- One order of locks for whoever takes several processes; retries that forget what the tasks to be run again have passed on,
-- and that skip tasks only when told to; what a process type was before.
--
-- Everybody locks in this order, each by the bytes of the ids: rows of scheduled_tasks, then of processes, then of tasks. Who
-- has taken rows of one table takes no more of the one before, nor rows that it has not seen then: what others commit
-- meanwhile is not part of the call.
--
-- Errors go on from those of the third migration: PO012 a task behind one that has not completed.

-- As in the seventh migration.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- Tasks that a retry passed over. NOT VALID: all there are hold one of the words before, and nothing is read.
ALTER DOMAIN task_status DROP CONSTRAINT task_status_check;
ALTER DOMAIN task_status ADD CONSTRAINT task_status_check CHECK (VALUE IN ('NOT_STARTED', 'IN_PROGRESS', 'WAITING_RETRY',
    'COMPLETED', 'FAILED', 'CANCELLED', 'SKIPPED')) NOT VALID;

-- As in the sixth migration, but that it ends nothing that was not there when it had its locks.
CREATE OR REPLACE FUNCTION cancel_processes(
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
    locked  text[];
    ended   text[];
BEGIN
    SELECT array_agg(l.id) INTO locked FROM (
        SELECT s.task_instance AS id FROM scheduled_tasks s WHERE s.task_instance = ANY (process_ids)
        ORDER BY s.task_instance COLLATE "C" FOR UPDATE
    ) AS l;

    -- Who asks first is the one whose reason counts.
    UPDATE scheduled_tasks s SET cancel_requested_at = now(), cancel_reason = message
    WHERE s.task_instance = ANY (locked) AND s.cancel_requested_at IS NULL;

    SELECT array_agg(e.id) INTO ended
    FROM end_cancelled_processes(coalesce(locked, '{}'), coalesce(cardinality(locked), 0)) AS e (id);

    IF cardinality(locked) > coalesce(cardinality(ended), 0) THEN
        -- No process type's name begins with a new line.
        PERFORM pg_notify(current_schema(), E'\ncontrol');
    END IF;

    RETURN QUERY
    SELECT w.id,
        CASE
            WHEN p.process_id IS NULL THEN 'NOT_FOUND'
            WHEN e.id IS NOT NULL THEN 'CANCELLED'
            WHEN l.id IS NOT NULL THEN 'REQUESTED'
            ELSE 'FINISHED'
        END,
        p.status::text, CASE WHEN l.id IS NOT NULL THEN s.picked_by END
    FROM (SELECT u.id, min(u.n) AS n FROM unnest(process_ids) WITH ORDINALITY AS u (id, n)
        WHERE u.id IS NOT NULL GROUP BY u.id) AS w
    LEFT JOIN processes p ON p.process_id = w.id
    LEFT JOIN scheduled_tasks s ON s.task_instance = w.id
    LEFT JOIN unnest(ended) AS e (id) ON e.id = w.id
    LEFT JOIN unnest(locked) AS l (id) ON l.id = w.id
    ORDER BY w.n;
END
$function$;

-- As in the third migration, but for the order. `held` is asked for its count so that it comes before what it locks is changed.
CREATE OR REPLACE FUNCTION end_cancelled_processes(process_ids text[] DEFAULT NULL, at_most integer DEFAULT 500)
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
    ), held AS MATERIALIZED (
        SELECT p.process_id FROM processes p
        WHERE p.process_id = ANY (ARRAY(SELECT task_instance FROM waiting))
        ORDER BY p.process_id COLLATE "C"
        FOR NO KEY UPDATE
    ), ended AS (
        DELETE FROM scheduled_tasks s
        USING waiting
        WHERE s.task_instance = waiting.task_instance AND (SELECT count(*) FROM held) >= 0
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
            AND t.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED', 'SKIPPED')
    )
    SELECT process_id FROM process
$function$;

-- The context that a process had when the task at `from_index` began. What that task and those behind it are known by the
-- trail to have passed on is gone; where a task before had passed on the same key, its value is back, of two the later one's.
-- All else stays, unless the first task is meant: a process begins without any. Nodes of the release before do not record
-- what tasks pass on, and may have run any of them.
CREATE FUNCTION context_before(process_id text, from_index integer, context jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    gone text[];
BEGIN
    IF from_index <= 0 OR coalesce(context, '{}') = '{}' THEN
        RETURN '{}';
    END IF;
    gone := ARRAY(
        SELECT DISTINCT k.key FROM task_executions e CROSS JOIN LATERAL jsonb_object_keys(e.context_values) AS k (key)
        WHERE e.process_id = context_before.process_id AND e.task_index >= from_index AND e.context_values IS NOT NULL
    );
    RETURN (context - gone) || coalesce((
        SELECT jsonb_object_agg(v.key, v.value ORDER BY latest.task_index)
        FROM (
            SELECT DISTINCT ON (e.task_index) e.task_index, e.context_values
            FROM task_executions e
            JOIN tasks t ON t.process_id = e.process_id AND t.task_index = e.task_index AND t.status = 'COMPLETED'
            WHERE e.process_id = context_before.process_id AND e.task_index < from_index AND e.outcome = 'SUCCEEDED'
            ORDER BY e.task_index, e.attempt DESC
        ) AS latest
        CROSS JOIN LATERAL jsonb_each(latest.context_values) AS v
        WHERE v.key = ANY (gone)
    ), '{}');
END
$function$;

DROP FUNCTION retry_process(text, text, jsonb);
DROP FUNCTION retry_processes(text[], text, jsonb);
DROP FUNCTION plan_retries(text[], text, jsonb);

-- What a retry would do with each of these processes, without doing it: see retry_processes.
CREATE FUNCTION plan_retries(
    process_ids  text[],
    from_task    text    DEFAULT NULL,
    changes      jsonb   DEFAULT NULL,
    skip         boolean DEFAULT false
) RETURNS TABLE (n bigint, id text, status text, outcome text, detail text, from_index integer, input jsonb)
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $function$
    SELECT f.n, f.id, f.status, f.outcome,
        CASE f.outcome
            WHEN 'RETRIED' THEN f.from_name
            WHEN 'MISSING_INPUT' THEN f.missing
            WHEN 'WOULD_SKIP' THEN f.skipped
            WHEN 'NO_SUCH_TASK' THEN
                (SELECT string_agg(t.name, ', ' ORDER BY t.task_index) FROM tasks t WHERE t.process_id = f.id)
        END,
        f.from_index, f.input
    FROM (
        SELECT w.n, w.id, p.status, t.task_index AS from_index, t.name AS from_name, i.input, m.missing, s.skipped,
            CASE
                WHEN p.process_id IS NULL THEN 'NOT_FOUND'
                WHEN p.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') THEN 'UNFINISHED'
                WHEN p.status = 'COMPLETED' AND from_task IS NULL THEN 'COMPLETED'
                WHEN t.task_index IS NULL THEN 'NO_SUCH_TASK'
                -- Releases before went on behind tasks that had failed: going on where such a process stopped skips none anew.
                WHEN s.skipped IS NOT NULL AND from_task IS NOT NULL AND NOT coalesce(skip, false) THEN 'WOULD_SKIP'
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
                ELSE t.name = from_task OR (t.task_index + 1)::text = from_task
            END
            -- A task that is named like another one's number is the one that is meant.
            ORDER BY t.name = from_task DESC
            LIMIT 1
        ) AS t ON true
        LEFT JOIN LATERAL (
            SELECT format('"%s" (%s of %s), which is %s', b.name, b.task_index + 1, p.total_tasks, b.status) AS skipped
            FROM tasks b
            WHERE b.process_id = p.process_id AND b.task_index < t.task_index AND b.status NOT IN ('COMPLETED', 'SKIPPED')
            ORDER BY b.task_index
            LIMIT 1
        ) AS s ON true
        -- Without changes the input is as the start has checked it.
        LEFT JOIN LATERAL (
            SELECT missing_variables(p.process_id, t.task_index, i.input) AS missing WHERE changes IS NOT NULL
        ) AS m ON true
    ) AS f
    ORDER BY f.n
$function$;

-- Has finished processes go again, from the task that failed or was cancelled, or from the task of a name (or a number as text:
-- '1' is the first). That task and all after it are NOT_STARTED again and have their retries anew, and what they have passed
-- on is forgotten; the tasks before it stay as they are; the audit trail goes on. With `skip`, tasks before it that have not
-- completed are SKIPPED; without, that is refused. `changes` is put on top of the input: "input_file", "output_dir" and
-- "user_id" replace, "config" and "metadata" are merged. One row for each id:
--   outcome  RETRIED, UNFINISHED (it runs or waits: cancel it first), COMPLETED (name a task), NO_SUCH_TASK, WOULD_SKIP (say
--            skip), MISSING_INPUT, NOT_FOUND; nothing but RETRIED changes anything
--   status   of the process now
--   detail   the task it goes on from; the variables that are missing; the tasks there are; the task that would be skipped
CREATE FUNCTION retry_processes(
    process_ids  text[],
    from_task    text    DEFAULT NULL,
    changes      jsonb   DEFAULT NULL,
    skip         boolean DEFAULT false
) RETURNS TABLE (process_id text, outcome text, status text, detail text)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    locked text[];
BEGIN
    IF changes IS NOT NULL AND input_problem(changes) IS NOT NULL THEN
        RAISE EXCEPTION 'invalid input: %', input_problem(changes) USING ERRCODE = 'PO002',
            HINT = 'input is {"input_file", "output_dir", "user_id", "config": {}, "metadata": {}}';
    END IF;

    -- What runs is not touched.
    SELECT array_agg(l.id) INTO locked FROM (
        SELECT p.process_id AS id FROM processes p
        WHERE p.process_id = ANY (process_ids) AND p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
        ORDER BY p.process_id COLLATE "C" FOR UPDATE
    ) AS l;

    RETURN QUERY
    WITH planned AS MATERIALIZED (
        SELECT * FROM plan_retries(process_ids, from_task, changes, skip)
    ), process AS (
        UPDATE processes p
        SET status = CASE WHEN planned.from_index = 0 THEN 'NOT_STARTED' ELSE 'IN_PROGRESS' END,
            started_at = CASE WHEN planned.from_index > 0 THEN p.started_at END,
            current_task_index = planned.from_index, input_data = planned.input, completed_at = NULL,
            error_message = NULL, updated_at = now(),
            process_context = context_before(p.process_id, planned.from_index, p.process_context),
            skipped_tasks = (SELECT count(*) FROM tasks t
                WHERE t.process_id = planned.id AND t.task_index < planned.from_index AND t.status <> 'COMPLETED')
        FROM planned
        WHERE planned.outcome = 'RETRIED' AND p.process_id = planned.id AND p.process_id = ANY (locked)
        RETURNING p.process_id, p.process_type, p.priority, p.status, p.current_task_index,
            planned.detail AS from_name
    ), task AS (
        UPDATE tasks t
        SET status = 'NOT_STARTED', retry_count = 0, started_at = NULL, completed_at = NULL, error_message = NULL,
            exit_code = NULL, output = NULL, updated_at = now()
        FROM process
        WHERE t.process_id = process.process_id AND t.task_index >= process.current_task_index
    ), skipped AS (
        UPDATE tasks t
        SET status = 'SKIPPED', completed_at = coalesce(t.completed_at, now()), updated_at = now(),
            error_message = 'skipped by a retry from task "' || process.from_name || '", it was ' || t.status
                || coalesce(': ' || t.error_message, '')
        FROM process
        WHERE t.process_id = process.process_id AND t.task_index < process.current_task_index
            AND t.status NOT IN ('COMPLETED', 'SKIPPED')
    ), queued AS (
        INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, priority, version, state)
        SELECT process.process_type, process.process_id, now(), process.priority, nextval('retry_version'), 'READY'
        FROM process
    )
    SELECT planned.id,
        CASE WHEN planned.outcome = 'RETRIED' AND process.process_id IS NULL THEN 'UNFINISHED' ELSE planned.outcome END,
        -- One that has ended since the locks were taken was under way when this was asked.
        CASE WHEN planned.outcome = 'RETRIED' THEN coalesce(process.status::text, 'IN_PROGRESS') ELSE planned.status END,
        planned.detail
    FROM planned LEFT JOIN process ON process.process_id = planned.id
    ORDER BY planned.n;

    PERFORM wake_nodes((SELECT max(p.priority) FROM processes p WHERE p.process_id = ANY (process_ids)));
END
$function$;

-- The same for one process; gives the name of the task it goes on from, and an error where it can't.
CREATE FUNCTION retry_process(
    process_id  text,
    from_task   text    DEFAULT NULL,
    changes     jsonb   DEFAULT NULL,
    skip        boolean DEFAULT false
) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    told record;
    id   text := coalesce(quote_literal(left(retry_process.process_id, 300)), 'null');
BEGIN
    SELECT r.outcome, r.status, r.detail INTO told
    FROM retry_processes(ARRAY[retry_process.process_id], retry_process.from_task, retry_process.changes,
        retry_process.skip) AS r;
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
        WHEN 'WOULD_SKIP' THEN
            RAISE EXCEPTION 'task % of process % comes behind %', quote_literal(from_task), id, told.detail
                USING ERRCODE = 'PO012', HINT = 'go again from that one, or say that it is to be skipped: skip';
        WHEN 'MISSING_INPUT' THEN
            RAISE EXCEPTION 'input lacks %, which the tasks of process % need', told.detail, id
                USING ERRCODE = 'PO003', HINT = 'add it to the changed input';
    END CASE;
END
$function$;

-- The door for drivers of the eleventh migration.
DROP FUNCTION retry_process(bpchar, text, json);
CREATE FUNCTION retry_process(process_id bpchar, from_task text, changes json, skip boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    RETURN retry_process(process_id::text, from_task, parsed_input(changes::text), skip);
END
$function$;

-- Every definition that a process type has had: a node that starts with an old file does not put that back. A version is
-- written whoever registers, programs of the release before included, and by no right but that to register.
CREATE TABLE process_type_versions (
    name           text        NOT NULL,
    version        integer     NOT NULL,
    definition     jsonb       NOT NULL,
    registered_at  timestamptz NOT NULL DEFAULT now(),
    registered_by  text, -- null: before versions were kept
    PRIMARY KEY (name, version)
);

-- As the triggers below lock it: what is registered between this and them would have no version.
LOCK TABLE process_types IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO process_type_versions (name, version, definition, registered_at)
SELECT name, 1, definition, updated_at FROM process_types;

CREATE FUNCTION note_type_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
BEGIN
    -- It writes with the owner's rights, and whoever may execute it can hang it on a table of their own.
    IF TG_RELID <> 'process_types'::regclass THEN
        RAISE EXCEPTION 'only process_types has versions' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- The type's own row is locked: nobody else counts meanwhile.
    INSERT INTO process_type_versions (name, version, definition, registered_by)
    SELECT NEW.name, coalesce(max(v.version), 0) + 1, NEW.definition,
        coalesce(nullif(current_setting('process_orchestrator.registered_by', true), ''), 'role ' || session_user)
    FROM process_type_versions v WHERE v.name = NEW.name;
    RETURN NULL;
END
$function$;

CREATE TRIGGER note_version_of_new AFTER INSERT ON process_types
    FOR EACH ROW EXECUTE FUNCTION note_type_version();
CREATE TRIGGER note_version_of_changed AFTER UPDATE OF definition ON process_types
    FOR EACH ROW WHEN (OLD.definition IS DISTINCT FROM NEW.definition) EXECUTE FUNCTION note_type_version();

-- What an execution has passed on to the tasks behind it, and how many tasks of a process a retry has passed over. The only
-- locks on tables that nodes write all the time, and the last things here, in the order in which results lock them.
ALTER TABLE task_executions ADD COLUMN context_values jsonb;
ALTER TABLE processes ADD COLUMN skipped_tasks integer NOT NULL DEFAULT 0;
