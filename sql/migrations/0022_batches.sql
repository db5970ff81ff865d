-- works from: 13
--
-- Batches: many processes that were started as one. A process names its batch (`processes.batch`, the twentieth migration), and
-- the limit 'batch:NAME' bounds how many of it run, pauses it (is_paused), and halts it (max 0: what has begun goes on). The row of
-- that limit is there only where there is something to say: without a row nothing is locked.
--
--   batches        one row for each: what was wanted, and how many processes are in each status
--   batch_changes  what has changed since: one row for each change of a status, written by a trigger, and one for each call that
--                  has started some. No counter is written by those who work: a thread of some node adds them up (src/engine/batches.rs)
--   batch_reasons  failures by reason, a bounded number of reasons for each batch
--
-- Counts stay when processes are pruned; a retry takes back what it undoes. Nothing here is read or written for a process
-- without a batch.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- In the order in which claims and results lock them.
LOCK TABLE scheduled_tasks, processes IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE batches (
    name          text COLLATE "C" PRIMARY KEY,
    process_type  text        NOT NULL,
    state         text        NOT NULL DEFAULT 'RUNNING'
        CHECK (state IN ('RUNNING', 'PAUSED', 'HALTED', 'COMPLETED', 'FAILED', 'CANCELLED')),
    reason        text,                 -- why it is paused or halted
    held_at       timestamptz,          -- since when
    halts_now     boolean     NOT NULL DEFAULT false, -- HALTED, and what runs is cancelled
    not_started   bigint      NOT NULL DEFAULT 0,
    in_progress   bigint      NOT NULL DEFAULT 0,
    completed     bigint      NOT NULL DEFAULT 0,
    failed        bigint      NOT NULL DEFAULT 0,
    cancelled     bigint      NOT NULL DEFAULT 0,
    -- How many it is to have, while they are started in parts of which each is committed; and when the last part was. A start
    -- of which nothing is heard for a minute has been broken off.
    announced     bigint,
    filling_at    timestamptz,
    halt          text,                 -- 'soon,fail=5%'
    -- What had ended when counting for the halt began: nothing, or at the last resume [completed, failed, cancelled].
    halt_base     bigint[]    NOT NULL DEFAULT '{0,0,0}',
    max           integer CHECK (max > 0),
    -- The process that is started when all of it has ended; its id once it was, and why it could not be.
    then_type     text,
    then_input    jsonb,
    then_id       text,
    then_problem  text,
    was_cancelled boolean     NOT NULL DEFAULT false, -- as a whole: nothing follows
    -- All of it is to be cancelled: a thread of some node goes on with that.
    cancel_reason text,
    ticks         jsonb       NOT NULL DEFAULT '[]', -- [[seconds since 1970, how many had ended], …]
    created_by    text        NOT NULL DEFAULT session_user,
    created_at    timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX batches_created ON batches (created_at, name);
-- Those that a node looks at: few.
CREATE INDEX batches_open ON batches (name)
    WHERE ended_at IS NULL OR then_type IS NOT NULL AND then_id IS NULL AND NOT was_cancelled;

-- Rows live for a fraction of a second, and are read as a whole: no index, and vacuumed often.
CREATE TABLE batch_changes (
    batch       text COLLATE "C" NOT NULL,
    was         text,    -- the status before; null: it was started
    now         text     NOT NULL,
    how_many    integer  NOT NULL DEFAULT 1,
    process_id  text,    -- of failures, and of failures that are taken back
    message     text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE batch_reasons (
    batch       text COLLATE "C" NOT NULL,
    reason      text   NOT NULL,
    how_many    bigint NOT NULL,
    example_id  text   NOT NULL,
    example     text   NOT NULL,
    PRIMARY KEY (batch, reason)
);

DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN SELECT * FROM (VALUES
        ('processes_batch', '(batch, process_id) WHERE batch IS NOT NULL'),
        ('processes_batch_ended', '(batch, completed_at, process_id) WHERE batch IS NOT NULL AND completed_at IS NOT NULL')
    ) AS v (name, definition) LOOP
        IF pg_relation_size('processes') < 32 * 1024 * 1024 THEN
            EXECUTE format('CREATE INDEX %I ON processes %s', wanted.name, wanted.definition);
        ELSE
            INSERT INTO pending_indexes VALUES (wanted.name, 'processes', 'ON processes ' || wanted.definition, NULL);
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION note_batch_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    INSERT INTO batch_changes (batch, was, now, process_id, message)
    VALUES (NEW.batch, OLD.status, NEW.status,
        CASE WHEN 'FAILED' IN (OLD.status, NEW.status) THEN NEW.process_id END,
        CASE 'FAILED' WHEN NEW.status THEN left(NEW.error_message, 300) WHEN OLD.status THEN left(OLD.error_message, 300) END);
    RETURN NULL;
END
$function$;
CREATE TRIGGER note_batch_change AFTER UPDATE OF status ON processes
    FOR EACH ROW WHEN (NEW.batch IS NOT NULL AND OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION note_batch_change();

-- Who deletes what has not ended by hand takes it from the batch, which would wait for it for ever; what has ended stays counted.
CREATE FUNCTION note_batch_deletion() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    INSERT INTO batch_changes (batch, was, now) VALUES (OLD.batch, OLD.status, 'DELETED');
    RETURN NULL;
END
$function$;
CREATE TRIGGER note_batch_deletion AFTER DELETE ON processes
    FOR EACH ROW WHEN (OLD.batch IS NOT NULL AND OLD.status IN ('NOT_STARTED', 'IN_PROGRESS')) EXECUTE FUNCTION note_batch_deletion();

-- A batch that had ended has processes again that have not: they were retried, or added.
CREATE FUNCTION reopen_batch(name text) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
BEGIN
    UPDATE batches b SET state = 'RUNNING', ended_at = NULL, reason = NULL, was_cancelled = false, ticks = '[]'
    WHERE b.name = reopen_batch.name AND b.ended_at IS NOT NULL;
    IF FOUND THEN
        PERFORM hold_batch(reopen_batch.name);
        RETURN true;
    END IF;
    RETURN false;
END
$function$;

-- start_in calls it with what it has started: makes the batch if there is none, and counts. How many were new in this transaction
-- can be asked for by current_setting.
CREATE FUNCTION note_batch_start(batch text, process_type text, how_many integer) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    its_type text;
BEGIN
    IF note_batch_start.batch IS NULL THEN
        RETURN;
    END IF;
    IF char_length(note_batch_start.batch) NOT BETWEEN 1 AND 200 OR note_batch_start.batch ~ '[[:cntrl:]]'
        OR note_batch_start.batch <> btrim(note_batch_start.batch)
    THEN
        RAISE EXCEPTION 'invalid batch name %', quote_literal(left(note_batch_start.batch, 300)) USING ERRCODE = 'PO041',
            HINT = 'the name of a batch has 1 to 200 characters, none of them a control character, and no white space at its ends';
    END IF;
    INSERT INTO batches (name, process_type) VALUES (note_batch_start.batch, note_batch_start.process_type)
    ON CONFLICT (name) DO NOTHING;
    SELECT b.process_type INTO its_type FROM batches b WHERE b.name = note_batch_start.batch;
    IF its_type <> note_batch_start.process_type THEN
        RAISE EXCEPTION 'batch "%" is of process type "%", not "%"', note_batch_start.batch, its_type, note_batch_start.process_type
            USING ERRCODE = 'PO042', HINT = 'all processes of a batch are of one type; choose another name for this batch';
    END IF;
    PERFORM set_config('process_orchestrator.batch_new', (how_many
        + coalesce(nullif(current_setting('process_orchestrator.batch_new', true), ''), '0')::bigint)::text, true);
    IF how_many > 0 THEN
        INSERT INTO batch_changes (batch, now, how_many) VALUES (note_batch_start.batch, 'NOT_STARTED', how_many);
        PERFORM reopen_batch(note_batch_start.batch);
    END IF;
END
$function$;

DO $$
DECLARE
    anchor constant text := E'    INSERT INTO open_tasks (era';
    body   text;
BEGIN
    -- As the texts below are written, whatever the session has names quoted for.
    PERFORM set_config('quote_all_identifiers', 'off', true);
    SELECT pg_get_functiondef(p.oid) INTO body FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = current_schema() AND p.proname = 'start_in';
    IF body IS NULL OR position(anchor IN body) = 0 THEN
        RAISE EXCEPTION 'start_in is not as it was left: it lacks %', anchor
            USING HINT = 'it was replaced by hand: restore it as the migrations make it, then migrate again';
    END IF;
    EXECUTE replace(body, anchor, E'    PERFORM note_batch_start(start_in.batch, kind.name, cardinality(inserted)) WHERE start_in.batch IS NOT NULL;\n' || anchor);
END
$$;

-- The max of a batch is set by its limit's name as those of others are; 0 halts it.
DO $$
DECLARE
    anchor constant text := E'    UPDATE limits l\n    SET max = coalesce(set_limit.max';
    body   text := pg_get_functiondef('set_limit(text, integer, text)'::regprocedure);
BEGIN
    IF position(anchor IN body) = 0 THEN
        RAISE EXCEPTION 'set_limit is not as it was left: it lacks %', anchor
            USING HINT = 'it was replaced by hand: restore it as the migrations make it, then migrate again';
    END IF;
    EXECUTE replace(body, anchor, E'    IF set_batch_max(set_limit.name, set_limit.max) THEN\n        RETURN set_limit.max;\n    END IF;\n' || anchor);
END
$$;
CREATE FUNCTION set_batch_max(limit_name text, max integer) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    batch  text := replace(replace(substr(set_batch_max.limit_name, 7), '%3D', '='), '%25', '%');
    why    text := 'the max of its limit was set to 0';
BEGIN
    IF NOT starts_with(set_batch_max.limit_name, 'batch:') THEN
        RETURN false;
    END IF;
    IF set_batch_max.max = 0 AND EXISTS (SELECT FROM batches b WHERE b.name = batch) THEN
        PERFORM halt_batch(batch, why);
        RETURN true;
    END IF;
    UPDATE batches b SET max = set_batch_max.max WHERE b.name = batch;
    IF FOUND THEN
        PERFORM hold_batch(batch);
        -- What was stopped by a max goes on by one.
        PERFORM resume_batch(b.name) FROM batches b WHERE b.name = batch AND b.state = 'HALTED' AND b.reason = why;
        RETURN true;
    END IF;
    RETURN false;
END
$function$;

-- What is wrong with a condition under which a batch halts, or null. The program says it in better words.
CREATE FUNCTION halt_problem(halt text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
    SELECT CASE WHEN halt !~ '^(now|soon),(fail|success|done)=([1-9][0-9]{0,8}|([1-9][0-9]?|100)%)$'
        THEN 'invalid halt ' || quote_literal(left(halt, 300)) END
$function$;

-- Makes a batch, or changes what is given (not null) of one that is there; '' takes a halt away, 0 a max. Gives whether it is new.
CREATE FUNCTION set_batch(
    name          text,
    process_type  text,
    halt          text    DEFAULT NULL,
    max           integer DEFAULT NULL,
    then_type     text    DEFAULT NULL,
    then_input    jsonb   DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    was_there boolean := EXISTS (SELECT FROM batches b WHERE b.name = set_batch.name);
BEGIN
    IF halt_problem(nullif(set_batch.halt, '')) IS NOT NULL THEN
        RAISE EXCEPTION '%', halt_problem(set_batch.halt) USING ERRCODE = 'PO043',
            HINT = 'write now or soon, a comma, fail, success or done, and =N or =N%, such as soon,fail=5% or now,fail=1';
    END IF;
    IF set_batch.max < 0 THEN
        RAISE EXCEPTION 'invalid max % of a batch', set_batch.max USING ERRCODE = 'PO021',
            HINT = 'give a whole number from 1 on, or 0 for no bound';
    END IF;
    IF set_batch.then_type IS NOT NULL AND NOT EXISTS (SELECT FROM process_types k WHERE k.name = set_batch.then_type) THEN
        RAISE EXCEPTION 'unknown process type "%"', set_batch.then_type USING ERRCODE = 'PO001',
            HINT = 'register it first: it is what "then" is to start';
    END IF;
    IF set_batch.then_input IS NOT NULL AND input_problem(set_batch.then_input) IS NOT NULL THEN
        RAISE EXCEPTION 'invalid input of "then": %', input_problem(set_batch.then_input) USING ERRCODE = 'PO002',
            HINT = 'input is {"input_file", "output_dir", "user_id", "config": {}, "metadata": {}}';
    END IF;
    PERFORM note_batch_start(set_batch.name, set_batch.process_type, 0);
    UPDATE batches b
    SET halt = CASE WHEN set_batch.halt IS NULL THEN b.halt ELSE nullif(set_batch.halt, '') END,
        max = CASE WHEN set_batch.max IS NULL THEN b.max ELSE nullif(set_batch.max, 0) END,
        then_type = coalesce(set_batch.then_type, b.then_type), then_input = coalesce(set_batch.then_input, b.then_input)
    WHERE b.name = set_batch.name AND (
        nullif(set_batch.halt, '') IS DISTINCT FROM b.halt AND set_batch.halt IS NOT NULL
        OR nullif(set_batch.max, 0) IS DISTINCT FROM b.max AND set_batch.max IS NOT NULL
        OR set_batch.then_type <> coalesce(b.then_type, '') OR set_batch.then_input IS DISTINCT FROM b.then_input AND set_batch.then_input IS NOT NULL);
    IF FOUND AND set_batch.max IS NOT NULL THEN
        PERFORM hold_batch(set_batch.name);
    END IF;
    RETURN NOT was_there;
END
$function$;

-- Lets those of a batch go on that have begun, and were held by its pause: they have their slots, and need no room.
CREATE FUNCTION release_begun_of_batch(name text) RETURNS integer
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    released integer;
BEGIN
    UPDATE scheduled_tasks s
    SET state = CASE WHEN s.execution_time > now() THEN 'SCHEDULED' ELSE 'READY' END, held_by = NULL,
        waiting_since = greatest(s.execution_time, statement_timestamp())
    FROM batches b JOIN limit_slots x ON x.limit_name = limit_name('batch', b.name)
    WHERE b.name = release_begun_of_batch.name AND b.state <> 'PAUSED' AND s.task_instance = ANY (ARRAY[x.process_id])
        AND s.state = 'HELD' AND s.held_by = 'limit:' || x.limit_name;
    GET DIAGNOSTICS released = ROW_COUNT;
    RETURN released;
END
$function$;

-- Makes the limit of a batch what its row says, and lets go what now may run. The caller has just written the row.
CREATE FUNCTION hold_batch(name text) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    batch    batches%ROWTYPE;
    its_name text := limit_name('batch', hold_batch.name);
    released integer;
BEGIN
    SELECT * INTO batch FROM batches b WHERE b.name = hold_batch.name;
    IF batch.state IN ('PAUSED', 'HALTED') OR batch.cancel_reason IS NOT NULL OR batch.max IS NOT NULL AND batch.ended_at IS NULL THEN
        INSERT INTO limits AS l (name, max, declared_max, is_set, is_paused, changed_by)
        VALUES (its_name, CASE WHEN batch.state = 'HALTED' OR batch.cancel_reason IS NOT NULL THEN 0 ELSE batch.max END, batch.max,
            batch.state = 'HALTED' OR batch.cancel_reason IS NOT NULL, batch.state = 'PAUSED', session_user)
        ON CONFLICT (name) DO UPDATE SET max = excluded.max, declared_max = excluded.declared_max, is_set = excluded.is_set,
            is_paused = excluded.is_paused, changed_by = excluded.changed_by, changed_at = now();
    ELSE
        -- Without a row there is no bound.
        DELETE FROM limits l WHERE l.name = its_name;
    END IF;
    released := release_begun_of_batch(hold_batch.name) + release_where_room(1000000, its_name);
    IF released > 0 THEN
        PERFORM wake_nodes(2147483647);
    END IF;
    IF batch.state = 'PAUSED' THEN
        PERFORM pg_notify(current_schema(), E'\ncontrol');
    END IF;
END
$function$;

-- The batch of a name, whose row is locked from here on; an error where there is none.
CREATE FUNCTION locked_batch(name text) RETURNS batches
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    batch batches%ROWTYPE;
BEGIN
    SELECT * INTO batch FROM batches b WHERE b.name = locked_batch.name FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no batch has the name %', coalesce(quote_literal(left(locked_batch.name, 300)), 'null')
            USING ERRCODE = 'PO040', HINT = 'see them in the table batches';
    END IF;
    RETURN batch;
END
$function$;

-- Starts processes of a batch and gives how many are new. Lines without an id have one by what they work on: the name and a
-- fingerprint of the input, with a number where the same input comes again; so the same call again starts only what is missing.
CREATE FUNCTION start_batch(
    name          text,
    process_type  text,
    inputs        jsonb[],
    process_ids   text[]      DEFAULT NULL,
    halt          text        DEFAULT NULL,
    max           integer     DEFAULT NULL,
    then_type     text        DEFAULT NULL,
    then_input    jsonb       DEFAULT NULL,
    start_at      timestamptz DEFAULT NULL,
    priority      integer     DEFAULT 0
) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    ids text[];
BEGIN
    IF process_ids IS NOT NULL AND cardinality(process_ids) <> cardinality(inputs) THEN
        RAISE EXCEPTION '% inputs but % process ids', cardinality(inputs), cardinality(process_ids)
            USING ERRCODE = 'PO005', HINT = 'give one id for each input, null where it has none, or none at all';
    END IF;
    PERFORM set_batch(start_batch.name, start_batch.process_type, start_batch.halt, start_batch.max, start_batch.then_type,
        start_batch.then_input);
    SELECT array_agg(coalesce(i.id, start_batch.name || '-' || left(i.print, 12) || CASE WHEN i.times > 1 THEN '-' || i.times ELSE '' END)
        ORDER BY i.n)
    INTO ids FROM (
        SELECT w.n, w.id, w.print, row_number() OVER (PARTITION BY w.id IS NULL, w.print ORDER BY w.n) AS times FROM (
            SELECT l.n, l.id, CASE WHEN input_problem(l.input) IS NULL THEN input_print(normal_input(l.input)) END AS print
            FROM unnest(start_batch.inputs, start_batch.process_ids) WITH ORDINALITY AS l (input, id, n)
        ) AS w
    ) AS i;
    PERFORM set_config('process_orchestrator.batch_new', '0', true);
    PERFORM FROM start_in(start_batch.process_type, start_batch.inputs, ids, start_batch.start_at, start_batch.priority, true, false,
        start_batch.name);
    RETURN current_setting('process_orchestrator.batch_new')::bigint;
END
$function$;

-- The fingerprint of an input in its normal form, written as the program writes it: keys in the order of their bytes, no white space.
CREATE FUNCTION input_print(input jsonb) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
    SELECT encode(sha256(convert_to('{' || coalesce(string_agg(to_json(e.key)::text || ':' || CASE jsonb_typeof(e.value)
        WHEN 'object' THEN (SELECT '{' || string_agg(to_json(k)::text || ':' || v::text, ',' ORDER BY k COLLATE "C") || '}'
            FROM jsonb_each(e.value) AS pair (k, v))
        ELSE e.value::text END, ',' ORDER BY e.key COLLATE "C"), '') || '}', 'UTF8')), 'hex')
    FROM jsonb_each(input) AS e (key, value)
$function$;

-- Holds a batch back: nothing of it is claimed, and what runs stops before its next task. Gives the state it is in.
CREATE FUNCTION pause_batch(name text, reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    batch batches%ROWTYPE := locked_batch(pause_batch.name);
BEGIN
    IF batch.state = 'RUNNING' THEN
        UPDATE batches b SET state = 'PAUSED', reason = pause_batch.reason, held_at = now() WHERE b.name = pause_batch.name;
        PERFORM hold_batch(pause_batch.name);
        RETURN 'PAUSED';
    END IF;
    RETURN batch.state;
END
$function$;

-- Lets a batch go on that is paused or halted. For its halt, counting begins anew: what has ended until now is not counted again.
CREATE FUNCTION resume_batch(name text) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    batch batches%ROWTYPE := locked_batch(resume_batch.name);
BEGIN
    IF batch.state IN ('PAUSED', 'HALTED') AND batch.cancel_reason IS NULL THEN
        UPDATE batches b SET state = 'RUNNING', reason = NULL, held_at = NULL, halts_now = false, halt_base = CASE WHEN b.state = 'HALTED' THEN (
            SELECT ARRAY[b.completed + coalesce(sum(c.how_many) FILTER (WHERE c.now = 'COMPLETED'), 0)
                    - coalesce(sum(c.how_many) FILTER (WHERE c.was = 'COMPLETED'), 0),
                b.failed + coalesce(sum(c.how_many) FILTER (WHERE c.now = 'FAILED'), 0)
                    - coalesce(sum(c.how_many) FILTER (WHERE c.was = 'FAILED'), 0),
                b.cancelled + coalesce(sum(c.how_many) FILTER (WHERE c.now = 'CANCELLED'), 0)
                    - coalesce(sum(c.how_many) FILTER (WHERE c.was = 'CANCELLED'), 0)]
            FROM batch_changes c WHERE c.batch = b.name
        ) ELSE b.halt_base END
        WHERE b.name = resume_batch.name;
        PERFORM hold_batch(resume_batch.name);
        RETURN 'RUNNING';
    END IF;
    RETURN batch.state;
END
$function$;

-- Halts a batch: nothing more of it starts; what has begun goes on, or with `at_once` is cancelled by nodes. Gives whether it ran.
CREATE FUNCTION halt_batch(name text, reason text, at_once boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
BEGIN
    UPDATE batches b SET state = 'HALTED', reason = halt_batch.reason, held_at = now(), halts_now = halt_batch.at_once
    WHERE b.name = halt_batch.name AND b.state = 'RUNNING';
    IF FOUND THEN
        PERFORM hold_batch(halt_batch.name);
        RETURN true;
    END IF;
    RETURN false;
END
$function$;

-- Cancels whatever of a batch has not ended. Nothing more of it starts from now on; its processes are cancelled `at_most` at once, and
-- what is left by nodes, or by calling it again. Gives how many were cancelled or have been told to end.
CREATE FUNCTION cancel_batch(name text, reason text DEFAULT NULL, cancelled_by text DEFAULT NULL, at_most integer DEFAULT 1000)
RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    batch batches%ROWTYPE := locked_batch(cancel_batch.name);
BEGIN
    IF batch.cancel_reason IS NULL THEN
        IF batch.ended_at IS NOT NULL THEN
            RETURN 0;
        END IF;
        UPDATE batches b SET cancel_reason = 'batch ' || quote_ident(cancel_batch.name) || ' cancelled'
                || coalesce(' by ' || nullif(btrim(cancel_batch.cancelled_by), ''), '')
                || coalesce(': ' || nullif(btrim(cancel_batch.reason), ''), '')
        WHERE b.name = cancel_batch.name;
        PERFORM hold_batch(cancel_batch.name);
    END IF;
    RETURN cancel_of_batch(cancel_batch.name, at_most);
END
$function$;

-- Some of those that are to be cancelled and were not told yet.
CREATE FUNCTION cancel_of_batch(name text, at_most integer) RETURNS bigint
LANGUAGE sql
SET search_path FROM CURRENT
AS $function$
    SELECT count(*) FROM batches b CROSS JOIN LATERAL cancel_processes(ARRAY(
        SELECT s.task_instance FROM processes p JOIN scheduled_tasks s ON s.task_instance = ANY (ARRAY[p.process_id])
        WHERE p.batch = b.name AND p.completed_at IS NULL AND s.cancel_requested_at IS NULL
        LIMIT cancel_of_batch.at_most
    ), b.cancel_reason) AS c
    WHERE b.name = cancel_of_batch.name AND b.cancel_reason IS NOT NULL AND c.outcome IN ('CANCELLED', 'REQUESTED')
$function$;

-- Cancels what of a batch has begun: what a halt `now` does.
CREATE FUNCTION cancel_running_of_batch(name text, reason text) RETURNS bigint
LANGUAGE sql
SET search_path FROM CURRENT
AS $function$
    SELECT count(*) FROM cancel_processes(ARRAY(
        SELECT s.task_instance FROM limit_slots x JOIN scheduled_tasks s ON s.task_instance = x.process_id
        WHERE x.limit_name = limit_name('batch', cancel_running_of_batch.name) AND s.cancel_requested_at IS NULL
    ), cancel_running_of_batch.reason) AS c
    WHERE c.outcome IN ('CANCELLED', 'REQUESTED')
$function$;

-- Has failed processes of a batch go again, from the task that failed: `at_most` of those behind an id. Gives the last id it came
-- to (null: there are no more), how many go again, and how many can't.
CREATE FUNCTION retry_batch(
    name text, after text DEFAULT '', at_most integer DEFAULT 1000, OUT last_id text, OUT retried bigint, OUT refused bigint
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    ids   text[];
    batch batches%ROWTYPE;
BEGIN
    SELECT * INTO batch FROM batches b WHERE b.name = retry_batch.name;
    IF NOT FOUND THEN
        PERFORM locked_batch(retry_batch.name);
    END IF;
    SELECT array_agg(f.process_id ORDER BY f.process_id) INTO ids FROM (
        SELECT p.process_id FROM processes p
        WHERE p.batch = retry_batch.name AND p.status = 'FAILED' AND p.process_id > retry_batch.after
        ORDER BY p.process_id LIMIT at_most
    ) AS f;
    last_id := ids[cardinality(ids)];
    SELECT count(*) FILTER (WHERE r.outcome = 'RETRIED'), count(*) FILTER (WHERE r.outcome <> 'RETRIED') INTO retried, refused
    FROM retry_processes(coalesce(ids, '{}')) AS r;
    IF retried > 0 THEN
        PERFORM reopen_batch(retry_batch.name);
    END IF;
END
$function$;

-- Notes that all of a batch has ended, and starts what is to follow, in one transaction: exactly once. Gives whether it was so.
CREATE FUNCTION end_batch(name text, state text) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    is_cancelled boolean;
BEGIN
    SELECT b.cancel_reason IS NOT NULL INTO is_cancelled FROM batches b WHERE b.name = end_batch.name;
    UPDATE batches b SET state = end_batch.state, ended_at = now(), cancel_reason = NULL, announced = NULL, filling_at = NULL,
        reason = NULL, held_at = NULL,
        was_cancelled = is_cancelled, halts_now = false
    WHERE b.name = end_batch.name AND b.ended_at IS NULL
        -- Another snapshot than that by which it was added up.
        AND NOT EXISTS (SELECT FROM batch_changes c WHERE c.batch = b.name);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM hold_batch(end_batch.name);
    IF NOT is_cancelled THEN
        PERFORM follow_batch(end_batch.name);
    END IF;
    RETURN true;
END
$function$;

-- Starts the process that is to follow a batch that has ended, unless that was done, and gives its id. What can't be started is noted.
CREATE FUNCTION follow_batch(name text) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    batch   batches%ROWTYPE := locked_batch(follow_batch.name);
    started text;
    problem text;
BEGIN
    IF batch.then_type IS NULL OR batch.then_id IS NOT NULL OR batch.ended_at IS NULL OR batch.was_cancelled THEN
        RETURN batch.then_id;
    END IF;
    BEGIN
        SELECT s INTO started FROM start_in(batch.then_type, ARRAY[
            coalesce(batch.then_input, '{}') || jsonb_build_object('metadata', coalesce(batch.then_input -> 'metadata', '{}')
                || jsonb_build_object('batch', batch.name, 'batch_state', batch.state, 'batch_total',
                    (batch.not_started + batch.in_progress + batch.completed + batch.failed + batch.cancelled)::text,
                    'batch_completed', batch.completed::text, 'batch_failed', batch.failed::text,
                    'batch_cancelled', batch.cancelled::text))
        ], ARRAY[batch.name || '-then'], NULL, 0, true, false) AS s;
    EXCEPTION WHEN OTHERS THEN
        -- Refusals have SQLSTATEs of their own; anything else passes, and the end is noted later.
        IF SQLSTATE NOT LIKE 'PO%' THEN
            RAISE;
        END IF;
        problem := SQLERRM;
    END;
    UPDATE batches b SET then_id = started, then_problem = problem WHERE b.name = follow_batch.name;
    RETURN started;
END
$function$;
