-- works from: 13
--
-- Schedules: processes that are started at their times. Which times those are is computed by nodes (src/model/schedule), which
-- have the zones; here they are fired.
--
-- A firing starts the process and moves on in one transaction, under the condition that the schedule is at the time that the
-- node has planned: of two nodes one finds it moved. The process's id is NAME@TIME, of which there can't be two. What does not
-- start keeps its time and gets a problem; others go on.
--
-- `next_at` null means: to be computed, from `counts_from` on. So a row may be written or changed by hand.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE TABLE schedules (
    name             text COLLATE "C" PRIMARY KEY
        CHECK (length(name) BETWEEN 1 AND 200 AND name !~ '[@=%]' AND name = btrim(name)),
    process_type     text        NOT NULL,
    cron             text,
    every            text,                 -- such as '15m'
    time_zone        text        NOT NULL DEFAULT 'UTC',
    input            jsonb       NOT NULL DEFAULT '{}',
    priority         integer     NOT NULL DEFAULT 0,
    overlap          text        NOT NULL DEFAULT 'skip' CHECK (overlap IN ('skip', 'queue', 'allow', 'replace')),
    catch_up         text        NOT NULL DEFAULT 'last' CHECK (catch_up IN ('last', 'all', 'none')),
    catch_up_max     integer     NOT NULL DEFAULT 100 CHECK (catch_up_max BETWEEN 1 AND 1000),
    jitter           text        NOT NULL DEFAULT '0s',
    starts_from      timestamptz,
    starts_until     timestamptz,
    source           text,                 -- the process type in whose document it stands; null: made by hand
    paused_at        timestamptz,          -- null: it is not paused
    paused_by        text,
    pause_reason     text,
    revision         bigint      NOT NULL DEFAULT 1, -- a plan is for one of them
    counts_from      timestamptz NOT NULL DEFAULT now(),
    next_at          timestamptz,          -- infinity: there is no more
    due_at           timestamptz,          -- with jitter; later while it can't be started
    last_at          timestamptz,          -- the time of the last process
    last_process_id  text,
    last_lateness_ms bigint,               -- how long after it was due that was started; null: it was made up for
    recent           text[]      NOT NULL DEFAULT '{}', -- its processes that may be unfinished
    fired            bigint      NOT NULL DEFAULT 0,
    skipped_missed   bigint      NOT NULL DEFAULT 0, -- nobody was there, and catch_up does not make up for them
    skipped_overlap  bigint      NOT NULL DEFAULT 0, -- the process before had not ended
    skipped_taken    bigint      NOT NULL DEFAULT 0, -- the id was taken by another process
    problem          text,
    problem_since    timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    changed_at       timestamptz NOT NULL DEFAULT now(),
    changed_by       text,
    CHECK (num_nonnulls(cron, every) = 1)
) WITH (fillfactor = 50);
CREATE INDEX schedules_due ON schedules (due_at) WHERE paused_at IS NULL;

-- What became of their times; of each schedule the last ones.
CREATE TABLE schedule_firings (
    firing_number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule       text COLLATE "C" NOT NULL,
    scheduled_at   timestamptz NOT NULL,
    outcome        text        NOT NULL CHECK (outcome IN ('FIRED', 'SKIPPED')),
    reason         text        CHECK (reason IN ('made up', 'by hand', 'backfill', 'missed', 'overlap', 'taken')),
    how_many       bigint      NOT NULL DEFAULT 1, -- times that were missed up to this one
    process_id     text,
    lateness_ms    bigint,
    noted_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX schedule_firings_schedule ON schedule_firings (schedule, firing_number);

-- What changes the times has them computed anew, from now on; what moves one moves when it is due.
CREATE FUNCTION schedule_changed() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    NEW.revision := OLD.revision + 1;
    IF (OLD.cron, OLD.every, OLD.time_zone, OLD.starts_from, OLD.starts_until, OLD.jitter)
        IS DISTINCT FROM (NEW.cron, NEW.every, NEW.time_zone, NEW.starts_from, NEW.starts_until, NEW.jitter)
        OR OLD.paused_at IS NOT NULL AND NEW.paused_at IS NULL
    THEN
        NEW.next_at := NULL;
        NEW.counts_from := now();
    END IF;
    IF NEW.next_at IS NULL THEN
        NEW.due_at := NULL;
    ELSIF NEW.next_at IS DISTINCT FROM OLD.next_at AND NEW.due_at IS NOT DISTINCT FROM OLD.due_at THEN
        NEW.due_at := NEW.next_at;
    END IF;
    NEW.problem := NULL;
    NEW.problem_since := NULL;
    RETURN NEW;
END
$function$;
CREATE TRIGGER schedule_changed BEFORE UPDATE ON schedules FOR EACH ROW
    WHEN ((OLD.process_type, OLD.cron, OLD.every, OLD.time_zone, OLD.input, OLD.priority, OLD.overlap, OLD.catch_up, OLD.catch_up_max,
        OLD.jitter, OLD.starts_from, OLD.starts_until, OLD.paused_at) IS DISTINCT FROM
        (NEW.process_type, NEW.cron, NEW.every, NEW.time_zone, NEW.input, NEW.priority, NEW.overlap, NEW.catch_up, NEW.catch_up_max,
        NEW.jitter, NEW.starts_from, NEW.starts_until, NEW.paused_at)
        OR NEW.revision = OLD.revision AND NEW.next_at IS DISTINCT FROM OLD.next_at AND NEW.due_at IS NOT DISTINCT FROM OLD.due_at)
    EXECUTE FUNCTION schedule_changed();

-- What a schedule says, as add_schedule() takes it.
CREATE FUNCTION schedule_document(schedule schedules) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $function$
    SELECT jsonb_strip_nulls(jsonb_build_object('name', schedule.name, 'process_type', schedule.process_type, 'cron', schedule.cron,
        'every', schedule.every, 'time_zone', schedule.time_zone, 'input', schedule.input, 'priority', schedule.priority,
        'overlap', schedule.overlap, 'catch_up', schedule.catch_up, 'catch_up_max', schedule.catch_up_max, 'jitter', schedule.jitter,
        'from', schedule.starts_from, 'until', schedule.starts_until))
$function$;

-- Its processes run one after the other by a limit of one; null for those that do not.
CREATE FUNCTION schedule_limits(name text, overlap text, catch_up text) RETURNS text[]
LANGUAGE sql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
    SELECT CASE WHEN overlap IN ('queue', 'replace') OR (overlap, catch_up) = ('skip', 'all')
        THEN ARRAY['schedule:' || name] END
$function$;

-- Adds a schedule, or gives one that is there what the document says; 'added', 'changed' or 'unchanged'. The words of an
-- expression, the zone and lengths of time are judged by nodes: `problem` says what is wrong with them.
CREATE FUNCTION add_schedule(document jsonb, changed_by text DEFAULT NULL, source text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    known   constant text[] := '{name,process_type,cron,every,time_zone,input,priority,overlap,catch_up,catch_up_max,jitter,from,until}';
    wanted  schedules%ROWTYPE;
    its   schedules%ROWTYPE;
    kind    process_types%ROWTYPE;
    problem text;
    remedy  text := 'a schedule is {"name", "process_type", "cron" or "every", "time_zone", "input", "priority", "overlap", "catch_up", '
        '"catch_up_max", "jitter", "from", "until"}';
BEGIN
    IF jsonb_typeof(document) IS DISTINCT FROM 'object' THEN
        problem := 'it is not an object';
    ELSE
        SELECT 'unknown key "' || key || '"' INTO problem FROM jsonb_object_keys(document) AS key
        WHERE key <> ALL (known) ORDER BY key LIMIT 1;
    END IF;
    IF problem IS NULL THEN
        SELECT '"' || key || '" is ' || value || ', not a text' INTO problem FROM jsonb_each(document)
        WHERE key NOT IN ('input', 'priority', 'catch_up_max') AND jsonb_typeof(value) NOT IN ('string', 'null') ORDER BY key LIMIT 1;
    END IF;
    IF problem IS NULL AND (document ->> 'name' IS NULL OR document ->> 'name' ~ '[@=%]' OR length(document ->> 'name') NOT BETWEEN 1 AND 200
        OR btrim(document ->> 'name') <> document ->> 'name' OR document ->> 'name' ~ '[[:cntrl:]]')
    THEN
        problem := 'its name has to have 1 to 200 characters, none of them @, = or %';
    ELSIF problem IS NULL AND (document ->> 'cron' IS NULL) = (document ->> 'every' IS NULL) THEN
        problem := 'it needs one of "cron" and "every"';
    ELSIF problem IS NULL AND document ->> 'process_type' IS NULL THEN
        problem := 'it lacks "process_type"';
    END IF;
    IF problem IS NULL THEN
        problem := input_problem(coalesce(nullif(document -> 'input', 'null'), '{}'));
    END IF;
    IF problem IS NULL THEN
        BEGIN
            wanted.name := document ->> 'name';
            wanted.process_type := document ->> 'process_type';
            wanted.cron := document ->> 'cron';
            wanted.every := document ->> 'every';
            wanted.time_zone := coalesce(document ->> 'time_zone', 'UTC');
            wanted.input := normal_input(coalesce(nullif(document -> 'input', 'null'), '{}'));
            wanted.priority := coalesce((document ->> 'priority')::integer, 0);
            wanted.overlap := coalesce(document ->> 'overlap', 'skip');
            wanted.catch_up := coalesce(document ->> 'catch_up', 'last');
            wanted.catch_up_max := coalesce((document ->> 'catch_up_max')::integer, 100);
            wanted.jitter := coalesce(document ->> 'jitter', '0s');
            wanted.starts_from := (document ->> 'from')::timestamptz;
            wanted.starts_until := (document ->> 'until')::timestamptz;
        EXCEPTION WHEN data_exception THEN
            problem := SQLERRM;
        END;
    END IF;
    IF problem IS NULL AND NOT (isfinite(coalesce(wanted.starts_from, now())) AND isfinite(coalesce(wanted.starts_until, now()))) THEN
        problem := '"from" and "until" have to be times; leave out what has no bound';
    ELSIF problem IS NULL AND wanted.overlap NOT IN ('skip', 'queue', 'allow', 'replace') THEN
        problem := 'overlap is "' || wanted.overlap || '", not skip, queue, allow or replace';
    ELSIF problem IS NULL AND wanted.catch_up NOT IN ('last', 'all', 'none') THEN
        problem := 'catch_up is "' || wanted.catch_up || '", not last, all or none';
    ELSIF problem IS NULL AND wanted.catch_up_max NOT BETWEEN 1 AND 1000 THEN
        problem := 'catch_up_max is ' || wanted.catch_up_max || ', not a number from 1 to 1000';
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'invalid schedule: %', problem USING ERRCODE = 'PO031', HINT = remedy;
    END IF;

    SELECT * INTO kind FROM process_types WHERE name = wanted.process_type;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown process type "%"', wanted.process_type USING ERRCODE = 'PO001', HINT = 'register it first; known are: ' ||
            coalesce((SELECT string_agg(name, ', ' ORDER BY name) FROM
                (SELECT name FROM process_types ORDER BY name LIMIT 20) AS known), 'none');
    END IF;
    SELECT string_agg('${' || needed || '}', ', ' ORDER BY needed) INTO problem FROM unnest(kind.required_input) AS needed
    WHERE needed NOT IN ('scheduled_at', 'previous_scheduled_at') AND CASE
        WHEN needed LIKE 'config.%' THEN wanted.input -> 'config' ->> substr(needed, 8)
        WHEN needed LIKE 'metadata.%' THEN wanted.input -> 'metadata' ->> substr(needed, 10)
        ELSE wanted.input ->> needed
    END IS NULL;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'the input of schedule "%" lacks %, which process type "%" needs', wanted.name, problem, kind.name
            USING ERRCODE = 'PO003', HINT = 'add it to the input, or give the variable a default: ${name:-default}';
    END IF;

    INSERT INTO schedules (name, process_type, cron, every, time_zone, input, priority, overlap, catch_up, catch_up_max, jitter,
        starts_from, starts_until, source, changed_by)
    VALUES (wanted.name, wanted.process_type, wanted.cron, wanted.every, wanted.time_zone, wanted.input, wanted.priority, wanted.overlap,
        wanted.catch_up, wanted.catch_up_max, wanted.jitter, wanted.starts_from, wanted.starts_until, add_schedule.source,
        coalesce(add_schedule.changed_by, session_user::text))
    ON CONFLICT (name) DO NOTHING;
    IF FOUND THEN
        RETURN 'added';
    END IF;
    SELECT * INTO its FROM schedules WHERE name = wanted.name FOR UPDATE;
    IF its.source IS DISTINCT FROM add_schedule.source THEN
        RAISE EXCEPTION 'schedule "%" %', wanted.name,
            coalesce('stands in the document of process type "' || its.source || '"', 'was made by hand') USING ERRCODE = 'PO031',
            HINT = CASE WHEN its.source IS NULL THEN 'give the one in the document another name, or remove that by: schedule remove'
                ELSE 'change it there and register that again, or choose another name' END;
    END IF;
    IF (its.process_type, its.cron, its.every, its.time_zone, its.input, its.priority, its.overlap, its.catch_up,
            its.catch_up_max, its.jitter, its.starts_from, its.starts_until) IS NOT DISTINCT FROM
        (wanted.process_type, wanted.cron, wanted.every, wanted.time_zone, wanted.input, wanted.priority, wanted.overlap, wanted.catch_up,
            wanted.catch_up_max, wanted.jitter, wanted.starts_from, wanted.starts_until)
    THEN
        RETURN 'unchanged';
    END IF;
    UPDATE schedules s
    SET process_type = wanted.process_type, cron = wanted.cron, every = wanted.every, time_zone = wanted.time_zone, input = wanted.input,
        priority = wanted.priority, overlap = wanted.overlap, catch_up = wanted.catch_up, catch_up_max = wanted.catch_up_max,
        jitter = wanted.jitter, starts_from = wanted.starts_from, starts_until = wanted.starts_until, changed_at = now(),
        changed_by = coalesce(add_schedule.changed_by, session_user::text)
    WHERE s.name = wanted.name;
    RETURN 'changed';
END
$function$;

-- The limit that the processes of a schedule wait at, where they run one after the other; it goes with the schedule, unless some
-- wait.
CREATE FUNCTION schedule_keeps_limit() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM schedule_firings f WHERE f.schedule = OLD.name;
        DELETE FROM limits l WHERE l.name = 'schedule:' || OLD.name AND unfinished_of(OLD.recent) = '{}';
    ELSIF schedule_limits(NEW.name, NEW.overlap, NEW.catch_up) IS NOT NULL THEN
        INSERT INTO limits (name, max, declared_max) VALUES ('schedule:' || NEW.name, 1, 1) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$function$;
CREATE TRIGGER schedule_keeps_limit_of_new AFTER INSERT OR DELETE ON schedules
    FOR EACH ROW EXECUTE FUNCTION schedule_keeps_limit();
CREATE TRIGGER schedule_keeps_limit_of_changed AFTER UPDATE ON schedules
    FOR EACH ROW WHEN ((OLD.overlap, OLD.catch_up) IS DISTINCT FROM (NEW.overlap, NEW.catch_up)) EXECUTE FUNCTION schedule_keeps_limit();

-- The one of this name, or a refusal that says which there are.
CREATE FUNCTION known_schedule(name text) RETURNS schedules
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
DECLARE
    its schedules%ROWTYPE;
BEGIN
    SELECT * INTO its FROM schedules s WHERE s.name = known_schedule.name FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown schedule "%"', known_schedule.name USING ERRCODE = 'PO030', HINT = 'known are: ' ||
            coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM (SELECT s.name FROM schedules s ORDER BY s.name LIMIT 20) AS k), 'none');
    END IF;
    RETURN its;
END
$function$;

CREATE FUNCTION remove_schedule(name text) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
DECLARE
    its schedules := known_schedule(remove_schedule.name);
BEGIN
    IF its.source IS NOT NULL THEN
        RAISE EXCEPTION 'schedule "%" stands in the document of process type "%"', its.name, its.source USING ERRCODE = 'PO031',
            HINT = 'take it out there and register that again, or pause it';
    END IF;
    DELETE FROM schedules s WHERE s.name = its.name;
END
$function$;

-- Holds a schedule back; false: it was paused already. Times that come meanwhile are not made up for.
CREATE FUNCTION pause_schedule(name text, reason text DEFAULT NULL, paused_by text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
BEGIN
    PERFORM known_schedule(pause_schedule.name);
    UPDATE schedules s
    SET paused_at = now(), paused_by = coalesce(pause_schedule.paused_by, session_user::text), pause_reason = pause_schedule.reason
    WHERE s.name = pause_schedule.name AND s.paused_at IS NULL;
    RETURN FOUND;
END
$function$;

CREATE FUNCTION resume_schedule(name text) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    PERFORM known_schedule(resume_schedule.name);
    UPDATE schedules s SET paused_at = NULL, paused_by = NULL, pause_reason = NULL
    WHERE s.name = resume_schedule.name AND s.paused_at IS NOT NULL;
    RETURN FOUND;
END
$function$;

-- Of a list those that are unfinished, in its order.
CREATE FUNCTION unfinished_of(process_ids text[]) RETURNS text[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
BEGIN
    RETURN (SELECT coalesce(array_agg(r.id ORDER BY r.n), '{}') FROM unnest(process_ids) WITH ORDINALITY AS r (id, n)
        WHERE EXISTS (SELECT FROM scheduled_tasks t WHERE t.task_instance = ANY (ARRAY[r.id])));
END
$function$;

-- What a schedule remembers of its processes: those that are unfinished and, as these may be retried, the last ten.
CREATE FUNCTION recent_of(recent text[], added text[]) RETURNS text[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
BEGIN
    RETURN (SELECT coalesce(array_agg(r.id ORDER BY r.n), '{}') FROM unnest(recent || added) WITH ORDINALITY AS r (id, n)
        WHERE r.n > cardinality(recent || added) - 10 OR EXISTS (SELECT FROM scheduled_tasks t WHERE t.task_instance = ANY (ARRAY[r.id])));
END
$function$;

-- Starts what the plans of a node say, and moves their schedules on: those that are as the plan has found them, and that no other
-- node has at this moment. A plan is {"name", "revision", "expected", "next_at", "due_at", "missed", "missed_until", "problem",
-- "firings": [{"at", "due", "id", "input", "made_up"}]}, all times in order. Gives what has become of each.
CREATE FUNCTION fire_schedules(plans jsonb)
RETURNS TABLE (name text, fired bigint, overlapped bigint, problem text)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    retry_after constant interval := interval '10 seconds';
    ours     text[];   -- the schedules whose rows are ours
    works    jsonb;    -- one element for each of their firings
    failed   jsonb := '{}'; -- name -> problem
    skipped  text[] := '{}'; -- ids that are taken by others
    work     record;
    part     record;
    answer   text;
    remedy   text;
BEGIN
    -- What runs once for each schedule is planned once, whatever the session has for lists.
    PERFORM set_config('plan_cache_mode', 'auto', true);
    WITH planned AS (
        SELECT p.* FROM jsonb_to_recordset(plans) AS p (name text, revision bigint, expected timestamptz)
    ), locked AS (
        SELECT s.name FROM planned p JOIN schedules s ON s.name = p.name
        WHERE s.revision = p.revision AND s.next_at IS NOT DISTINCT FROM p.expected AND s.paused_at IS NULL
        ORDER BY s.name FOR UPDATE OF s SKIP LOCKED
    )
    SELECT array_agg(l.name) INTO ours FROM locked l;
    IF ours IS NULL THEN
        RETURN;
    END IF;

    -- What is unfinished decides by `overlap`: k processes are there when a firing comes, those before it in the plan included.
    SELECT jsonb_agg(jsonb_build_object('name', f.name, 'n', f.n, 'at', f.at, 'due', f.due, 'id', f.id, 'input', f.input,
        'made_up', f.made_up, 'type', f.process_type, 'priority', f.priority, 'limits', f.limits, 'replaces', f.replaces, 'skip', CASE f.overlap
            WHEN 'skip' THEN f.k > 0 AND NOT (f.made_up AND f.catch_up = 'all')
            WHEN 'queue' THEN f.k > 1 AND NOT (f.made_up AND f.catch_up = 'all')
            WHEN 'replace' THEN f.n < f.last
            ELSE false END) ORDER BY f.name, f.n)
    INTO works
    FROM (
        SELECT s.name, e.n, v.at, v.due, v.id, v.input, coalesce(v.made_up, false) AS made_up, s.process_type, s.priority, s.overlap, s.catch_up,
            schedule_limits(s.name, s.overlap, s.catch_up) AS limits, jsonb_array_length(p.firings) AS last,
            CASE WHEN s.overlap = 'replace' THEN u.ids END AS replaces, cardinality(u.ids) + e.n - 1 AS k
        FROM jsonb_to_recordset(plans) AS p (name text, firings jsonb)
        JOIN schedules s ON s.name = p.name
        CROSS JOIN LATERAL jsonb_array_elements(p.firings) WITH ORDINALITY AS e (firing, n)
        CROSS JOIN LATERAL jsonb_to_record(e.firing) AS v (at timestamptz, due timestamptz, id text, input jsonb, made_up boolean)
        CROSS JOIN LATERAL (
            SELECT coalesce(array_agg(r.id ORDER BY r.n), '{}') AS ids FROM unnest(s.recent) WITH ORDINALITY AS r (id, n)
            WHERE s.overlap <> 'allow' AND EXISTS (SELECT FROM scheduled_tasks t WHERE t.task_instance = ANY (ARRAY[r.id]))
        ) AS u
        WHERE p.name = ANY (ours)
    ) AS f;

    -- All of one type at once; those that wait for each other one by one, in their order.
    FOR part IN
        SELECT w.type, w.priority, w.limits, CASE WHEN w.limits IS NOT NULL THEN w.name END AS schedule,
            array_agg(w.id ORDER BY w.name, w.n) AS ids, array_agg(w.input ORDER BY w.name, w.n) AS inputs,
            array_agg(DISTINCT w.name) AS names, max(w.replaces::text)::jsonb AS replaces
        FROM jsonb_to_recordset(coalesce(works, '[]'))
            AS w (name text, n bigint, id text, input jsonb, type text, priority integer, limits text[], replaces jsonb, skip boolean)
        WHERE NOT w.skip
        GROUP BY 1, 2, 3, 4
        ORDER BY w.type COLLATE "C", 4
    LOOP
        BEGIN
            IF part.limits IS NULL THEN
                PERFORM start_in(part.type, part.inputs, part.ids, NULL, part.priority, false, false);
            ELSE
                IF jsonb_typeof(part.replaces) = 'array' AND part.replaces <> '[]' THEN
                    PERFORM cancel_processes(ARRAY(SELECT jsonb_array_elements_text(part.replaces)),
                        'schedule "' || part.schedule || '" has started the next one', 'overlap: replace');
                END IF;
                FOR i IN 1 .. cardinality(part.ids) LOOP
                    PERFORM start_in(part.type, part.inputs[i:i], part.ids[i:i],
                        statement_timestamp() - (cardinality(part.ids) - i) * interval '1 microsecond', part.priority, false, false, NULL, part.limits);
                END LOOP;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            -- What passes by itself is the caller's.
            IF left(SQLSTATE, 2) IN ('40', '53', '55', '57', '58', 'XX') THEN
                RAISE;
            END IF;
            -- One by one: what is wrong with one stops none of the others.
            FOR work IN
                SELECT w.name, array_agg(w.id ORDER BY w.n) AS ids, array_agg(w.input ORDER BY w.n) AS inputs
                FROM jsonb_to_recordset(works) AS w (name text, n bigint, id text, input jsonb, skip boolean)
                WHERE w.name = ANY (part.names) AND NOT w.skip
                GROUP BY w.name ORDER BY w.name
            LOOP
                FOR i IN 1 .. cardinality(work.ids) LOOP
                    BEGIN
                        PERFORM start_in(part.type, work.inputs[i:i], work.ids[i:i],
                            statement_timestamp() - (cardinality(work.ids) - i) * interval '1 microsecond', part.priority, false, false, NULL, part.limits);
                    EXCEPTION WHEN OTHERS THEN
                        IF left(SQLSTATE, 2) IN ('40', '53', '55', '57', '58', 'XX') THEN
                            RAISE;
                        END IF;
                        IF SQLSTATE = 'PO004' THEN
                            skipped := skipped || work.ids[i];
                        ELSE
                            GET STACKED DIAGNOSTICS answer = MESSAGE_TEXT, remedy = PG_EXCEPTION_HINT;
                            failed := failed || jsonb_build_object(work.name, concat_ws('; ', answer, nullif(remedy, '')));
                            EXIT;
                        END IF;
                    END;
                END LOOP;
            END LOOP;
        END;
    END LOOP;

    -- What a node can't read.
    SELECT failed || coalesce(jsonb_object_agg(p.name, p.problem), '{}') INTO failed
    FROM jsonb_to_recordset(plans) AS p (name text, problem text) WHERE p.problem IS NOT NULL AND p.name = ANY (ours);

    INSERT INTO schedule_firings (schedule, scheduled_at, outcome, reason, how_many, process_id, lateness_ms)
    SELECT p.name, p.missed_until, 'SKIPPED', 'missed', p.missed, NULL, NULL
    FROM jsonb_to_recordset(plans) AS p (name text, missed bigint, missed_until timestamptz)
    WHERE p.missed > 0 AND p.name = ANY (ours) AND NOT failed ? p.name
    UNION ALL
    SELECT w.name, w.at, CASE WHEN w.skip OR w.id = ANY (skipped) THEN 'SKIPPED' ELSE 'FIRED' END,
        CASE WHEN w.skip THEN 'overlap' WHEN w.id = ANY (skipped) THEN 'taken' WHEN w.made_up THEN 'made up' END, 1,
        CASE WHEN NOT w.skip THEN w.id END, greatest(0, extract(epoch FROM clock_timestamp() - w.due) * 1000)::bigint
    FROM jsonb_to_recordset(coalesce(works, '[]')) AS w (name text, at timestamptz, due timestamptz, id text, skip boolean, made_up boolean)
    WHERE NOT failed ? w.name;

    RETURN QUERY
    WITH done AS MATERIALIZED (
        SELECT w.name, count(*) FILTER (WHERE NOT w.skip AND w.id <> ALL (skipped)) AS fired, count(*) FILTER (WHERE w.skip) AS overlapped,
            count(*) FILTER (WHERE w.id = ANY (skipped)) AS taken,
            (array_agg(w.id ORDER BY w.n DESC) FILTER (WHERE NOT w.skip AND w.id <> ALL (skipped)))[1] AS last_id,
            max(w.at) FILTER (WHERE NOT w.skip AND w.id <> ALL (skipped)) AS last_at,
            (array_agg(CASE WHEN NOT w.made_up THEN greatest(0, extract(epoch FROM clock_timestamp() - w.due) * 1000)::bigint END
                ORDER BY w.n DESC) FILTER (WHERE NOT w.skip))[1] AS lateness,
            array_agg(w.id ORDER BY w.n) FILTER (WHERE NOT w.skip AND w.id <> ALL (skipped)) AS ids
        FROM jsonb_to_recordset(coalesce(works, '[]'))
            AS w (name text, n bigint, at timestamptz, due timestamptz, id text, skip boolean, made_up boolean)
        GROUP BY w.name
    )
    UPDATE schedules s
    SET next_at = CASE WHEN failed ? s.name THEN s.next_at ELSE coalesce(p.next_at, 'infinity') END,
        due_at = CASE WHEN failed ? s.name THEN clock_timestamp() + retry_after ELSE coalesce(p.due_at, 'infinity') END,
        problem = failed ->> s.name,
        problem_since = CASE WHEN failed ? s.name THEN coalesce(s.problem_since, now()) END,
        -- What is here is no change of the definition: the trigger is left alone by a revision of its own.
        revision = s.revision + 1,
        last_at = CASE WHEN failed ? s.name THEN s.last_at ELSE coalesce(d.last_at, s.last_at) END,
        last_process_id = CASE WHEN failed ? s.name THEN s.last_process_id ELSE coalesce(d.last_id, s.last_process_id) END,
        last_lateness_ms = CASE WHEN failed ? s.name OR d.last_id IS NULL THEN s.last_lateness_ms ELSE d.lateness END,
        recent = CASE WHEN d.ids IS NULL THEN s.recent WHEN s.overlap = 'allow' THEN d.ids
            WHEN cardinality(s.recent) < 20 THEN s.recent || d.ids ELSE recent_of(s.recent, d.ids) END,
        fired = s.fired + CASE WHEN failed ? s.name THEN 0 ELSE coalesce(d.fired, 0) END,
        skipped_missed = s.skipped_missed + CASE WHEN failed ? s.name THEN 0 ELSE coalesce(p.missed, 0) END,
        skipped_overlap = s.skipped_overlap + CASE WHEN failed ? s.name THEN 0 ELSE coalesce(d.overlapped, 0) END,
        skipped_taken = s.skipped_taken + CASE WHEN failed ? s.name THEN 0 ELSE coalesce(d.taken, 0) END
    FROM jsonb_to_recordset(plans) AS p (name text, next_at timestamptz, due_at timestamptz, missed bigint)
    LEFT JOIN done d ON d.name = p.name
    WHERE s.name = p.name AND s.name = ANY (ours)
    RETURNING s.name, coalesce(d.fired, 0), coalesce(d.overlapped, 0), failed ->> s.name;

    -- Of each the last hundred or so.
    DELETE FROM schedule_firings f USING schedules s
    -- Each is looked at every fifty rounds of its own, not all of them in the same.
    WHERE s.name = ANY (ours) AND (s.revision + hashtext(s.name)) % 50 = 0 AND f.schedule = s.name AND f.firing_number < (
        SELECT k.firing_number FROM schedule_firings k WHERE k.schedule = s.name ORDER BY k.firing_number DESC OFFSET 100 LIMIT 1);

    IF works @> '[{"skip": false}]' THEN
        PERFORM wake_nodes(max(w.priority)) FROM jsonb_to_recordset(works) AS w (priority integer, skip boolean) WHERE NOT w.skip;
    END IF;
END
$function$;

-- Starts a process of a schedule now, whatever its times are, and gives its id. One that runs the others of it one after the
-- other has this one wait as well.
CREATE FUNCTION run_schedule_now(name text) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
DECLARE
    its   schedules := known_schedule(run_schedule_now.name);
    at      timestamptz := date_trunc('milliseconds', clock_timestamp());
    started text;
BEGIN
    -- Another one of the same millisecond has committed or is of this transaction, or this would not have the row.
    WHILE EXISTS (SELECT FROM processes p WHERE p.process_id = its.name || '@' || schedule_time(at)) LOOP
        at := at + interval '1 millisecond';
    END LOOP;
    started := (SELECT id FROM start_in(its.process_type, ARRAY[its.input || jsonb_build_object('scheduled_at', schedule_time(at),
        'previous_scheduled_at', schedule_time(coalesce(its.last_at, at)))], ARRAY[its.name || '@' || schedule_time(at)], NULL,
        its.priority, true, false, NULL, schedule_limits(its.name, its.overlap, its.catch_up)) AS id);
    UPDATE schedules s SET recent = recent_of(s.recent, ARRAY[started]), revision = s.revision + 1 WHERE s.name = its.name;
    INSERT INTO schedule_firings (schedule, scheduled_at, outcome, reason, process_id) VALUES (its.name, at, 'FIRED', 'by hand', started);
    IF its.revision % 50 = 0 THEN
        DELETE FROM schedule_firings f WHERE f.schedule = its.name AND f.firing_number < (
            SELECT k.firing_number FROM schedule_firings k WHERE k.schedule = its.name ORDER BY k.firing_number DESC OFFSET 100 LIMIT 1);
    END IF;
    RETURN started;
END
$function$;

-- A time as it stands in ids and inputs.
CREATE FUNCTION schedule_time(at timestamptz) RETURNS text
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $function$
    SELECT to_char(at AT TIME ZONE 'UTC', CASE WHEN date_trunc('second', at) = at THEN 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
        ELSE 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"' END)
$function$;

-- Starts a schedule's processes of past times, [{"at", "id", "input"}] in order, as a batch of which `at_most` run at once. Times
-- that have a process are passed over. Gives how many are new.
CREATE FUNCTION backfill_schedule(name text, firings jsonb, batch text, at_most integer) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
DECLARE
    its    schedules := known_schedule(backfill_schedule.name);
    ids    text[];
    inputs jsonb[];
BEGIN
    SELECT array_agg(v.id ORDER BY e.n), array_agg(v.input ORDER BY e.n) INTO ids, inputs
    FROM jsonb_array_elements(firings) WITH ORDINALITY AS e (firing, n)
    CROSS JOIN LATERAL jsonb_to_record(e.firing) AS v (id text, input jsonb)
    WHERE NOT EXISTS (SELECT FROM processes p WHERE p.process_id = v.id);
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    -- Of the next migration.
    PERFORM start_batch(batch, its.process_type, inputs, ids, max => at_most, priority => its.priority);
    INSERT INTO schedule_firings (schedule, scheduled_at, outcome, reason, process_id)
    SELECT its.name, v.at, 'FIRED', 'backfill', v.id
    FROM jsonb_array_elements(firings) WITH ORDINALITY AS e (firing, n)
    CROSS JOIN LATERAL jsonb_to_record(e.firing) AS v (at timestamptz, id text)
    WHERE v.id = ANY (ids) ORDER BY e.n;
    RETURN cardinality(ids);
END
$function$;

-- The schedules that stand in a process type's document: added, changed and, if they no longer stand there, removed.
CREATE FUNCTION set_type_schedules(process_type text, documents jsonb, changed_by text) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    DELETE FROM schedules s WHERE s.source = set_type_schedules.process_type
        AND NOT documents @> jsonb_build_array(jsonb_build_object('name', s.name));
    PERFORM add_schedule(d, set_type_schedules.changed_by, set_type_schedules.process_type)
    FROM jsonb_array_elements(documents) AS d ORDER BY d ->> 'name' COLLATE "C";
END
$function$;
