-- works from: 6
--
-- Eras, third part. An era is a set of processes: those that were started one after another, until enough of them have
-- ended (STARTED); those that outlast their era (LONG); those that have ended one after another, out of the one before and of
-- what was there before eras (ENDED, EARLIER). Tasks, executions and outputs of each lie in tables of their own, partitions by
-- `era`: an era of which nothing is to be kept is forgotten by dropping them, which gives back their space at once. The rows
-- of `processes` and of the queue stay in one table each: lists and claims read them in an order of their own.
--
--   all_tasks   tasks of all eras; the engine knows only its default partition `open_tasks`, which holds the eras of which a
--               process runs, waits or may come. There are few of those, however long the history.
--   executions  the audit trail, with outputs of up to 1,024 bytes
--   outputs     longer ones. What a command has printed is written once, and never moves but with its process.
--
-- `tasks` and `task_executions` are what they were to everybody who reads or writes them: views, the output of a task being that
-- of the execution it has ended with. Programs of the release before go on working by them.

-- As in the seventh migration.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- Partitioned tables are not to be put into the database's own tablespace by its name.
SELECT set_config('default_tablespace', '', true)
FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = current_database() AND t.spcname = btrim(current_setting('default_tablespace'), '"');

-- In the order in which claims and results lock them.
LOCK TABLE scheduled_tasks, processes, tasks, task_executions IN ACCESS EXCLUSIVE MODE;

-- What hangs on the tables would see the first of their partitions only.
DO $$
DECLARE
    found text;
BEGIN
    SELECT string_agg(DISTINCT what, ', ') INTO found FROM (
        SELECT 'view ' || r.ev_class::regclass AS what
        FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid IN ('tasks'::regclass, 'task_executions'::regclass)
        UNION ALL
        SELECT 'foreign key ' || conname || ' of ' || conrelid::regclass FROM pg_constraint
        WHERE contype = 'f' AND ('tasks'::regclass IN (conrelid, confrelid) OR 'task_executions'::regclass IN (conrelid, confrelid))
        UNION ALL
        SELECT 'trigger ' || tgname || ' of ' || tgrelid::regclass FROM pg_trigger
        WHERE tgrelid IN ('tasks'::regclass, 'task_executions'::regclass) AND NOT tgisinternal
    ) AS hanging;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'tasks and task_executions become views, and these hang on the tables: %', found
            USING HINT = 'drop them, migrate, then create again what is still wanted (triggers on all_tasks and executions)';
    END IF;
END
$$;

ALTER TABLE tasks RENAME TO tasks_0;
ALTER TABLE task_executions RENAME TO executions_0;

CREATE TABLE all_tasks (LIKE tasks_0 INCLUDING ALL EXCLUDING INDEXES EXCLUDING CONSTRAINTS) PARTITION BY LIST (era);
ALTER TABLE all_tasks ALTER COLUMN era DROP DEFAULT;
CREATE TABLE open_tasks PARTITION OF all_tasks DEFAULT PARTITION BY LIST (era);
CREATE TABLE executions (LIKE executions_0 INCLUDING ALL EXCLUDING INDEXES EXCLUDING CONSTRAINTS) PARTITION BY LIST (era);
ALTER TABLE executions ALTER COLUMN era DROP DEFAULT;
CREATE TABLE outputs (
    era         integer NOT NULL,
    process_id  text    NOT NULL COLLATE "C",
    task_index  integer NOT NULL,
    attempt     integer NOT NULL,
    output      text    NOT NULL
) PARTITION BY LIST (era);
-- As in the sixth migration.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 140000 THEN
        EXECUTE 'ALTER TABLE outputs ALTER COLUMN output SET COMPRESSION lz4';
    END IF;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;
-- What is compressed to less than a page stays in its row: of 10 KB of a log that saves a tenth of what is written.
ALTER TABLE outputs ALTER COLUMN output SET STORAGE MAIN;
CREATE TABLE outputs_0 (LIKE outputs INCLUDING ALL, CHECK (era = 0), PRIMARY KEY (process_id, task_index, attempt));

ALTER TABLE open_tasks ATTACH PARTITION tasks_0 FOR VALUES IN (0);
ALTER TABLE executions ATTACH PARTITION executions_0 FOR VALUES IN (0);
ALTER TABLE outputs ATTACH PARTITION outputs_0 FOR VALUES IN (0);

CREATE TABLE eras (
    era         integer PRIMARY KEY,
    kind        text        NOT NULL CHECK (kind IN ('STARTED', 'LONG', 'ENDED', 'EARLIER')),
    opened_at   timestamptz NOT NULL DEFAULT now(),
    -- From when on none of its processes runs or waits, and none comes. Of ENDED from their begin: only finished ones come.
    closed_at   timestamptz,
    -- When it was closed or last written to: how many processes it holds, and when the first and the last of them ended.
    processes   bigint      NOT NULL DEFAULT 0,
    ended_from  timestamptz,
    ended_to    timestamptz,
    -- ENDED: no more come. EARLIER: until which end its processes have been moved.
    is_full     boolean     NOT NULL DEFAULT false,
    moved_to    timestamptz,
    -- When its outputs were deleted, all else staying.
    outputs_deleted_at timestamptz,
    -- When its processes were deleted: its tables are to go.
    emptied_at  timestamptz
);
CREATE SEQUENCE era_number;
-- The era of what starts now. Not a row: a transaction that began long ago would see an older one.
CREATE SEQUENCE newest_era;

INSERT INTO eras (era, kind) VALUES (0, 'EARLIER');

-- What was moved to the era of those that last long, and has ended there: it is to be moved on.
CREATE INDEX processes_long_ended ON processes (completed_at, process_id) WHERE era = 1 AND completed_at IS NOT NULL;

-- Rows that are written by hand belong to that era.
ALTER TABLE processes ALTER COLUMN era SET DEFAULT 1;
ALTER TABLE scheduled_tasks ALTER COLUMN era SET DEFAULT 1;

-- Makes the tables of a new era and gives its number. With the owner's rights: nodes make no tables otherwise.
CREATE FUNCTION add_era(wanted text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
DECLARE
    number integer;
    part   record;
BEGIN
    LOCK TABLE eras IN SHARE ROW EXCLUSIVE MODE;
    -- One that was made and is not used up yet.
    SELECT era INTO number FROM eras WHERE kind = wanted AND CASE kind
        WHEN 'STARTED' THEN closed_at IS NULL AND era > (SELECT last_value FROM newest_era)
        WHEN 'ENDED' THEN NOT is_full AND emptied_at IS NULL
        ELSE true END
    ORDER BY era DESC LIMIT 1;
    IF FOUND THEN
        RETURN number;
    END IF;
    number := nextval('era_number');
    INSERT INTO eras (era, kind, closed_at) VALUES (number, wanted, CASE WHEN wanted = 'ENDED' THEN now() END);
    FOR part IN
        SELECT * FROM (VALUES
            ('tasks', 'all_tasks', CASE WHEN wanted = 'ENDED' THEN 'all_tasks' ELSE 'open_tasks' END,
                'process_id, task_index', 70),
            ('executions', 'executions', 'executions', 'process_id, task_index, attempt', 100),
            ('outputs', 'outputs', 'outputs', 'process_id, task_index, attempt', 100)
        ) AS parts (name, shape, parent, key, filled)
    LOOP
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING INDEXES EXCLUDING CONSTRAINTS, CHECK (era = %s), '
            'PRIMARY KEY (%s)) WITH (fillfactor = %s)', part.name || '_' || number, part.shape, number, part.key, part.filled);
        IF part.name = 'executions' THEN
            EXECUTE format('CREATE INDEX ON %I (node_id, process_id)', part.name || '_' || number);
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%s)', part.parent, part.name || '_' || number, number);
    END LOOP;
    RETURN number;
END
$function$;

-- Has what starts from now on belong to an era that add_era has made in a transaction before.
CREATE FUNCTION use_era(number integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
BEGIN
    LOCK TABLE eras IN SHARE ROW EXCLUSIVE MODE;
    IF number > (SELECT last_value FROM newest_era)
        AND EXISTS (SELECT FROM eras WHERE era = number AND kind = 'STARTED' AND closed_at IS NULL)
    THEN
        PERFORM setval('newest_era', number);
        RETURN true;
    END IF;
    RETURN false;
END
$function$;

-- Closes an era of which nothing runs, waits or comes any more, and says whether it was so: its tasks are out of the engine's
-- sight from then on.
CREATE FUNCTION close_era(number integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
DECLARE
    tasks_of_it text := 'tasks_' || number;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'an era is closed by a transaction that sees what others have just committed'
            USING HINT = 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED';
    END IF;
    LOCK TABLE eras IN SHARE ROW EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM eras WHERE era = number AND kind IN ('STARTED', 'EARLIER') AND closed_at IS NULL)
        OR number >= (SELECT last_value FROM newest_era)
        OR EXISTS (SELECT FROM scheduled_tasks s WHERE s.era = number)
    THEN
        RETURN false;
    END IF;
    -- Waits for everybody who starts or retries, and looks again at what they have committed.
    EXECUTE format('ALTER TABLE open_tasks DETACH PARTITION %I', tasks_of_it);
    IF EXISTS (SELECT FROM scheduled_tasks s WHERE s.era = number) THEN
        EXECUTE format('ALTER TABLE open_tasks ATTACH PARTITION %I FOR VALUES IN (%s)', tasks_of_it, number);
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE all_tasks ATTACH PARTITION %I FOR VALUES IN (%s)', tasks_of_it, number);
    UPDATE eras SET closed_at = now(), is_full = true WHERE era = number;
    RETURN true;
END
$function$;

-- Drops the tables of an era whose processes are gone, and says whether it did.
CREATE FUNCTION drop_era(number integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
BEGIN
    DELETE FROM eras WHERE era = number AND closed_at IS NOT NULL AND emptied_at IS NOT NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I, %I, %I', 'tasks_' || number, 'executions_' || number, 'outputs_' || number);
    RETURN true;
END
$function$;

-- Deletes the long outputs of a closed era, and gives back their space.
CREATE FUNCTION delete_outputs(number integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
BEGIN
    IF EXISTS (SELECT FROM eras WHERE era = number AND closed_at IS NOT NULL AND is_full AND outputs_deleted_at IS NOT NULL) THEN
        EXECUTE format('TRUNCATE %I', 'outputs_' || number);
    END IF;
END
$function$;

-- They need no right on tables: whoever may delete processes may call them (below, and sql/schema/grant_runtime.sql).
REVOKE EXECUTE ON FUNCTION add_era(text), use_era(integer), close_era(integer), drop_era(integer),
    delete_outputs(integer) FROM PUBLIC;

-- Moves processes with all that is theirs to another era. The caller holds their rows, and their places in the queue.
-- What was written before eras takes the shape that it has now: an output once, and by its length.
CREATE FUNCTION move_processes(process_ids text[], target integer) RETURNS bigint
LANGUAGE sql
SET search_path FROM CURRENT
AS $function$
    WITH moving AS MATERIALIZED (
        SELECT p.process_id, p.era FROM processes p
        WHERE p.process_id = ANY (move_processes.process_ids) AND p.era <> move_processes.target
    ), process AS (
        UPDATE processes p SET era = move_processes.target FROM moving WHERE p.process_id = moving.process_id
        RETURNING p.process_id
    ), queue AS (
        UPDATE scheduled_tasks s SET era = move_processes.target FROM moving WHERE s.task_instance = moving.process_id
    ), execution AS (
        DELETE FROM executions e USING moving WHERE e.era = moving.era AND e.process_id = moving.process_id RETURNING e.*
    ), output AS (
        DELETE FROM outputs o USING moving WHERE o.era = moving.era AND o.process_id = moving.process_id RETURNING o.*
    ), task AS (
        DELETE FROM all_tasks t USING moving WHERE t.era = moving.era AND t.process_id = moving.process_id RETURNING t.*
    ), executions_there AS (
        INSERT INTO executions (era, process_id, task_index, attempt, node_id, command, outcome, exit_code, signal, started_at,
            completed_at, duration_ms, cpu_ms, peak_memory_bytes, output, output_bytes, error_message, context_values)
        SELECT move_processes.target, process_id, task_index, attempt, node_id, command, outcome, exit_code, signal, started_at,
            completed_at, duration_ms, cpu_ms, peak_memory_bytes, CASE WHEN octet_length(output) <= 1024 THEN output END,
            output_bytes, error_message, context_values
        FROM execution
    ), outputs_there AS (
        INSERT INTO outputs (era, process_id, task_index, attempt, output)
        SELECT move_processes.target, process_id, task_index, attempt, output FROM output
        UNION ALL
        SELECT move_processes.target, process_id, task_index, attempt, output FROM execution WHERE octet_length(output) > 1024
    ), tasks_there AS (
        INSERT INTO all_tasks (era, task_id, process_id, task_index, name, command, shell, working_directory, environment,
            timeout_minutes, max_retries, retry, on_crash, max_output_bytes, status, attempt, retry_count, started_at,
            completed_at, error_message, exit_code, output, output_attempt, created_at, updated_at)
        SELECT move_processes.target, t.task_id, t.process_id, t.task_index, t.name, t.command, t.shell, t.working_directory,
            t.environment, t.timeout_minutes, t.max_retries, t.retry, t.on_crash, t.max_output_bytes, t.status, t.attempt,
            t.retry_count, t.started_at, t.completed_at, t.error_message, t.exit_code,
            CASE WHEN e.attempt IS NULL THEN t.output END, coalesce(e.attempt, t.output_attempt), t.created_at, t.updated_at
        -- In the table, where it is seen until the end of this statement: joined to what was deleted, each would be compared
        -- with each.
        FROM task t LEFT JOIN LATERAL (
            SELECT e.attempt FROM executions e
            WHERE t.output_attempt IS NULL AND t.output IS NOT NULL AND e.era = t.era AND e.process_id = t.process_id
                AND e.task_index = t.task_index AND e.attempt = t.attempt AND e.output = t.output
            OFFSET 0
        ) AS e ON true
    )
    SELECT count(*) FROM process
$function$;

-- The output of an execution that has none in its row. A function, since a planner that sees the look at all eras in a look at
-- all eras makes thousands of scans out of it, and has them compiled; a call looks at one era.
CREATE FUNCTION long_output(era integer, process_id text, task_index integer, attempt integer) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
BEGIN
    RETURN (SELECT o.output FROM outputs o WHERE o.era = long_output.era AND o.process_id = long_output.process_id
        AND o.task_index = long_output.task_index AND o.attempt = long_output.attempt);
END
$function$;

-- The output of an execution.
CREATE FUNCTION output_of(era integer, process_id text, task_index integer, attempt integer) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
BEGIN
    RETURN (SELECT CASE WHEN e.output IS NULL AND e.output_bytes > 0
            THEN long_output(e.era, e.process_id, e.task_index, e.attempt) ELSE e.output END
        FROM executions e WHERE e.era = output_of.era AND e.process_id = output_of.process_id
            AND e.task_index = output_of.task_index AND e.attempt = output_of.attempt);
END
$function$;

CREATE VIEW tasks AS
SELECT t.task_id, t.process_id, t.task_index, t.name, t.command, t.shell, t.working_directory, t.environment,
    t.timeout_minutes, t.max_retries, t.retry, t.on_crash, t.max_output_bytes, t.status, t.attempt, t.retry_count,
    t.started_at, t.completed_at, t.error_message, t.exit_code,
    CASE WHEN t.output_attempt IS NULL THEN t.output
        ELSE output_of(t.era, t.process_id, t.task_index, t.output_attempt) END AS output,
    t.created_at, t.updated_at, t.era, t.xmin, t.xmax, t.ctid -- the last three for programs of the release before
FROM all_tasks t;
ALTER VIEW tasks ALTER COLUMN status SET DEFAULT 'NOT_STARTED';
ALTER VIEW tasks ALTER COLUMN attempt SET DEFAULT 0;
ALTER VIEW tasks ALTER COLUMN retry_count SET DEFAULT 0;
ALTER VIEW tasks ALTER COLUMN created_at SET DEFAULT now();
ALTER VIEW tasks ALTER COLUMN updated_at SET DEFAULT now();

CREATE VIEW task_executions AS
SELECT e.process_id, e.task_index, e.attempt, e.node_id, e.command, e.outcome, e.exit_code, e.signal, e.started_at,
    e.completed_at, e.duration_ms, e.cpu_ms, e.peak_memory_bytes,
    CASE WHEN e.output IS NULL AND e.output_bytes > 0
        THEN long_output(e.era, e.process_id, e.task_index, e.attempt) ELSE e.output END AS output,
    e.output_bytes, e.error_message, e.context_values, e.era, e.xmin, e.xmax, e.ctid
FROM executions e;

-- What programs of the release before, and people, write by the views.
CREATE FUNCTION write_task() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO all_tasks (era, task_id, process_id, task_index, name, command, shell, working_directory, environment,
            timeout_minutes, max_retries, retry, on_crash, max_output_bytes, status, attempt, retry_count, started_at,
            completed_at, error_message, exit_code, output, created_at, updated_at)
        VALUES (coalesce((SELECT p.era FROM processes p WHERE p.process_id = NEW.process_id), 1), NEW.task_id, NEW.process_id,
            NEW.task_index, NEW.name, NEW.command, NEW.shell, NEW.working_directory, NEW.environment, NEW.timeout_minutes,
            NEW.max_retries, NEW.retry, NEW.on_crash, NEW.max_output_bytes, NEW.status, NEW.attempt, NEW.retry_count,
            NEW.started_at, NEW.completed_at, NEW.error_message, NEW.exit_code, NEW.output, NEW.created_at, NEW.updated_at);
        RETURN NEW;
    END IF;
    UPDATE all_tasks t
    SET task_id = NEW.task_id, process_id = NEW.process_id, task_index = NEW.task_index, name = NEW.name,
        command = NEW.command, shell = NEW.shell, working_directory = NEW.working_directory, environment = NEW.environment,
        timeout_minutes = NEW.timeout_minutes, max_retries = NEW.max_retries, retry = NEW.retry, on_crash = NEW.on_crash,
        max_output_bytes = NEW.max_output_bytes, status = NEW.status, attempt = NEW.attempt, retry_count = NEW.retry_count,
        started_at = NEW.started_at, completed_at = NEW.completed_at, error_message = NEW.error_message,
        exit_code = NEW.exit_code, created_at = NEW.created_at, updated_at = NEW.updated_at,
        output = CASE WHEN NEW.output IS DISTINCT FROM OLD.output THEN NEW.output ELSE t.output END,
        output_attempt = CASE WHEN NEW.output IS NOT DISTINCT FROM OLD.output THEN t.output_attempt END
    WHERE t.era = OLD.era AND t.process_id = OLD.process_id AND t.task_index = OLD.task_index;
    RETURN CASE WHEN FOUND THEN NEW END;
END
$function$;
CREATE TRIGGER write_task INSTEAD OF INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION write_task();

CREATE FUNCTION write_execution() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
DECLARE
    home integer;
BEGIN
    IF TG_OP = 'INSERT' THEN
        home := coalesce((SELECT p.era FROM processes p WHERE p.process_id = NEW.process_id), 1);
        INSERT INTO executions (era, process_id, task_index, attempt, node_id, command, outcome, exit_code, signal, started_at,
            completed_at, duration_ms, cpu_ms, peak_memory_bytes, output, output_bytes, error_message, context_values)
        VALUES (home, NEW.process_id, NEW.task_index, NEW.attempt, NEW.node_id, NEW.command, NEW.outcome, NEW.exit_code,
            NEW.signal, NEW.started_at, NEW.completed_at, NEW.duration_ms, NEW.cpu_ms, NEW.peak_memory_bytes,
            CASE WHEN octet_length(NEW.output) <= 1024 THEN NEW.output END, NEW.output_bytes, NEW.error_message,
            NEW.context_values)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            -- By this a node of the release before finds that its result was recorded although the answer was lost. What it puts
            -- into the trail in place of a result has no command, and is to be passed over.
            IF NEW.command IS NOT NULL THEN
                RAISE unique_violation USING MESSAGE = 'duplicate key value violates unique constraint "task_executions_pkey"',
                    TABLE = 'task_executions', CONSTRAINT = 'task_executions_pkey';
            END IF;
            RETURN NULL;
        END IF;
        IF octet_length(NEW.output) > 1024 THEN
            INSERT INTO outputs (era, process_id, task_index, attempt, output)
            VALUES (home, NEW.process_id, NEW.task_index, NEW.attempt, NEW.output);
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' OR NEW.output IS DISTINCT FROM OLD.output THEN
        DELETE FROM outputs o WHERE o.era = OLD.era AND o.process_id = OLD.process_id AND o.task_index = OLD.task_index
            AND o.attempt = OLD.attempt;
    END IF;
    IF TG_OP = 'DELETE' THEN
        DELETE FROM executions e WHERE e.era = OLD.era AND e.process_id = OLD.process_id AND e.task_index = OLD.task_index
            AND e.attempt = OLD.attempt;
        RETURN CASE WHEN FOUND THEN OLD END;
    END IF;
    IF (NEW.process_id, NEW.task_index, NEW.attempt) <> (OLD.process_id, OLD.task_index, OLD.attempt) THEN
        UPDATE outputs o SET process_id = NEW.process_id, task_index = NEW.task_index, attempt = NEW.attempt
        WHERE o.era = OLD.era AND o.process_id = OLD.process_id AND o.task_index = OLD.task_index AND o.attempt = OLD.attempt;
    END IF;
    UPDATE executions e
    SET process_id = NEW.process_id, task_index = NEW.task_index, attempt = NEW.attempt, node_id = NEW.node_id,
        command = NEW.command, outcome = NEW.outcome, exit_code = NEW.exit_code, signal = NEW.signal,
        started_at = NEW.started_at, completed_at = NEW.completed_at, duration_ms = NEW.duration_ms, cpu_ms = NEW.cpu_ms,
        peak_memory_bytes = NEW.peak_memory_bytes, output_bytes = NEW.output_bytes, error_message = NEW.error_message,
        context_values = NEW.context_values,
        output = CASE WHEN NEW.output IS DISTINCT FROM OLD.output THEN NEW.output ELSE e.output END
    WHERE e.era = OLD.era AND e.process_id = OLD.process_id AND e.task_index = OLD.task_index AND e.attempt = OLD.attempt;
    RETURN CASE WHEN FOUND THEN NEW END;
END
$function$;
CREATE TRIGGER write_execution INSTEAD OF INSERT OR UPDATE OR DELETE ON task_executions
    FOR EACH ROW EXECUTE FUNCTION write_execution();

-- As in the eleventh migration, but for the era.
CREATE OR REPLACE FUNCTION start_processes(
    process_type  text,
    inputs        jsonb[],
    process_ids   text[],
    start_at      timestamptz,
    priority      integer,
    notify        boolean,
    is_granted    boolean
) RETURNS SETOF text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    kind      process_types%ROWTYPE;
    bad       record;
    wanted    jsonb[];  -- the inputs in their normal form, counted from 1
    ids       text[];   -- of the same places: the caller's own, then those made here
    candidate text[];
    fresh     text[];
    inserted  text[] := '{}';
    how_many  integer := coalesce(cardinality(inputs), 0);
    weight    integer := coalesce(priority, 0);
    newest    integer;
BEGIN
    -- No era is closed from here to the end of the transaction. The sequence tells what is, whatever the transaction sees.
    LOCK TABLE open_tasks IN ROW EXCLUSIVE MODE;
    SELECT last_value INTO newest FROM newest_era;
    SELECT * INTO kind FROM process_types WHERE name = start_processes.process_type;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown process type "%"', start_processes.process_type
            USING ERRCODE = 'PO001', HINT = 'register it first' || CASE WHEN is_granted THEN '' ELSE '; known are: ' ||
                coalesce((SELECT string_agg(name, ', ' ORDER BY name) FROM
                    (SELECT name FROM process_types ORDER BY name LIMIT 20) AS known), 'none') END;
    END IF;
    IF array_ndims(inputs) > 1 OR array_ndims(process_ids) > 1 THEN
        RAISE EXCEPTION 'inputs and process_ids are lists, not arrays of arrays' USING ERRCODE = 'PO002',
            HINT = 'pass one-dimensional arrays';
    END IF;
    IF process_ids IS NOT NULL AND cardinality(process_ids) <> how_many THEN
        RAISE EXCEPTION '% inputs but % process ids', how_many, cardinality(process_ids)
            USING ERRCODE = 'PO005', HINT = 'give one id for each input, or none at all';
    END IF;
    IF start_at NOT BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-30 00:00:00+00' THEN
        RAISE EXCEPTION 'invalid start time %', start_at
            USING ERRCODE = 'PO006', HINT = 'give a time before the year 10000, or null for now';
    END IF;

    SELECT n, what INTO bad FROM (
        SELECT i.n, input_problem(i.input) AS what
        FROM unnest(inputs) WITH ORDINALITY AS i (input, n)
    ) AS checked WHERE what IS NOT NULL ORDER BY n LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'invalid input%: %', CASE WHEN how_many > 1 THEN ' number ' || bad.n ELSE '' END, bad.what
            USING ERRCODE = 'PO002',
                HINT = 'input is {"input_file", "output_dir", "user_id", "config": {}, "metadata": {}}';
    END IF;

    SELECT array_agg(normal_input(i.input) ORDER BY i.n) INTO wanted
    FROM unnest(inputs) WITH ORDINALITY AS i (input, n);
    SELECT i.n, string_agg('${' || needed || '}', ', ' ORDER BY needed) AS what INTO bad
    FROM unnest(wanted) WITH ORDINALITY AS i (input, n), unnest(kind.required_input) AS needed
    WHERE CASE
        WHEN needed LIKE 'config.%' THEN i.input -> 'config' ->> substr(needed, 8)
        WHEN needed LIKE 'metadata.%' THEN i.input -> 'metadata' ->> substr(needed, 10)
        ELSE i.input ->> needed
    END IS NULL
    GROUP BY i.n ORDER BY i.n LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'input% lacks %, which process type "%" needs',
            CASE WHEN how_many > 1 THEN ' number ' || bad.n ELSE '' END, bad.what, kind.name
            USING ERRCODE = 'PO003', HINT = 'add it to the input, or give the variable a default: ${name:-default}';
    END IF;

    -- With escapes of its own: what a caller has set for backslashes in strings changes nothing.
    SELECT p.id INTO bad FROM unnest(process_ids) AS p (id)
    WHERE char_length(p.id) NOT BETWEEN 1 AND 255 OR p.id COLLATE "C" ~ (E'[\\u0001-\\u001f\\u007f-\\u009f]'
        '|^[ \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]'
        '|[ \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]$') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'invalid process id %', quote_literal(left(bad.id, 300))
            USING ERRCODE = 'PO005', HINT = 'an id has 1 to 255 characters, none of them a control character, '
                'and no white space at its ends';
    END IF;

    SELECT coalesce(array_agg(i.id ORDER BY i.n), array_fill(NULL::text, ARRAY[how_many])) INTO ids
    FROM unnest(process_ids) WITH ORDINALITY AS i (id, n);

    -- Those with an id of the caller's own; in one order everywhere, so that two calls cannot wait for each other.
    WITH new_processes AS (
        INSERT INTO processes (process_id, process_type, total_tasks, priority, input_data, era)
        SELECT i.id, kind.name, jsonb_array_length(kind.tasks), weight, i.input, newest
        FROM unnest(ids, wanted) AS i (id, input)
        WHERE i.id IS NOT NULL
        ORDER BY i.id COLLATE "C"
        ON CONFLICT (process_id) DO NOTHING
        RETURNING process_id
    )
    SELECT coalesce(array_agg(process_id), '{}') INTO inserted FROM new_processes;

    SELECT p.process_id, p.process_type INTO bad
    FROM unnest(ids, wanted) AS i (id, input) JOIN processes p ON p.process_id = i.id
    WHERE p.process_type <> kind.name OR normal_input(p.input_data) <> i.input
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'process id "%" is taken by a process %', bad.process_id,
            CASE WHEN is_granted AND bad.process_type <> kind.name THEN 'of another type'
                ELSE 'of type "' || bad.process_type || '" with other input' END
            USING ERRCODE = 'PO004', HINT = 'choose another id; the same id with the same type and input '
                'gives back the process that is there';
    END IF;

    -- The others get an id from the type's name and a number, the next one where somebody has taken that by hand.
    WHILE array_position(ids, NULL) IS NOT NULL LOOP
        SELECT array_agg(CASE WHEN i.id IS NULL THEN kind.name || '-' || nextval('process_number') END ORDER BY i.n)
        INTO candidate FROM unnest(ids) WITH ORDINALITY AS i (id, n);
        WITH new_processes AS (
            INSERT INTO processes (process_id, process_type, total_tasks, priority, input_data, era)
            SELECT i.id, kind.name, jsonb_array_length(kind.tasks), weight, i.input, newest
            FROM unnest(candidate, wanted) AS i (id, input)
            WHERE i.id IS NOT NULL
            ORDER BY i.id COLLATE "C"
            ON CONFLICT (process_id) DO NOTHING
            RETURNING process_id
        )
        SELECT coalesce(array_agg(process_id), '{}') INTO fresh FROM new_processes;
        inserted := inserted || fresh;
        SELECT array_agg(coalesce(i.id, f.id) ORDER BY i.n) INTO ids
        FROM unnest(ids, candidate) WITH ORDINALITY AS i (id, made, n) LEFT JOIN unnest(fresh) AS f (id) ON f.id = i.made;
    END LOOP;

    INSERT INTO open_tasks (era, task_id, process_id, task_index, name, command, shell, working_directory, environment,
        timeout_minutes, max_retries, retry, on_crash, max_output_bytes)
    SELECT newest, id || ':' || t.task_index, id, t.task_index, t.name, t.command, t.shell, t.working_directory, t.environment,
        t.timeout_minutes, t.max_retries, t.retry, t.on_crash, t.max_output_bytes
    FROM unnest(inserted) AS id, jsonb_to_recordset(kind.tasks) AS t (
        task_index integer, name text, command text, shell boolean, working_directory text, environment jsonb,
        timeout_minutes double precision, max_retries integer, retry jsonb, on_crash text,
        max_output_bytes bigint);

    -- Those that are due at once keep the order in which they were given: a microsecond apart, none in the future. By the
    -- statement's time, since one transaction may start them in parts, as `start --inputs` does.
    INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, priority, state, held_by, era)
    SELECT kind.name, id, coalesce(start_at, statement_timestamp() - (how_many - place.n) * interval '1 microsecond'), weight,
        CASE WHEN start_at > now() THEN 'SCHEDULED' WHEN kind.paused THEN 'HELD' ELSE 'READY' END,
        CASE WHEN kind.paused AND coalesce(start_at <= now(), true) THEN 'pause:' || kind.name END,
        newest
    FROM unnest(inserted) AS id
    JOIN (SELECT i.id, min(i.n) AS n FROM unnest(ids) WITH ORDINALITY AS i (id, n) GROUP BY i.id) AS place USING (id);

    IF coalesce(notify, true) AND cardinality(inserted) > 0 AND coalesce(start_at <= now(), true) AND NOT kind.paused THEN
        PERFORM wake_nodes(weight);
    END IF;
    RETURN QUERY SELECT unnest(ids);
END
$function$;

-- The rest as in the twelfth, and missing_variables in the eighth, but for the era.
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
        RETURNING p.process_id, p.era, p.current_task_index
    ), task AS (
        UPDATE open_tasks t
        SET status = 'CANCELLED', completed_at = now(), updated_at = now()
        FROM process
        WHERE t.era = process.era AND t.process_id = process.process_id AND t.task_index >= process.current_task_index
            AND t.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED', 'SKIPPED')
    )
    SELECT process_id FROM process
$function$;

CREATE OR REPLACE FUNCTION context_before(process_id text, from_index integer, context jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    gone text[];
    home integer := (SELECT p.era FROM processes p WHERE p.process_id = context_before.process_id);
BEGIN
    IF from_index <= 0 OR coalesce(context, '{}') = '{}' THEN
        RETURN '{}';
    END IF;
    gone := ARRAY(
        SELECT DISTINCT k.key FROM executions e CROSS JOIN LATERAL jsonb_object_keys(e.context_values) AS k (key)
        WHERE e.era = home AND e.process_id = context_before.process_id AND e.task_index >= from_index AND e.context_values IS NOT NULL
    );
    RETURN (context - gone) || coalesce((
        SELECT jsonb_object_agg(v.key, v.value ORDER BY latest.task_index)
        FROM (
            SELECT DISTINCT ON (e.task_index) e.task_index, e.context_values
            FROM executions e
            JOIN all_tasks t ON t.era = home AND t.process_id = e.process_id AND t.task_index = e.task_index AND t.status = 'COMPLETED'
            WHERE e.era = home AND e.process_id = context_before.process_id AND e.task_index < from_index AND e.outcome = 'SUCCEEDED'
            ORDER BY e.task_index, e.attempt DESC
        ) AS latest
        CROSS JOIN LATERAL jsonb_each(latest.context_values) AS v
        WHERE v.key = ANY (gone)
    ), '{}');
END
$function$;

CREATE OR REPLACE FUNCTION missing_variables(process_id text, from_index integer, input jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $function$
    SELECT string_agg(DISTINCT '${' || found.name || '}', ', ' ORDER BY '${' || found.name || '}')
    FROM processes p
    JOIN all_tasks t ON t.era = p.era AND t.process_id = p.process_id
    CROSS JOIN LATERAL (
        SELECT t.command AS template
        UNION ALL SELECT t.working_directory
        UNION ALL SELECT pair.value FROM jsonb_each_text(t.environment) AS pair
    ) AS texts
    CROSS JOIN LATERAL (
        SELECT match[1] AS name FROM regexp_matches(replace(texts.template, '$${', ''), '\$\{([^}]*)\}', 'g') AS match
    ) AS found
    WHERE p.process_id = missing_variables.process_id AND t.task_index >= missing_variables.from_index
        AND position(':-' IN found.name) = 0
        -- As `split_default` in src/model/template/parse.rs: in a key, a dash before a letter begins no default.
        AND found.name !~ '^(input_file|output_dir|user_id)-'
        AND found.name !~ '^(config|metadata)\..+-(?![A-Za-z_]|[^\x01-\x7f])'
        AND CASE
            WHEN found.name LIKE 'config.%' THEN missing_variables.input -> 'config' ->> substr(found.name, 8)
            WHEN found.name LIKE 'metadata.%' THEN missing_variables.input -> 'metadata' ->> substr(found.name, 10)
            WHEN found.name IN ('input_file', 'output_dir', 'user_id') THEN missing_variables.input ->> found.name
            ELSE ''
        END IS NULL
$function$;

CREATE OR REPLACE FUNCTION plan_retries(
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
                (SELECT string_agg(t.name, ', ' ORDER BY t.task_index) FROM all_tasks t WHERE t.era = f.era AND t.process_id = f.id)
        END,
        f.from_index, f.input
    FROM (
        SELECT w.n, w.id, p.era, p.status, t.task_index AS from_index, t.name AS from_name, i.input, m.missing, s.skipped,
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
            SELECT t.task_index, t.name FROM all_tasks t
            WHERE t.era = p.era AND t.process_id = p.process_id AND CASE
                WHEN from_task IS NULL THEN t.task_index = p.current_task_index
                ELSE t.name = from_task OR (t.task_index + 1)::text = from_task
            END
            -- A task that is named like another one's number is the one that is meant.
            ORDER BY t.name = from_task DESC
            LIMIT 1
        ) AS t ON true
        LEFT JOIN LATERAL (
            SELECT format('"%s" (%s of %s), which is %s', b.name, b.task_index + 1, p.total_tasks, b.status) AS skipped
            FROM all_tasks b
            WHERE b.era = p.era AND b.process_id = p.process_id AND b.task_index < t.task_index AND b.status NOT IN ('COMPLETED', 'SKIPPED')
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

CREATE OR REPLACE FUNCTION retry_processes(
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
    newest integer;
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

    -- As in start_processes. What runs again belongs to those that run: an era that is closed has none of them.
    LOCK TABLE open_tasks IN ROW EXCLUSIVE MODE;
    SELECT last_value INTO newest FROM newest_era;
    PERFORM move_processes(ARRAY(
        SELECT r.id FROM plan_retries(process_ids, from_task, changes, skip) AS r
        WHERE r.outcome = 'RETRIED' AND r.id = ANY (locked)
    ), newest);

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
            skipped_tasks = (SELECT count(*) FROM open_tasks t
                WHERE t.era = newest AND t.process_id = planned.id AND t.task_index < planned.from_index AND t.status <> 'COMPLETED')
        FROM planned
        WHERE planned.outcome = 'RETRIED' AND p.process_id = planned.id AND p.process_id = ANY (locked)
        RETURNING p.process_id, p.process_type, p.priority, p.status, p.current_task_index,
            planned.detail AS from_name
    ), task AS (
        UPDATE open_tasks t
        SET status = 'NOT_STARTED', retry_count = 0, started_at = NULL, completed_at = NULL, error_message = NULL,
            exit_code = NULL, output = NULL, output_attempt = NULL, updated_at = now()
        FROM process
        WHERE t.era = newest AND t.process_id = process.process_id AND t.task_index >= process.current_task_index
    ), skipped AS (
        UPDATE open_tasks t
        SET status = 'SKIPPED', completed_at = coalesce(t.completed_at, now()), updated_at = now(),
            error_message = 'skipped by a retry from task "' || process.from_name || '", it was ' || t.status
                || coalesce(': ' || t.error_message, '')
        FROM process
        WHERE t.era = newest AND t.process_id = process.process_id AND t.task_index < process.current_task_index
            AND t.status NOT IN ('COMPLETED', 'SKIPPED')
    ), queued AS (
        INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, priority, version, state, era)
        SELECT process.process_type, process.process_id, now(), process.priority, nextval('retry_version'), 'READY', newest
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

-- Rights on the tables that were are rights on what they have become.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT format('GRANT %s ON %I TO %s%s', a.privilege_type, now.name,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
        FROM (VALUES ('tasks_0', 'tasks'), ('tasks_0', 'all_tasks'), ('tasks_0', 'open_tasks'),
            ('executions_0', 'task_executions'), ('executions_0', 'executions'), ('executions_0', 'outputs'),
            ('processes', 'eras')) AS now (was, name)
        JOIN pg_class c ON c.oid = to_regclass(now.was)
        CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        WHERE a.grantee <> c.relowner
        UNION ALL
        SELECT format('GRANT %s (%I) ON %I TO %s', a.privilege_type, t.attname, now.name,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
        FROM (VALUES ('tasks_0', 'tasks'), ('executions_0', 'task_executions')) AS now (was, name)
        JOIN pg_attribute t ON t.attrelid = to_regclass(now.was)
        CROSS JOIN LATERAL aclexplode(t.attacl) AS a
        UNION ALL
        SELECT DISTINCT format(g.form, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
        FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        JOIN (VALUES ('INSERT', 'GRANT SELECT ON SEQUENCE newest_era TO %s'),
            ('DELETE', 'GRANT SELECT ON SEQUENCE newest_era TO %s'),
            ('DELETE', 'GRANT EXECUTE ON FUNCTION add_era(text), use_era(integer), close_era(integer), drop_era(integer), '
                'delete_outputs(integer) TO %s')
        ) AS g (privilege, form) ON g.privilege = a.privilege_type
        WHERE c.oid = to_regclass('tasks_0') AND a.grantee <> c.relowner
    LOOP
        EXECUTE granted.statement;
    END LOOP;
END
$$;

-- Eras 1 and 2. In a new schema there is nothing earlier.
SELECT add_era('LONG');
SELECT setval('newest_era', add_era('STARTED'));
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM processes) AND NOT EXISTS (SELECT FROM tasks_0) AND NOT EXISTS (SELECT FROM executions_0) THEN
        PERFORM close_era(0);
        UPDATE eras SET emptied_at = now() WHERE era = 0;
        PERFORM drop_era(0);
    END IF;
END
$$;
