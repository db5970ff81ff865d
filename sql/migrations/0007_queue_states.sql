-- works from: 6
--
-- The queue says of each row what it waits for, so that no look walks priorities, future starts or rows that may not run:
--
--   SCHEDULED  its time lies ahead; whoever sees it come makes the row READY (sql/promote.sql)
--   READY      it is to be claimed, the highest priority first, then by time
--   HELD       something keeps it from being claimed: `held_by` says what, 'pause:TYPE' or 'node:ID' (a reservation)
--   CLAIMED    a node has it; `picked` and `picked_by` say the same to nodes of the release before
--
-- A row whose type is paused becomes HELD when a claim meets it, not when the type is paused: pausing returns at once,
-- however much waits.
--
-- Nodes of the release before write no state. A trigger derives it from what they write, and from what is written by
-- hand; their index stays until the next release.

-- In the order in which a takeover locks them.
LOCK TABLE scheduled_tasks, nodes IN ACCESS EXCLUSIVE MODE;

-- The functions below keep this path: a temporary table of the caller's is nobody's `nodes` or `process_types`.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE DOMAIN queue_state AS text CHECK (VALUE IN ('SCHEDULED', 'READY', 'HELD', 'CLAIMED'));

ALTER TABLE scheduled_tasks
    ADD COLUMN state text,
    ADD COLUMN held_by text COLLATE "C",
    -- Since when a row waits that was given back and has kept its place; null: since its execution_time.
    ADD COLUMN waiting_since timestamptz;

-- One rewrite that fills the column: an UPDATE would leave a dead row for each living one.
ALTER TABLE scheduled_tasks ALTER COLUMN state TYPE queue_state USING CASE
    WHEN picked THEN 'CLAIMED'
    WHEN reserved_for IS NOT NULL THEN 'HELD'
    WHEN execution_time > now() THEN 'SCHEDULED'
    ELSE 'READY'
END;
UPDATE scheduled_tasks SET held_by = 'node:' || reserved_for WHERE state = 'HELD';
ALTER TABLE scheduled_tasks ALTER COLUMN state SET NOT NULL;

CREATE INDEX scheduled_tasks_ready ON scheduled_tasks (priority DESC, execution_time) WHERE state = 'READY';
CREATE INDEX scheduled_tasks_scheduled ON scheduled_tasks (execution_time) WHERE state = 'SCHEDULED';
CREATE INDEX scheduled_tasks_held ON scheduled_tasks (held_by, priority DESC, execution_time) WHERE state = 'HELD';

-- For whoever writes without a state: the nodes of the release before, and people.
CREATE FUNCTION derive_queue_state() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    IF NEW.picked THEN
        NEW.state := 'CLAIMED';
        NEW.held_by := NULL;
    ELSIF NEW.reserved_for IS NOT NULL THEN
        NEW.state := 'HELD';
        NEW.held_by := 'node:' || NEW.reserved_for;
    ELSIF TG_OP = 'UPDATE' AND OLD.state = 'HELD' AND OLD.reserved_for IS NULL THEN
        NULL; -- what holds it still does
    ELSE
        NEW.state := CASE WHEN NEW.execution_time > now() THEN 'SCHEDULED' ELSE 'READY' END;
        NEW.held_by := NULL;
    END IF;
    RETURN NEW;
END
$function$;

CREATE TRIGGER derive_state_of_new BEFORE INSERT ON scheduled_tasks
    FOR EACH ROW WHEN (NEW.state IS NULL) EXECUTE FUNCTION derive_queue_state();
-- This release's own statements change the state with the rest, so that for them the condition is all there is to it.
CREATE TRIGGER derive_state_of_changed BEFORE UPDATE ON scheduled_tasks
    FOR EACH ROW WHEN (NEW.state = OLD.state AND (NEW.picked <> OLD.picked OR NEW.execution_time <> OLD.execution_time
        OR NEW.reserved_for IS DISTINCT FROM OLD.reserved_for))
    EXECUTE FUNCTION derive_queue_state();

-- A start of a higher priority than this notifies the node even while it has no room: it may have somebody yield. Nodes
-- of the release before, which do not set it, hear of every start, as they did.
ALTER TABLE nodes ADD COLUMN notify_above integer NOT NULL DEFAULT -2147483648;

-- Wakes the nodes that would claim a process of this priority at once, when the caller's transaction commits.
--
-- A notification is a hint: nodes look for themselves every second. It is not free: its commit waits for the commit of
-- every other transaction that has notified (16 sessions that start one process after the other made 235 to 331 starts
-- a second with it, 1,156 without), and a transaction that has notified can't be prepared. So
-- * none is sent while no node would use it. A node with a free executor holds an advisory lock, shared with others like
--   it; taking it alone fails then. Nobody waits for that lock: it is tried, and released by the same expression. What
--   fails once may have met somebody who tried at the same moment.
-- * while a transaction is under way that will notify others leave it to that one: a node that was woken looks again, at
--   growing intervals, and finds what they commit meanwhile. One that has been under way for more than 50 to 100 ms may
--   last for much longer: nobody relies on it. Each holds the lock of the 50 ms in which it began. If it is rolled back,
--   what others left to it is found by the next look, within a second.
--
-- With the owner's rights: whoever may start processes need not see the nodes.
CREATE FUNCTION wake_nodes(priority integer, payload text DEFAULT 'start') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
DECLARE
    -- 'POR1' and 'POW1'; store/room.rs has the first one too.
    room_class  constant integer := 1347375665;
    slice_class constant integer := 1347376945;
    schema_key  constant integer := hashtext(current_schema());
    slice       constant integer := (schema_key + (extract(epoch FROM clock_timestamp()) * 20)::bigint) % 2147483647;
    has_room    boolean := false;
BEGIN
    FOR try IN 1..2 LOOP
        has_room := CASE WHEN pg_try_advisory_lock(room_class, schema_key)
            THEN NOT pg_advisory_unlock(room_class, schema_key) ELSE true END;
        EXIT WHEN NOT has_room;
    END LOOP;
    IF NOT has_room
        AND NOT EXISTS (SELECT FROM nodes n WHERE n.state = 'RUNNING' AND n.notify_above < wake_nodes.priority)
    THEN
        RETURN;
    END IF;
    -- The one before first: whoever holds the present one's lock has to notify.
    IF (CASE WHEN pg_try_advisory_lock(slice_class, slice - 1)
            THEN pg_advisory_unlock(slice_class, slice - 1) ELSE false END)
        AND pg_try_advisory_xact_lock(slice_class, slice)
    THEN
        PERFORM pg_notify(current_schema(), payload);
    END IF;
END
$function$;

-- As in the second migration, but for the states and `notify`: with `notify => false` the nodes find the processes when
-- they look, within a second, and the caller's transaction can be prepared whatever they do.
DROP FUNCTION start_process(text, jsonb, text, timestamptz, integer);
DROP FUNCTION start_processes(text, jsonb[], text[], timestamptz, integer);

CREATE FUNCTION start_processes(
    process_type  text,
    inputs        jsonb[],
    process_ids   text[]      DEFAULT NULL,
    start_at      timestamptz DEFAULT NULL,
    priority      integer     DEFAULT 0,
    notify        boolean     DEFAULT true
) RETURNS SETOF text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    kind      process_types%ROWTYPE;
    bad       record;
    wanted    jsonb[];  -- the inputs, counted from 1
    ids       text[];   -- of the same places: the caller's own, then those made here
    candidate text[];
    fresh     text[];
    inserted  text[] := '{}';
    how_many  integer := coalesce(cardinality(inputs), 0);
    weight    integer := coalesce(priority, 0);
BEGIN
    SELECT * INTO kind FROM process_types WHERE name = start_processes.process_type;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown process type "%"', start_processes.process_type
            USING ERRCODE = 'PO001', HINT = 'register it first; known are: ' ||
                coalesce((SELECT string_agg(name, ', ' ORDER BY name) FROM
                    (SELECT name FROM process_types ORDER BY name LIMIT 20) AS known), 'none');
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

    SELECT i.n, string_agg('${' || needed || '}', ', ' ORDER BY needed) AS what INTO bad
    FROM unnest(inputs) WITH ORDINALITY AS i (input, n), unnest(kind.required_input) AS needed
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

    SELECT p.id INTO bad FROM unnest(process_ids) AS p (id)
    WHERE p.id IS NOT NULL AND (char_length(p.id) NOT BETWEEN 1 AND 255 OR p.id ~ '[[:cntrl:]]'
        OR p.id <> btrim(p.id)) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'invalid process id %', quote_literal(left(bad.id, 300))
            USING ERRCODE = 'PO005', HINT = 'an id has 1 to 255 characters, none of them a control character, '
                'and no white space at its ends';
    END IF;

    SELECT array_agg(i.input ORDER BY i.n) INTO wanted FROM unnest(inputs) WITH ORDINALITY AS i (input, n);
    SELECT coalesce(array_agg(i.id ORDER BY i.n), array_fill(NULL::text, ARRAY[how_many])) INTO ids
    FROM unnest(process_ids) WITH ORDINALITY AS i (id, n);

    -- Those with an id of the caller's own; in one order everywhere, so that two calls cannot wait for each other.
    WITH new_processes AS (
        INSERT INTO processes (process_id, process_type, total_tasks, priority, input_data)
        SELECT i.id, kind.name, jsonb_array_length(kind.tasks), weight, i.input
        FROM unnest(ids, wanted) AS i (id, input)
        WHERE i.id IS NOT NULL
        ORDER BY i.id
        ON CONFLICT (process_id) DO NOTHING
        RETURNING process_id
    )
    SELECT coalesce(array_agg(process_id), '{}') INTO inserted FROM new_processes;

    SELECT p.process_id, p.process_type INTO bad
    FROM unnest(ids, wanted) AS i (id, input) JOIN processes p ON p.process_id = i.id
    WHERE p.process_type <> kind.name OR p.input_data <> i.input
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'process id "%" is taken by a process of type "%" with other input',
            bad.process_id, bad.process_type
            USING ERRCODE = 'PO004', HINT = 'choose another id; the same id with the same type and input '
                'gives back the process that is there';
    END IF;

    -- The others get an id from the type's name and a number, the next one where somebody has taken that by hand.
    WHILE array_position(ids, NULL) IS NOT NULL LOOP
        SELECT array_agg(CASE WHEN i.id IS NULL THEN kind.name || '-' || nextval('process_number') END ORDER BY i.n)
        INTO candidate FROM unnest(ids) WITH ORDINALITY AS i (id, n);
        WITH new_processes AS (
            INSERT INTO processes (process_id, process_type, total_tasks, priority, input_data)
            SELECT i.id, kind.name, jsonb_array_length(kind.tasks), weight, i.input
            FROM unnest(candidate, wanted) AS i (id, input)
            WHERE i.id IS NOT NULL
            ON CONFLICT (process_id) DO NOTHING
            RETURNING process_id
        )
        SELECT coalesce(array_agg(process_id), '{}') INTO fresh FROM new_processes;
        inserted := inserted || fresh;
        SELECT array_agg(coalesce(i.id, f.id) ORDER BY i.n) INTO ids
        FROM unnest(ids, candidate) WITH ORDINALITY AS i (id, made, n) LEFT JOIN unnest(fresh) AS f (id) ON f.id = i.made;
    END LOOP;

    INSERT INTO tasks (task_id, process_id, task_index, name, command, shell, working_directory, environment,
        timeout_minutes, max_retries, retry, on_crash, max_output_bytes)
    SELECT id || ':' || t.task_index, id, t.task_index, t.name, t.command, t.shell, t.working_directory, t.environment,
        t.timeout_minutes, t.max_retries, t.retry, t.on_crash, t.max_output_bytes
    FROM unnest(inserted) AS id, jsonb_to_recordset(kind.tasks) AS t (
        task_index integer, name text, command text, shell boolean, working_directory text, environment jsonb,
        timeout_minutes double precision, max_retries integer, retry jsonb, on_crash text,
        max_output_bytes bigint);

    -- Those that are due at once keep the order in which they were given: a microsecond apart, none in the future.
    INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, priority, state, held_by)
    SELECT kind.name, id, coalesce(start_at, now() - (how_many - place.n) * interval '1 microsecond'), weight,
        CASE WHEN start_at > now() THEN 'SCHEDULED' WHEN kind.paused THEN 'HELD' ELSE 'READY' END,
        CASE WHEN kind.paused AND coalesce(start_at <= now(), true) THEN 'pause:' || kind.name END
    FROM unnest(inserted) AS id
    JOIN (SELECT i.id, min(i.n) AS n FROM unnest(ids) WITH ORDINALITY AS i (id, n) GROUP BY i.id) AS place USING (id);

    IF coalesce(notify, true) AND cardinality(inserted) > 0 AND coalesce(start_at <= now(), true) AND NOT kind.paused THEN
        PERFORM wake_nodes(weight);
    END IF;
    RETURN QUERY SELECT unnest(ids);
END
$function$;

CREATE FUNCTION start_process(
    process_type  text,
    input         jsonb       DEFAULT '{}',
    process_id    text        DEFAULT NULL,
    start_at      timestamptz DEFAULT NULL,
    priority      integer     DEFAULT 0,
    notify        boolean     DEFAULT true
) RETURNS text
LANGUAGE sql
SET search_path FROM CURRENT
AS $function$
    SELECT * FROM start_processes(start_process.process_type, ARRAY[start_process.input],
        ARRAY[start_process.process_id], start_process.start_at, start_process.priority,
        start_process.notify)
$function$;

-- As in the third migration, but for the state and whom it wakes.
CREATE OR REPLACE FUNCTION retry_processes(process_ids text[], from_task text DEFAULT NULL, changes jsonb DEFAULT NULL)
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
        INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, priority, version, state)
        SELECT process.process_type, process.process_id, now(), process.priority, nextval('retry_version'), 'READY'
        FROM process
    )
    SELECT planned.id,
        CASE WHEN planned.outcome = 'RETRIED' AND process.process_id IS NULL THEN 'UNFINISHED' ELSE planned.outcome END,
        coalesce(process.status, planned.status), planned.detail
    FROM planned LEFT JOIN process ON process.process_id = planned.id
    ORDER BY planned.n;

    PERFORM wake_nodes((SELECT max(p.priority) FROM processes p WHERE p.process_id = ANY (process_ids)));
END
$function$;

-- As in the third migration, but that nodes let go of what is held when they hear of it.
CREATE OR REPLACE FUNCTION set_paused(process_type text, wanted boolean, reason text) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
BEGIN
    UPDATE process_types SET paused = wanted, paused_at = CASE WHEN wanted THEN now() END, pause_reason = set_paused.reason
    WHERE name = set_paused.process_type AND paused <> wanted;
    IF FOUND THEN
        PERFORM pg_notify(current_schema(), E'\ncontrol');
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

ANALYZE scheduled_tasks;
