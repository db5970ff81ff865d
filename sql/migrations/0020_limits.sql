-- works from: 13
--
-- Limits: how many processes, or commands, may run at once. A limit has a name and a `max`; where it has a key, each value of
-- the key has a count of its own. An ENTRY names both: 'gpu', or 'type:invoice:config.customer=acme'.
--
--   limits       one row for each name: of a group ('gpu'), of a process type ('type:T'), of a type by a key ('type:T:config.customer'),
--                of a batch ('batch:NAME'), of a schedule ('schedule:NAME')
--   limit_slots  one row for each slot that is taken: what counts is rows, so that no crash leaks a slot
--
-- A row of the queue says which entries it needs: `limits` are held by the process from its first claim to its end, `task_limits`,
-- and those of its current task, while a command of it runs. A row without limits has neither, and costs nothing more.
--
-- A claim that meets rows with limits asks admit_processes: it locks the limits in the order of their names in one statement, and
-- counts slots in the next, which sees all that was committed before the locks were had. What may not run becomes HELD by
-- 'limit:ENTRY'. Slots are freed by triggers, whoever ends a process or gives it back, and each lets one go that waits for it. That
-- one is READY, and admitted by the claim that meets it, or held again.
--
-- Programs of the release before pass over rows with limits: they would not count them.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- In the order in which claims and results lock them.
LOCK TABLE scheduled_tasks, processes, all_tasks, process_types IN ACCESS EXCLUSIVE MODE;

CREATE TABLE limits (
    name          text COLLATE "C" PRIMARY KEY,
    process_type  text,                             -- whose limit it is; null: a group's, a batch's, a schedule's
    max           integer CHECK (max >= 0),         -- null: any number; 0: nothing more begins
    declared_max  integer CHECK (declared_max >= 0), -- what the document says that was registered last
    is_set        boolean     NOT NULL DEFAULT false, -- `max` was set by hand, and stays
    is_paused     boolean     NOT NULL DEFAULT false, -- nothing of it is claimed, not even what has begun
    kept_at       timestamptz,                      -- when a slot of it was last kept for one that waits for another limit
    changed_by    text,
    changed_at    timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE limit_slots (
    limit_name  text COLLATE "C" NOT NULL,
    slot_key    text COLLATE "C" NOT NULL, -- empty: the limit has no key
    process_id  text COLLATE "C" NOT NULL,
    of_task     boolean     NOT NULL,      -- goes with the claim, not with the process
    taken_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    reserved_until timestamptz,            -- it is kept until then for a process that waits for another limit as well
    PRIMARY KEY (limit_name, slot_key, process_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX limit_slots_process ON limit_slots (process_id);
CREATE INDEX limit_slots_reserved ON limit_slots (process_id) WHERE reserved_until IS NOT NULL;

ALTER TABLE scheduled_tasks
    ADD COLUMN limits text[] COLLATE "C",
    ADD COLUMN task_limits text[] COLLATE "C",
    -- The version as which a claim was admitted: other claims are of programs that know no limits.
    ADD COLUMN admitted_version bigint;
ALTER TABLE processes
    ADD COLUMN batch text COLLATE "C",
    -- Entries that the process needs beside those of its type: of its batch, of its schedule. A retry needs them again.
    ADD COLUMN more_limits text[] COLLATE "C";
ALTER TABLE all_tasks ADD COLUMN limits text[] COLLATE "C"; -- entries of this task alone
-- Null: neither the type nor its tasks have limits. Otherwise [{"name", "max", "holds": "process"|"task", "key": [{"text"} |
-- {"variable", "default"}]}]; each task of `tasks` may have `limits` of the same shape.
ALTER TABLE process_types ADD COLUMN concurrency jsonb;

-- A name as it stands in the name of a limit: an entry's key begins at its first '='.
CREATE FUNCTION limit_name(kind text, name text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
    SELECT kind || ':' || replace(replace(name, '%', '%25'), '=', '%3D')
$function$;

-- The entries that a definition makes of an input. A key that is missing or empty makes none. In PL/pgSQL, as what follows: it keeps
-- its plans, where a function in SQL is planned at each call.
CREATE FUNCTION limit_entries(definition jsonb, holds text, input jsonb, process_type text) RETURNS text[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
BEGIN
    RETURN (
        SELECT coalesce(array_agg(DISTINCT l.name || CASE WHEN l.key IS NULL THEN '' ELSE '=' ||
            CASE WHEN length(k.value) > 200 THEN left(k.value, 160) || '~' || md5(k.value) ELSE k.value END END), '{}')
        FROM jsonb_to_recordset(definition) AS l (name text, holds text, key jsonb)
        LEFT JOIN LATERAL (
            SELECT CASE WHEN bool_and(part.value IS NOT NULL) THEN string_agg(part.value, '' ORDER BY part.n) END AS value
            FROM (
                SELECT n, CASE
                    WHEN p ? 'text' THEN p ->> 'text'
                    ELSE coalesce(nullif(CASE
                        WHEN p ->> 'variable' LIKE 'config.%' THEN input -> 'config' ->> substr(p ->> 'variable', 8)
                        WHEN p ->> 'variable' LIKE 'metadata.%' THEN input -> 'metadata' ->> substr(p ->> 'variable', 10)
                        WHEN p ->> 'variable' = 'process_type' THEN limit_entries.process_type
                        ELSE input ->> (p ->> 'variable')
                    END, ''), p ->> 'default')
                END AS value
                FROM jsonb_array_elements(l.key) WITH ORDINALITY AS e (p, n)
            ) AS part
        ) AS k ON l.key IS NOT NULL
        WHERE (limit_entries.holds IS NULL OR l.holds = limit_entries.holds) AND (l.key IS NULL OR k.value <> '')
    );
END
$function$;

-- What a process of a type needs in the queue: the columns `limits` and `task_limits`; nulls if it has no limits at all.
CREATE FUNCTION queue_limits(
    concurrency jsonb, tasks jsonb, input jsonb, process_type text, more text[], OUT limits text[], OUT task_limits text[]
)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
BEGIN
    IF concurrency IS NULL THEN
        limits := more;
        RETURN;
    END IF;
    limits := coalesce(more, '{}') || limit_entries(concurrency, 'process', input, process_type);
    IF concurrency @> '[{"holds": "task"}]' OR tasks @? '$[*].limits' THEN
        task_limits := limit_entries(concurrency, 'task', input, process_type);
    ELSIF limits = '{}' THEN
        limits := NULL;
    END IF;
END
$function$;

-- What these processes need for their next command, and which of it they have.
CREATE FUNCTION needed_limits(process_ids text[])
RETURNS TABLE (n bigint, process_id text, entry text, of_task boolean, is_taken boolean)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT w.n, w.id, e.entry, e.of_task, x.process_id IS NOT NULL
    FROM unnest(needed_limits.process_ids) WITH ORDINALITY AS w (id, n)
    JOIN scheduled_tasks s ON s.task_instance = ANY (ARRAY[w.id])
    LEFT JOIN LATERAL (
        SELECT t.limits FROM processes p
        JOIN open_tasks t ON t.era = p.era AND t.process_id = ANY (ARRAY[p.process_id]) AND t.task_index = p.current_task_index
        WHERE s.task_limits IS NOT NULL AND p.process_id = ANY (ARRAY[w.id])
        OFFSET 0 -- or the condition would be looked at after the join
    ) AS t ON true
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (u.entry) u.entry, u.of_task FROM (
            SELECT unnest(s.limits) AS entry, false AS of_task
            UNION ALL SELECT unnest(s.task_limits || t.limits), true
        ) AS u ORDER BY u.entry, u.of_task
    ) AS e
    LEFT JOIN limit_slots x ON x.limit_name = split_part(e.entry, '=', 1)
        AND x.slot_key = substr(e.entry, length(split_part(e.entry, '=', 1)) + 2) AND x.process_id = w.id;
END
$function$;

-- How many slots of an entry are free, as far as can be seen without its lock; 2147483647 where there is no bound.
CREATE FUNCTION limit_room(entry text) RETURNS integer
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
BEGIN
    RETURN coalesce((
        SELECT CASE WHEN l.is_paused THEN 0 WHEN l.max IS NOT NULL THEN greatest(0, l.max - (SELECT count(*)::integer FROM (
            SELECT FROM limit_slots x
            WHERE x.limit_name = l.name AND x.slot_key = substr(limit_room.entry, length(l.name) + 2)
            LIMIT l.max
        ) AS taken)) END
        FROM limits l WHERE l.name = split_part(limit_room.entry, '=', 1)
    ), 2147483647);
END
$function$;

-- Has processes that wait for an entry looked at again: the highest priority first, then by time. Gives which. Those of paused
-- types are held for the pause instead, or the room would be theirs in vain, one after the other: a bounded number at a time.
-- One that is kept for a node is that node's alone.
CREATE FUNCTION release_waiting(entry text, at_most integer) RETURNS text[]
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
DECLARE
    released text[] := '{}';
    ready    text[];
    asked    integer;
    met      integer;
BEGIN
    FOR looks IN 1 .. 5 LOOP
        asked := at_most - cardinality(released);
        WITH waiting AS MATERIALIZED (
            SELECT h.task_instance,
                h.reserved_for IS NULL AND h.task_name = ANY (ARRAY(SELECT k.name FROM process_types k WHERE k.paused)) AS is_paused
            FROM scheduled_tasks h
            WHERE h.state = 'HELD' AND h.held_by = 'limit:' || release_waiting.entry
            ORDER BY h.priority DESC, h.execution_time
            LIMIT asked
            FOR UPDATE SKIP LOCKED
        ), let_go AS (
            UPDATE scheduled_tasks s
            SET state = CASE WHEN waiting.is_paused OR s.reserved_for IS NOT NULL THEN 'HELD'
                    WHEN s.execution_time > now() THEN 'SCHEDULED' ELSE 'READY' END,
                held_by = CASE WHEN waiting.is_paused THEN 'pause:' || s.task_name ELSE 'node:' || s.reserved_for END,
                waiting_since = greatest(s.execution_time, statement_timestamp())
            FROM waiting WHERE s.task_instance = ANY (ARRAY[waiting.task_instance])
            RETURNING s.task_instance, waiting.is_paused
        )
        SELECT array_agg(task_instance) FILTER (WHERE NOT is_paused), count(*) INTO ready, met FROM let_go;
        released := released || ready;
        EXIT WHEN met < asked OR cardinality(released) >= at_most;
        WITH waiting AS MATERIALIZED (
            SELECT f.task_instance FROM (
                SELECT h.task_instance, h.task_name, h.reserved_for FROM scheduled_tasks h
                WHERE h.state = 'HELD' AND h.held_by = 'limit:' || release_waiting.entry
                ORDER BY h.priority DESC, h.execution_time
                LIMIT 500
                FOR UPDATE SKIP LOCKED
            ) AS f
            WHERE f.reserved_for IS NULL AND f.task_name = ANY (ARRAY(SELECT k.name FROM process_types k WHERE k.paused))
        )
        UPDATE scheduled_tasks s SET held_by = 'pause:' || s.task_name
        FROM waiting WHERE s.task_instance = ANY (ARRAY[waiting.task_instance]);
    END LOOP;
    RETURN released;
END
$function$;

-- Says of processes, given in the order of precedence, which may run their next command now, and takes the slots of those; the
-- others are given with what blocks them. All or nothing: who waits for one limit keeps no slot of another that it has not
-- begun with, except that whoever has been due for 10 seconds and finds one of his limits with room and another without keeps a
-- slot of the first for a quarter of a second: others that need only the one or the other would go before him for ever. A limit
-- keeps one slot so in 2.5 seconds, so that no more than a tenth of it is idle, and nobody waits for a second. The caller has locked their rows in the queue, and claims in the same transaction.
CREATE FUNCTION admit_processes(process_ids text[]) RETURNS TABLE (process_id text, blocked_by text)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    -- What is needed, one element for each: whose it is (a place in process_ids), which entry (a place in `entries`).
    whose    bigint[];
    wanted   text[];
    taken    boolean[];
    tasks    boolean[];
    places   integer[];
    entries  text[];
    rooms    integer[];
    paused   boolean[];
    is_short boolean;
    lately   boolean[]; -- a slot was kept a moment ago
    verdicts text[] := array_fill(NULL::text, ARRAY[cardinality(process_ids)]);
    first    integer := 1;
    last     integer;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'slots of limits are counted by a transaction that sees what others have just committed'
            USING HINT = 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED';
    END IF;
    SELECT array_agg(w.n ORDER BY w.n, w.entry), array_agg(w.entry ORDER BY w.n, w.entry),
        array_agg(w.is_taken ORDER BY w.n, w.entry), array_agg(w.of_task ORDER BY w.n, w.entry)
    INTO whose, wanted, taken, tasks FROM needed_limits(process_ids) AS w;

    PERFORM FROM limits l WHERE l.name = ANY (ARRAY(SELECT DISTINCT split_part(w, '=', 1) FROM unnest(wanted) AS w))
    ORDER BY l.name FOR NO KEY UPDATE;
    -- From here on nobody else takes a slot of them.
    SELECT array_agg(e.entry), array_agg(e.room), array_agg(e.is_paused), array_agg(e.is_lately), bool_or(e.is_paused OR e.room < e.needed)
    INTO entries, rooms, paused, lately, is_short
    FROM (
        SELECT w.entry, w.needed, coalesce(l.is_paused, false) AS is_paused,
            coalesce(l.kept_at > clock_timestamp() - interval '2.5 seconds', false) AS is_lately,
            CASE WHEN l.max IS NULL THEN 2147483647 ELSE l.max - (SELECT count(*)::integer FROM (
                SELECT FROM limit_slots x WHERE x.limit_name = l.name AND x.slot_key = substr(w.entry, length(l.name) + 2) LIMIT l.max
            ) AS x) END AS room
        FROM (
            SELECT w.entry, count(*) FILTER (WHERE NOT w.is_taken) AS needed
            FROM unnest(wanted, taken) AS w (entry, is_taken) GROUP BY w.entry
        ) AS w LEFT JOIN limits l ON l.name = split_part(w.entry, '=', 1)
    ) AS e;

    IF is_short THEN
        SELECT array_agg(e.place::integer ORDER BY w.i) INTO places
        FROM unnest(wanted) WITH ORDINALITY AS w (entry, i) JOIN unnest(entries) WITH ORDINALITY AS e (entry, place) USING (entry);
        WHILE first <= cardinality(whose) LOOP
            last := first;
            WHILE whose[last + 1] = whose[first] LOOP
                last := last + 1;
            END LOOP;
            FOR i IN first .. last LOOP
                IF paused[places[i]] OR NOT taken[i] AND rooms[places[i]] <= 0 THEN
                    verdicts[whose[first]] := wanted[i];
                    EXIT;
                END IF;
            END LOOP;
            IF verdicts[whose[first]] IS NOT NULL AND last > first THEN
                PERFORM FROM scheduled_tasks s
                WHERE s.task_instance = process_ids[whose[first]] AND s.execution_time < clock_timestamp() - interval '10 seconds'
                    AND NOT EXISTS (SELECT FROM limits l WHERE (l.is_paused OR l.max = 0)
                        AND l.name = ANY (ARRAY(SELECT split_part(w, '=', 1) FROM unnest(wanted[first:last]) AS w)));
                FOR i IN first .. CASE WHEN FOUND THEN last ELSE 0 END LOOP
                    IF NOT taken[i] AND rooms[places[i]] BETWEEN 1 AND 1000000 AND NOT lately[places[i]] AND NOT EXISTS (
                        SELECT FROM limit_slots x
                        WHERE x.limit_name = split_part(wanted[i], '=', 1) AND x.reserved_until IS NOT NULL
                            AND x.slot_key = substr(wanted[i], length(split_part(wanted[i], '=', 1)) + 2))
                    THEN
                        INSERT INTO limit_slots (limit_name, slot_key, process_id, of_task, reserved_until)
                        VALUES (split_part(wanted[i], '=', 1), substr(wanted[i], length(split_part(wanted[i], '=', 1)) + 2),
                            process_ids[whose[first]], tasks[i],
                            clock_timestamp() + interval '250 milliseconds');
                        UPDATE limits l SET kept_at = clock_timestamp() WHERE l.name = split_part(wanted[i], '=', 1);
                        rooms[places[i]] := rooms[places[i]] - 1;
                    END IF;
                END LOOP;
            END IF;
            IF verdicts[whose[first]] IS NULL THEN
                FOR i IN first .. last LOOP
                    rooms[places[i]] := rooms[places[i]] - (NOT taken[i])::integer;
                END LOOP;
            END IF;
            first := last + 1;
        END LOOP;
        -- One that is blocked may have been let go for an entry that has room still: that is the next one's.
        PERFORM release_waiting(e.entry, least(e.room, 100))
        FROM unnest(entries, rooms, paused) AS e (entry, room, is_paused)
        WHERE e.room > 0 AND NOT e.is_paused
            AND EXISTS (SELECT FROM scheduled_tasks s WHERE s.state = 'HELD' AND s.held_by = ANY (ARRAY['limit:' || e.entry]));
    END IF;

    INSERT INTO limit_slots (limit_name, slot_key, process_id, of_task)
    SELECT split_part(w.entry, '=', 1), substr(w.entry, length(split_part(w.entry, '=', 1)) + 2), process_ids[w.n], w.of_task
    FROM unnest(whose, wanted, taken, tasks) AS w (n, entry, is_taken, of_task)
    WHERE NOT w.is_taken AND verdicts[w.n] IS NULL
    ORDER BY 1, 2, 3;
    IF true = ANY (taken) THEN
        UPDATE limit_slots x SET reserved_until = NULL, taken_at = clock_timestamp()
        WHERE x.reserved_until IS NOT NULL AND x.process_id = ANY (
            ARRAY(SELECT v.id FROM unnest(process_ids, verdicts) AS v (id, blocked_by) WHERE v.blocked_by IS NULL));
    END IF;
    RETURN QUERY SELECT * FROM unnest(process_ids, verdicts);
END
$function$;

-- Whether a process that holds its claim may begin its next task with the slots of the one that has ended: nothing else is
-- needed, none of these limits is paused or has more taken than its max, and nobody waits for one who has precedence. Slots
-- that the next task does not need are freed.
CREATE FUNCTION keeps_slots(process_id text, next_index integer) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    it record;
BEGIN
    SELECT s.priority, s.execution_time, s.task_limits || this.limits AS here, s.task_limits || next.limits AS there INTO it
    FROM scheduled_tasks s
    JOIN open_tasks this ON this.era = s.era AND this.process_id = ANY (ARRAY[s.task_instance])
        AND this.task_index = keeps_slots.next_index - 1
    JOIN open_tasks next ON next.era = s.era AND next.process_id = ANY (ARRAY[s.task_instance])
        AND next.task_index = keeps_slots.next_index
    WHERE s.task_instance = keeps_slots.process_id;
    IF NOT FOUND OR NOT it.there <@ it.here OR EXISTS (
        SELECT FROM unnest(it.there) AS e (entry) JOIN limits l ON l.name = split_part(e.entry, '=', 1)
        WHERE l.is_paused
            OR l.max < (SELECT count(*) FROM (
                SELECT FROM limit_slots x
                WHERE x.limit_name = l.name AND x.slot_key = substr(e.entry, length(l.name) + 2) LIMIT l.max + 1
            ) AS x)
            OR EXISTS (
                SELECT FROM scheduled_tasks h
                WHERE h.state = 'HELD' AND h.held_by = 'limit:' || e.entry
                    AND (h.priority > it.priority OR h.priority = it.priority AND h.execution_time < it.execution_time))
    ) THEN
        RETURN false;
    END IF;
    IF NOT it.here <@ it.there THEN
        PERFORM free_slots_of(keeps_slots.process_id, it.there);
    END IF;
    RETURN true;
END
$function$;

-- Holds READY rows that are blocked now, those at the front of the queue; gives how many. Claims would otherwise meet them row by
-- row before they come to anything else. It counts without locks: what it holds although there is room is let go by
-- release_where_room.
CREATE FUNCTION hold_blocked(at_most integer) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    held_now bigint;
BEGIN
    WITH front AS MATERIALIZED (
        SELECT s.task_instance, s.limits IS NOT NULL AS is_limited FROM scheduled_tasks s
        WHERE s.state = 'READY'
        ORDER BY s.priority DESC, s.execution_time
        LIMIT at_most
    ), needed AS MATERIALIZED (
        SELECT w.* FROM needed_limits(ARRAY(SELECT task_instance FROM front WHERE is_limited)) AS w
    ), room AS MATERIALIZED (
        SELECT e.entry, limit_room(e.entry) AS room, coalesce(l.is_paused, false) AS is_paused
        FROM (SELECT DISTINCT entry FROM needed) AS e LEFT JOIN limits l ON l.name = split_part(e.entry, '=', 1)
    ), blocked AS (
        SELECT DISTINCT ON (w.process_id) w.process_id, w.entry FROM (
            SELECT needed.*, room.room, room.is_paused,
                row_number() OVER (PARTITION BY needed.entry, needed.is_taken ORDER BY needed.n) AS place
            FROM needed JOIN room USING (entry)
        ) AS w
        WHERE w.is_paused OR NOT w.is_taken AND w.place > w.room
        ORDER BY w.process_id, w.entry
    ), met AS MATERIALIZED (
        SELECT s.task_instance, blocked.entry
        FROM blocked JOIN scheduled_tasks s ON s.task_instance = ANY (ARRAY[blocked.process_id])
        WHERE s.state IS NOT DISTINCT FROM 'READY'
        FOR UPDATE OF s SKIP LOCKED
    )
    UPDATE scheduled_tasks s SET state = 'HELD', held_by = 'limit:' || met.entry
    FROM met WHERE s.task_instance = ANY (ARRAY[met.task_instance]);
    GET DIAGNOSTICS held_now = ROW_COUNT;
    RETURN held_now;
END
$function$;

-- Lets those go that wait for an entry although it has room; gives how many. The usual way is by the triggers below; this is for
-- what they can't see: a row that was held in the moment in which a slot was freed. `of` looks at one limit only.
CREATE FUNCTION release_where_room(at_most integer, of text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
DECLARE
    lowest   constant text := 'limit:' || coalesce(of || '=', '');
    beyond   constant text := CASE WHEN of IS NULL THEN 'limit;' ELSE 'limit:' || of || '>' END;
    line     record;
    released integer := 0;
BEGIN
    IF of IS NOT NULL THEN
        released := cardinality(release_waiting(of, least(limit_room(of), at_most)));
    ELSE
        -- Slots that were kept for long enough. Whoever admits their process has its row in the queue.
        WITH over AS MATERIALIZED (
            SELECT s.task_instance FROM limit_slots x JOIN scheduled_tasks s ON s.task_instance = ANY (ARRAY[x.process_id])
            WHERE x.reserved_until < clock_timestamp()
            FOR UPDATE OF s SKIP LOCKED
        )
        DELETE FROM limit_slots x USING over
        WHERE x.process_id = ANY (ARRAY[over.task_instance]) AND x.reserved_until < clock_timestamp();
    END IF;
    -- One descent of the index for each line, however many wait in it. A limit that is no more has room for all.
    FOR line IN
        WITH RECURSIVE lines (held_by) AS (
            (SELECT s.held_by FROM scheduled_tasks s
            WHERE s.state = 'HELD' AND s.held_by > lowest AND s.held_by < beyond ORDER BY s.held_by LIMIT 1)
            UNION ALL
            SELECT next.held_by FROM lines CROSS JOIN LATERAL (
                SELECT s.held_by FROM scheduled_tasks s
                WHERE s.state = 'HELD' AND s.held_by > lines.held_by AND s.held_by < beyond ORDER BY s.held_by LIMIT 1
            ) AS next
        )
        SELECT e.entry, coalesce(CASE WHEN l.name IS NOT NULL AND l.max IS NOT NULL THEN l.max - (
            SELECT count(*)::integer FROM (
                SELECT FROM limit_slots x WHERE x.limit_name = l.name AND x.slot_key = substr(e.entry, length(l.name) + 2) LIMIT l.max
            ) AS taken) END, 2147483647) AS room
        FROM (SELECT substr(lines.held_by, 7) AS entry FROM lines) AS e
        LEFT JOIN limits l ON l.name = ANY (ARRAY[split_part(e.entry, '=', 1)])
        WHERE l.is_paused IS NOT TRUE
    LOOP
        CONTINUE WHEN line.room <= 0;
        EXIT WHEN released >= at_most;
        released := released + cardinality(release_waiting(line.entry, least(line.room, at_most - released)));
    END LOOP;
    RETURN released;
END
$function$;

-- Changes the `max` of a limit by hand, for good; null: what the documents say counts again. Lowering ends nothing: what has begun
-- goes on. Gives the one that counts now.
CREATE FUNCTION set_limit(name text, max integer, changed_by text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    now_max  integer;
    released integer;
BEGIN
    IF set_limit.max < 0 THEN
        RAISE EXCEPTION 'invalid max % of limit "%"', set_limit.max, set_limit.name USING ERRCODE = 'PO021',
            HINT = 'give a whole number from 0 on (0: nothing more begins), or null for what the documents say';
    END IF;
    UPDATE limits l
    SET max = coalesce(set_limit.max, l.declared_max), is_set = set_limit.max IS NOT NULL,
        changed_by = coalesce(set_limit.changed_by, session_user::text), changed_at = now()
    WHERE l.name = set_limit.name
    RETURNING l.max INTO now_max;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown limit "%"', set_limit.name USING ERRCODE = 'PO020',
            HINT = 'known are: ' || coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM
                (SELECT l.name FROM limits l ORDER BY l.name LIMIT 20) AS k), 'none; a process type''s "concurrency" makes one');
    END IF;
    released := release_where_room(1000, set_limit.name);
    IF released > 0 THEN
        PERFORM wake_nodes(2147483647);
    END IF;
    RETURN now_max;
END
$function$;

-- Frees the slots that a process has for its task, but for those that are kept, or all; for each another one that waits is let go,
-- of which the transaction keeps a note: the node may claim them in it (src/store/record.rs). Gives how many were. Who is `back` in
-- the queue, and ready, comes first for what it needs again, unless somebody in the line has precedence.
CREATE FUNCTION free_slots_of(
    process_id text, kept text[] DEFAULT '{}', with_process boolean DEFAULT false, back scheduled_tasks DEFAULT NULL
) RETURNS integer
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
DECLARE
    freed    text;
    released text[] := '{}';
BEGIN
    FOR freed IN
        DELETE FROM limit_slots x
        WHERE x.process_id = free_slots_of.process_id AND (x.of_task OR free_slots_of.with_process)
            AND x.limit_name || CASE x.slot_key WHEN '' THEN '' ELSE '=' || x.slot_key END <> ALL (kept)
        RETURNING x.limit_name || CASE x.slot_key WHEN '' THEN '' ELSE '=' || x.slot_key END
    LOOP
        CONTINUE WHEN back.state = 'READY' AND freed = ANY (back.task_limits) AND NOT EXISTS (
            SELECT FROM (
                SELECT h.priority, h.execution_time FROM scheduled_tasks h
                WHERE h.state = 'HELD' AND h.held_by = 'limit:' || freed
                ORDER BY h.priority DESC, h.execution_time LIMIT 1
            ) AS next
            WHERE next.priority > back.priority OR next.priority = back.priority AND next.execution_time < back.execution_time);
        released := released || release_waiting(freed, 1);
    END LOOP;
    IF released <> '{}' THEN
        PERFORM set_config('process_orchestrator.let_go', concat_ws(E'\x01',
            nullif(current_setting('process_orchestrator.let_go', true), ''), array_to_string(released, E'\x01')), true);
    END IF;
    RETURN cardinality(released);
END
$function$;

-- Frees the slots of a process that leaves the queue, those of its task when it is given back, and all when that was before its
-- first command began; for each another one that waits is let go.
CREATE FUNCTION free_slots() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
DECLARE
    released integer := free_slots_of(OLD.task_instance, '{}', TG_OP = 'DELETE'
        OR EXISTS (SELECT FROM processes p WHERE p.process_id = OLD.task_instance AND p.status = 'NOT_STARTED'),
        CASE WHEN TG_OP = 'UPDATE' THEN NEW END);
BEGIN
    -- The node that gives up a claim looks for itself.
    IF released > 0 AND NOT OLD.picked THEN
        PERFORM wake_nodes(OLD.priority);
    END IF;
    RETURN NULL;
END
$function$;
CREATE TRIGGER free_slots_of_gone AFTER DELETE ON scheduled_tasks
    FOR EACH ROW WHEN (OLD.limits IS NOT NULL) EXECUTE FUNCTION free_slots();
CREATE TRIGGER free_slots_of_released AFTER UPDATE ON scheduled_tasks
    FOR EACH ROW WHEN (OLD.limits IS NOT NULL AND OLD.picked AND NOT NEW.picked) EXECUTE FUNCTION free_slots();

-- Who claims without having asked passes the row over.
CREATE FUNCTION refuse_unadmitted() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    RETURN NULL;
END
$function$;
CREATE TRIGGER a_refuse_unadmitted BEFORE UPDATE ON scheduled_tasks
    FOR EACH ROW WHEN (NEW.limits IS NOT NULL AND NEW.picked AND NOT OLD.picked AND NEW.admitted_version IS DISTINCT FROM NEW.version)
    EXECUTE FUNCTION refuse_unadmitted();

-- The limits of a type hold as they are now, for processes that were started before as well: what has begun has its slots from now
-- on, beyond `max` if need be. What a task alone needs was copied at the start, as all of a task is.
CREATE FUNCTION apply_limits() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
#variable_conflict use_column
BEGIN
    -- Rows of the queue before limits, as claims lock them; and nobody starts one meanwhile who has seen the type as it was.
    IF TG_OP = 'UPDATE' AND OLD.concurrency IS DISTINCT FROM NEW.concurrency THEN
        PERFORM pg_advisory_xact_lock(1347375692, hashtext(NEW.name));
        PERFORM FROM scheduled_tasks s WHERE s.task_name = NEW.name ORDER BY s.task_instance COLLATE "C" FOR NO KEY UPDATE;
    END IF;
    INSERT INTO limits AS l (name, process_type, max, declared_max, changed_by)
    SELECT d.name, min(d.process_type), min(d.max), min(d.max), nullif(current_setting('process_orchestrator.registered_by', true), '')
    FROM (
        SELECT c.name, c.max, CASE WHEN starts_with(c.name, 'type:') THEN NEW.name END AS process_type
        FROM jsonb_to_recordset(coalesce(NEW.concurrency, '[]')) AS c (name text, max integer)
        UNION ALL
        SELECT c.name, c.max, NULL
        FROM jsonb_to_recordset(NEW.tasks) AS t (limits jsonb)
        CROSS JOIN LATERAL jsonb_to_recordset(coalesce(t.limits, '[]')) AS c (name text, max integer)
    ) AS d
    GROUP BY d.name
    ORDER BY d.name
    ON CONFLICT (name) DO UPDATE
    SET declared_max = excluded.declared_max, max = CASE WHEN l.is_set THEN l.max ELSE excluded.max END,
        changed_by = CASE WHEN l.is_set THEN l.changed_by ELSE excluded.changed_by END,
        changed_at = CASE WHEN l.is_set THEN l.changed_at ELSE excluded.changed_at END
    -- A document that gives no max leaves it to others.
    WHERE excluded.declared_max IS NOT NULL AND l.declared_max IS DISTINCT FROM excluded.declared_max;

    IF TG_OP = 'UPDATE' AND OLD.concurrency IS DISTINCT FROM NEW.concurrency THEN
        UPDATE scheduled_tasks s
        SET limits = q.limits, task_limits = CASE
                WHEN q.task_limits IS NULL AND EXISTS (SELECT FROM open_tasks t
                    WHERE t.era = p.era AND t.process_id = p.process_id AND t.limits IS NOT NULL) THEN '{}'
                ELSE q.task_limits END,
            state = CASE WHEN s.state <> 'HELD' OR NOT starts_with(s.held_by, 'limit:') OR s.reserved_for IS NOT NULL THEN s.state
                WHEN s.execution_time > now() THEN 'SCHEDULED' ELSE 'READY' END,
            held_by = CASE WHEN s.state <> 'HELD' OR NOT starts_with(s.held_by, 'limit:') THEN s.held_by ELSE 'node:' || s.reserved_for END
        FROM processes p CROSS JOIN LATERAL queue_limits(NEW.concurrency, NEW.tasks, p.input_data, NEW.name, p.more_limits) AS q
        WHERE s.task_name = NEW.name AND p.process_id = s.task_instance;
        -- Other statements: they see the claims that the one above has waited for. A slot whose limit is held otherwise from now
        -- on (`holds`) goes, and is taken as the other.
        DELETE FROM limit_slots x USING scheduled_tasks s
        WHERE s.task_name = NEW.name AND x.process_id = s.task_instance
            AND (SELECT e.entry = ANY (s.limits) IS NOT TRUE AND NOT x.of_task
                    OR x.of_task AND (e.entry = ANY (s.limits) OR e.entry <> ALL (coalesce(s.task_limits, '{}') || ARRAY(
                        SELECT unnest(t.limits) FROM open_tasks t WHERE t.era = s.era AND t.process_id = s.task_instance)))
                FROM (SELECT x.limit_name || CASE x.slot_key WHEN '' THEN '' ELSE '=' || x.slot_key END) AS e (entry));
        INSERT INTO limit_slots (limit_name, slot_key, process_id, of_task)
        SELECT split_part(e.entry, '=', 1), substr(e.entry, length(split_part(e.entry, '=', 1)) + 2), s.task_instance, e.of_task
        FROM scheduled_tasks s JOIN processes p ON p.process_id = s.task_instance
        CROSS JOIN LATERAL (
            SELECT unnest(s.limits) AS entry, false AS of_task
            UNION ALL SELECT unnest(s.task_limits), true WHERE s.picked
        ) AS e
        WHERE s.task_name = NEW.name AND p.status = 'IN_PROGRESS'
        ON CONFLICT DO NOTHING;
    END IF;
    DELETE FROM limits l
    WHERE l.process_type = NEW.name AND NOT l.is_set
        AND NOT coalesce(NEW.concurrency, '[]') @> jsonb_build_array(jsonb_build_object('name', l.name));
    RETURN NULL;
END
$function$;
CREATE TRIGGER apply_limits_of_new AFTER INSERT ON process_types
    FOR EACH ROW WHEN (NEW.concurrency IS NOT NULL) EXECUTE FUNCTION apply_limits();
CREATE TRIGGER apply_limits_of_changed AFTER UPDATE ON process_types
    FOR EACH ROW WHEN (NEW.concurrency IS DISTINCT FROM OLD.concurrency OR NEW.concurrency IS NOT NULL AND NEW.tasks IS DISTINCT FROM OLD.tasks)
    EXECUTE FUNCTION apply_limits();

-- What earlier migrations have left, but for what is replaced here:
-- * start_in is start_processes with a batch and further limits, and the one that all starts end in;
-- * an input may say when it was scheduled, and when the one before it was: ${scheduled_at}, ${previous_scheduled_at};
-- * a retry needs what a start would need now.
DO $$
DECLARE
    -- The function, a text that tells it from others of its name, what is there, what takes its place.
    edits constant text[] := ARRAY[
        ['start_processes', 'INSERT INTO processes', 'start_processes(process_type', 'start_in(process_type'],
        ['start_processes', '', 'is_granted boolean)',
            'is_granted boolean, batch text DEFAULT NULL, more_limits text[] DEFAULT NULL)'],
        ['start_processes', '', E'    SELECT * INTO kind FROM', E'    -- The limits of the type stay as they are to the end of the transaction (apply_limits).\n'
            '    PERFORM pg_advisory_xact_lock_shared(1347375692, hashtext(start_processes.process_type));\n    SELECT * INTO kind FROM'],
        ['start_processes', '', 'start_processes.process_type', 'start_in.process_type'],
        ['start_processes', '', E'newest    integer;\n', E'newest    integer;\n    more      text[] := CASE WHEN batch IS NULL THEN more_limits\n'
            '        ELSE coalesce(more_limits, ''{}'') || limit_name(''batch'', batch) END;\n'],
        ['start_processes', '', 'priority, input_data, era)', 'priority, input_data, era, batch, more_limits)'],
        ['start_processes', '', E'weight, i.input, newest\n', E'weight, i.input, newest, start_in.batch, more\n'],
        ['start_processes', '', E'timeout_minutes, max_retries, retry, on_crash, max_output_bytes)\n    SELECT',
            E'timeout_minutes, max_retries, retry, on_crash, max_output_bytes, limits)\n    SELECT'],
        ['start_processes', '', E'\n    FROM unnest(inserted) AS id, jsonb_to_recordset', E',\n        CASE WHEN t.limits IS NOT NULL THEN (\n'
            '            SELECT nullif(limit_entries(t.limits, NULL, p.input_data, kind.name), ''{}'') FROM processes p WHERE p.process_id = id\n'
            '        ) END\n    FROM unnest(inserted) AS id, jsonb_to_recordset'],
        ['start_processes', '', 'max_output_bytes bigint)', 'max_output_bytes bigint, limits jsonb)'],
        ['start_processes', '', 'priority, state, held_by, era)', 'priority, state, held_by, era, limits, task_limits)'],
        ['start_processes', '', E'\n        newest\n    FROM unnest(inserted) AS id\n', E'\n        newest, q.limits, q.task_limits\n'
            '    FROM unnest(inserted) AS id\n    LEFT JOIN LATERAL (\n        SELECT n.* FROM processes p\n'
            '        CROSS JOIN LATERAL queue_limits(kind.concurrency, kind.tasks, p.input_data, kind.name, more) AS n\n'
            '        WHERE (kind.concurrency IS NOT NULL OR more IS NOT NULL) AND p.process_id = ANY (ARRAY[id])\n    ) AS q ON true\n'],
        ['input_problem', '', 'input_file,output_dir,user_id,config', 'input_file,output_dir,user_id,scheduled_at,previous_scheduled_at,config'],
        ['input_problem', '', '(''input_file'', ''output_dir'', ''user_id'')',
            '(''input_file'', ''output_dir'', ''user_id'', ''scheduled_at'', ''previous_scheduled_at'')'],
        ['normal_input', '', '''user_id'', nullif(input ->> ''user_id'', ''''),', E'''user_id'', nullif(input ->> ''user_id'', ''''),\n'
            '        ''scheduled_at'', nullif(input ->> ''scheduled_at'', ''''),\n'
            '        ''previous_scheduled_at'', nullif(input ->> ''previous_scheduled_at'', ''''),'],
        ['missing_variables', '', '(input_file|output_dir|user_id)', '(input_file|output_dir|user_id|scheduled_at|previous_scheduled_at)'],
        ['missing_variables', '', '(''input_file'', ''output_dir'', ''user_id'')',
            '(''input_file'', ''output_dir'', ''user_id'', ''scheduled_at'', ''previous_scheduled_at'')'],
        ['move_processes', '', 'output, output_attempt, created_at, updated_at)', 'output, output_attempt, created_at, updated_at, limits)'],
        ['move_processes', '', E't.created_at, t.updated_at\n', E't.created_at, t.updated_at, t.limits\n'],
        ['retry_processes', '', E'    LOCK TABLE open_tasks IN ROW EXCLUSIVE MODE;\n', E'    LOCK TABLE open_tasks IN ROW EXCLUSIVE MODE;\n'
            '    PERFORM pg_advisory_xact_lock_shared(1347375692, hashtext(t.process_type)) FROM (\n'
            '        SELECT DISTINCT p.process_type FROM processes p WHERE p.process_id = ANY (process_ids) ORDER BY p.process_type) AS t;\n'],
        ['retry_processes', '', 'RETURNING p.process_id, p.process_type, p.priority,',
            'RETURNING p.process_id, p.process_type, p.priority, p.input_data, p.more_limits,'],
        ['retry_processes', '', 'priority, version, state, era)', 'priority, version, state, era, limits, task_limits)'],
        ['retry_processes', '', E'''READY'', newest\n        FROM process\n', E'''READY'', newest, q.limits, CASE\n'
            '                WHEN q.task_limits IS NULL AND EXISTS (SELECT FROM open_tasks t WHERE t.era = newest\n'
            '                    AND t.process_id = process.process_id AND t.limits IS NOT NULL) THEN ''{}'' ELSE q.task_limits END\n'
            '        FROM process LEFT JOIN process_types k ON k.name = process.process_type\n'
            '        CROSS JOIN LATERAL queue_limits(k.concurrency, k.tasks, process.input_data, k.name, process.more_limits) AS q\n']
    ];
    edit      text[];
    edited    text := '';
    body      text;
BEGIN
    -- As the texts below are written, whatever the session has names quoted for.
    PERFORM set_config('quote_all_identifiers', 'off', true);
    FOREACH edit SLICE 1 IN ARRAY edits LOOP
        IF edit[1] <> edited THEN
            IF body IS NOT NULL THEN
                EXECUTE body;
            END IF;
            edited := edit[1];
            SELECT pg_get_functiondef(p.oid) INTO body
            FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname = current_schema() AND p.proname = edited AND position(edit[2] IN p.prosrc) > 0;
        END IF;
        IF body IS NULL OR position(edit[3] IN body) = 0 THEN
            RAISE EXCEPTION '% is not as it was left: it lacks %', edited, edit[3]
                USING HINT = 'it was replaced by hand: restore it as the migrations make it, then migrate again';
        END IF;
        body := replace(body, edit[3], edit[4]);
    END LOOP;
    EXECUTE body;
END
$$;

-- The ways to it. The seven parameters are what functions call that `migrate --grant-start-to` has made.
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
BEGIN
    RETURN QUERY SELECT * FROM start_in(process_type, inputs, process_ids, start_at, priority, notify, is_granted);
END
$function$;

CREATE OR REPLACE FUNCTION start_processes(
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
BEGIN
    IF has_table_privilege('tasks'::regclass, 'INSERT') THEN
        RETURN QUERY SELECT * FROM start_in(process_type, inputs, process_ids, start_at, priority, notify, false);
    ELSE
        RETURN QUERY SELECT * FROM start_granted(process_type, inputs, process_ids, start_at, priority, notify);
    END IF;
END
$function$;

CREATE OR REPLACE FUNCTION start_process(
    process_type  text,
    input         jsonb       DEFAULT '{}',
    process_id    text        DEFAULT NULL,
    start_at      timestamptz DEFAULT NULL,
    priority      integer     DEFAULT 0,
    notify        boolean     DEFAULT true
) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    IF has_table_privilege('tasks'::regclass, 'INSERT') THEN
        RETURN (SELECT * FROM start_in(process_type, ARRAY[input], ARRAY[process_id], start_at, priority, notify, false));
    END IF;
    RETURN (SELECT * FROM start_granted(process_type, ARRAY[input], ARRAY[process_id], start_at, priority, notify));
END
$function$;

-- For people: what is taken of each limit and key, and what waits. `process-orchestrator limits list` counts no further than
-- anybody wants to know; this counts all.
CREATE VIEW limit_usage AS
SELECT l.name, u.key, l.max, l.is_paused, coalesce(sum(u.taken), 0)::bigint AS taken, coalesce(sum(u.waiting), 0)::bigint AS waiting,
    min(u.due) AS first_due
FROM limits l LEFT JOIN (
    SELECT limit_name, slot_key AS key, count(*) AS taken, 0 AS waiting, NULL::timestamptz AS due FROM limit_slots GROUP BY 1, 2
    UNION ALL
    SELECT split_part(substr(held_by, 7), '=', 1), substr(held_by, length(split_part(held_by, '=', 1)) + 2), 0, count(*),
        min(execution_time)
    FROM scheduled_tasks WHERE state = 'HELD' AND held_by LIKE 'limit:%' GROUP BY held_by
) AS u ON u.limit_name = l.name
GROUP BY l.name, u.key;
