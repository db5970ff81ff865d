-- works from: 2
--
-- What every result pays for, made cheaper. The tables are rewritten once: about 40 s for a million processes of ten
-- tasks, during which nothing is claimed or recorded; results wait in their nodes' memory.
--
-- Ids are compared byte by byte, which is what they mean, instead of by the rules of a language: a descent of an index
-- compares some twenty times, and strcoll() takes several times as long as memcmp(). Lists by id are in that order.
--
-- The words of the lifecycle are CHECKs of domains: those of a table are parsed anew in every statement that writes to
-- it (9 % of the instructions of a record of ten results), those of a domain once in a session.
--
-- That a failed process says why is a CHECK of two columns, which no domain can hold; the program has one place that
-- ends a process so, and its tests.

-- In the order in which claims and results lock them: taken one after the other, between rewrites that take minutes, they
-- would wait for claims that wait for them.
LOCK TABLE scheduled_tasks, task_executions, tasks, processes IN ACCESS EXCLUSIVE MODE;

-- PostgreSQL changes no column's type under a view, and says so of the first one only.
DO $$
DECLARE
    views text;
BEGIN
    SELECT string_agg(DISTINCT r.ev_class::regclass::text, ', ') INTO views
    FROM pg_depend d
    JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.refclassid = 'pg_class'::regclass
        AND d.refobjid IN ('processes'::regclass, 'tasks'::regclass, 'task_executions'::regclass,
            'scheduled_tasks'::regclass)
        AND a.attname IN ('process_id', 'status', 'outcome', 'task_instance', 'picked_by');
    IF views IS NOT NULL THEN
        RAISE EXCEPTION 'columns that these views show change their type: %', views
            USING HINT = 'drop the views, migrate, then create them again';
    END IF;
END
$$;

CREATE DOMAIN process_status AS text
    CHECK (VALUE IN ('NOT_STARTED', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'CANCELLED'));
CREATE DOMAIN task_status AS text
    CHECK (VALUE IN ('NOT_STARTED', 'IN_PROGRESS', 'WAITING_RETRY', 'COMPLETED', 'FAILED', 'CANCELLED'));
CREATE DOMAIN execution_outcome AS text
    CHECK (VALUE IN ('SUCCEEDED', 'FAILED', 'TIMED_OUT', 'SPAWN_FAILED', 'CANCELLED', 'INTERRUPTED', 'LOST'));

-- Lists compare ids under the other name that PostgreSQL has for the order of bytes. With the same name these indexes
-- would serve a look for one id as well, by being read from end to end; and to a plan that was made while a table was
-- empty, that costs as little as a descent of the primary key: claims took 200 ms instead of 2.
DROP INDEX IF EXISTS processes_created, processes_type_created, processes_with_error;

ALTER TABLE processes
    DROP CONSTRAINT processes_status_check,
    DROP CONSTRAINT processes_check,
    ALTER COLUMN process_id TYPE text COLLATE "C",
    ALTER COLUMN status DROP DEFAULT,
    ALTER COLUMN status TYPE process_status,
    ALTER COLUMN status SET DEFAULT 'NOT_STARTED';
CREATE INDEX processes_created ON processes (created_at, process_id COLLATE "POSIX");
CREATE INDEX processes_type_created ON processes (process_type, created_at, process_id COLLATE "POSIX");
CREATE INDEX processes_with_error ON processes (created_at, process_id COLLATE "POSIX")
    WHERE error_message IS NOT NULL;
ALTER TABLE tasks
    DROP CONSTRAINT tasks_status_check,
    ALTER COLUMN process_id TYPE text COLLATE "C",
    ALTER COLUMN status DROP DEFAULT,
    ALTER COLUMN status TYPE task_status,
    ALTER COLUMN status SET DEFAULT 'NOT_STARTED';
ALTER TABLE task_executions
    DROP CONSTRAINT task_executions_outcome_check,
    ALTER COLUMN process_id TYPE text COLLATE "C",
    ALTER COLUMN outcome TYPE execution_outcome;
ALTER TABLE scheduled_tasks
    ALTER COLUMN task_instance TYPE text COLLATE "C",
    ALTER COLUMN picked_by TYPE text COLLATE "C";

-- What commands print is kept twice, compressed each time: lz4 does that in a fraction of pglz's time. Not every server
-- was built with it, and none before PostgreSQL 14. Values that are there already stay as they are.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 140000 THEN
        -- Not as plain statements: older servers would refuse to parse them.
        EXECUTE 'ALTER TABLE tasks ALTER COLUMN output SET COMPRESSION lz4';
        EXECUTE 'ALTER TABLE task_executions ALTER COLUMN output SET COMPRESSION lz4';
    END IF;
EXCEPTION WHEN feature_not_supported THEN
    NULL; -- built without: the default is used
END
$$;

-- The other way round, the earliest of the highest priority came first: a look for the priorities that wait began where
-- claims have left dead entries, and read all of them as long as a transaction somewhere held back vacuum. Read from its
-- end, it begins with what came last. Within a priority both are in the order of time.
DROP INDEX IF EXISTS scheduled_tasks_due;
CREATE INDEX scheduled_tasks_due ON scheduled_tasks (priority, execution_time) WHERE NOT picked;

-- As in the third migration, but for the type of the status that it returns.
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
        p.status::text, s.picked_by
    FROM (SELECT u.id, min(u.n) AS n FROM unnest(process_ids) WITH ORDINALITY AS u (id, n)
        WHERE u.id IS NOT NULL GROUP BY u.id) AS w
    LEFT JOIN processes p ON p.process_id = w.id
    LEFT JOIN scheduled_tasks s ON s.task_instance = w.id
    LEFT JOIN unnest(ended) AS e (id) ON e.id = w.id
    ORDER BY w.n;
END
$function$;

-- Columns whose type has changed have lost their statistics; the lists' plans are made of them.
ANALYZE processes, tasks, task_executions, scheduled_tasks;
