-- works from: 6
--
-- Who may start processes, and with what types of values. From here on the search path of every function of ours is the
-- schema, then pg_temp: without that word temporary tables go before all others. Functions that were made before are
-- mended by every migrate (src/store/functions.rs).

-- As in the seventh migration.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- A process type's part in the name of the function that starts it for those who have been granted that: names of types
-- may be longer than those of functions, and who may read the catalogue need not learn them. Not md5(), which servers
-- in FIPS mode refuse.
CREATE FUNCTION type_key(process_type text) RETURNS text
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $function$
    SELECT left(encode(sha256(convert_to(process_type, 'UTF8')), 'hex'), 32)
$function$;

-- What starts are made of, with the rights of who calls it. As in the eighth migration, but that ids are checked by the
-- rule of src/model/names.rs whatever the locale, and that who was granted this type alone (`is_granted`) is told nothing
-- of other types and their processes.
CREATE FUNCTION start_processes(
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
BEGIN
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
        INSERT INTO processes (process_id, process_type, total_tasks, priority, input_data)
        SELECT i.id, kind.name, jsonb_array_length(kind.tasks), weight, i.input
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
            INSERT INTO processes (process_id, process_type, total_tasks, priority, input_data)
            SELECT i.id, kind.name, jsonb_array_length(kind.tasks), weight, i.input
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

    INSERT INTO tasks (task_id, process_id, task_index, name, command, shell, working_directory, environment,
        timeout_minutes, max_retries, retry, on_crash, max_output_bytes)
    SELECT id || ':' || t.task_index, id, t.task_index, t.name, t.command, t.shell, t.working_directory, t.environment,
        t.timeout_minutes, t.max_retries, t.retry, t.on_crash, t.max_output_bytes
    FROM unnest(inserted) AS id, jsonb_to_recordset(kind.tasks) AS t (
        task_index integer, name text, command text, shell boolean, working_directory text, environment jsonb,
        timeout_minutes double precision, max_retries integer, retry jsonb, on_crash text,
        max_output_bytes bigint);

    -- Those that are due at once keep the order in which they were given: a microsecond apart, none in the future. By the
    -- statement's time, since one transaction may start them in parts, as `start --inputs` does.
    INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, priority, state, held_by)
    SELECT kind.name, id, coalesce(start_at, statement_timestamp() - (how_many - place.n) * interval '1 microsecond'), weight,
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

-- For whoever has no right on the tables: by the function of this type, or of all types, that `migrate --grant-start-to` has
-- made and let the caller's role execute. Those run with the owner's rights and call the one above; who may call them is
-- PostgreSQL's to say, by membership, SET ROLE and REVOKE.
CREATE FUNCTION start_granted(
    process_type  text,
    inputs        jsonb[],
    process_ids   text[],
    start_at      timestamptz,
    priority      integer,
    notify        boolean
) RETURNS SETOF text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
DECLARE
    door text;
BEGIN
    SELECT p.proname INTO door
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = current_schema() AND p.proname IN ('start_granted_' || type_key(process_type), 'start_granted_all')
        AND has_function_privilege(p.oid, 'EXECUTE')
    LIMIT 1;
    IF door IS NULL THEN
        RAISE EXCEPTION 'role "%" may not start processes of type "%"', current_user, process_type
            USING ERRCODE = 'insufficient_privilege',
                HINT = format('have the owner of the tables run: process-orchestrator migrate --grant-start-to ''%s:%s''',
                    current_user, process_type);
    END IF;
    RETURN QUERY EXECUTE format('SELECT * FROM %I($1, $2, $3, $4, $5, $6)', door)
        USING process_type, inputs, process_ids, start_at, priority, notify;
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
        RETURN QUERY SELECT * FROM start_processes(process_type, inputs, process_ids, start_at, priority, notify, false);
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
        RETURN (SELECT * FROM start_processes(process_type, ARRAY[input], ARRAY[process_id], start_at, priority, notify, false));
    END IF;
    RETURN (SELECT * FROM start_granted(process_type, ARRAY[input], ARRAY[process_id], start_at, priority, notify));
END
$function$;

-- What drivers send. They say of a text that it is text (JDBC's setString, Npgsql), of a document that it is json, of a
-- number that it is bigint; PostgreSQL casts none of these to the types above by itself.

-- A document out of its text, by the rules of ProcessInputData::from_json (src/model/input.rs): one size, no key twice.
-- `whose` says which of many it is.
CREATE FUNCTION parsed_input(input text, whose text DEFAULT '') RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
DECLARE
    bytes_max constant integer := 1048576;
    parsed    jsonb;
    problem   text;
BEGIN
    IF octet_length(input) > bytes_max THEN
        problem := 'it has ' || octet_length(input) || ' bytes; at most ' || bytes_max
            || ' (1 MiB) are allowed: put the data in a file';
    ELSE
        BEGIN
            parsed := input::jsonb;
        EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
            problem := 'it is not JSON that can be kept: ' || SQLERRM;
        END;
        -- A key that was dropped has taken its quotation marks along; only that escape makes more of them.
        IF jsonb_typeof(parsed) = 'object' AND (strpos(input, 'u0022') > 0
            OR length(replace(input, '"', '')) - length(input) <> length(replace(parsed::text, '"', '')) - length(parsed::text))
        THEN
            problem := key_given_twice(input::json) || ' is given twice';
        END IF;
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'invalid input%: %', whose, problem USING ERRCODE = 'PO002',
            HINT = 'input is {"input_file", "output_dir", "user_id", "config": {}, "metadata": {}}';
    END IF;
    RETURN parsed;
END
$function$;

-- The path of a key that an object holds twice, or null: jsonb would keep the last one without a word.
CREATE FUNCTION key_given_twice(document json) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
BEGIN
    RETURN (WITH RECURSIVE pair AS (
        SELECT p.key AS path, p.value, 1 AS level FROM json_each(document) AS p
        UNION ALL
        SELECT pair.path || '.' || p.key, p.value, pair.level + 1
        FROM pair, json_each(CASE WHEN json_typeof(pair.value) = 'object' THEN pair.value ELSE '{}' END) AS p
        WHERE pair.level < 10
    )
    SELECT path FROM pair GROUP BY level, path HAVING count(*) > 1 ORDER BY path LIMIT 1);
END
$function$;

CREATE FUNCTION parsed_inputs(inputs text[]) RETURNS jsonb[]
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
BEGIN
    IF array_ndims(inputs) > 1 THEN
        RAISE EXCEPTION 'inputs and process_ids are lists, not arrays of arrays' USING ERRCODE = 'PO002',
            HINT = 'pass one-dimensional arrays';
    END IF;
    RETURN coalesce((
        SELECT array_agg(parsed_input(i.input, CASE WHEN cardinality(inputs) > 1 THEN ' number ' || i.n ELSE '' END)
            ORDER BY i.n)
        FROM unnest(inputs) WITH ORDINALITY AS i (input, n)), '{}');
END
$function$;

CREATE FUNCTION small_priority(priority bigint) RETURNS integer
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
BEGIN
    IF priority NOT BETWEEN -2147483648 AND 2147483647 THEN
        RAISE EXCEPTION 'invalid priority %', priority USING ERRCODE = 'numeric_value_out_of_range',
            HINT = 'give a whole number from -2147483648 to 2147483647; 0 is usual';
    END IF;
    RETURN priority::integer;
END
$function$;

-- The same functions for the other types. What PostgreSQL takes where a call leaves the types open is decided by its rules
-- for that, and tested (tests/it/node/drivers.rs):
-- * a literal without a type, or a parameter, in the place of `input` is a text: texts win;
-- * in the place of `inputs` it is jsonb[], as it was: those below have `bpchar` in the first place, which gives way to
--   `text` whatever is there. So it is with `priority`, which stays integer.
-- `input` has no default in them, or a call without it would be anybody's.
DO $doors$
DECLARE
    door record;
BEGIN
    FOR door IN
        SELECT kind, name, number FROM unnest(ARRAY['jsonb', 'json', 'text']) AS kind,
            (VALUES ('text', 'integer'), ('bpchar', 'bigint')) AS types (name, number)
    LOOP
        IF (door.kind, door.name) <> ('jsonb', 'text') THEN
            EXECUTE format($text$
                CREATE FUNCTION start_process(process_type %s, input %s, process_id text DEFAULT NULL,
                    start_at timestamptz DEFAULT NULL, priority %s DEFAULT 0, notify boolean DEFAULT true) RETURNS text
                LANGUAGE plpgsql SET search_path FROM CURRENT AS $function$
                BEGIN
                    RETURN start_process(process_type::text, %s, process_id, start_at, %s, notify);
                END $function$$text$, door.name, door.kind, door.number,
                CASE door.kind WHEN 'jsonb' THEN 'input' ELSE 'parsed_input(input::text)' END,
                CASE door.number WHEN 'bigint' THEN 'small_priority(priority)' ELSE 'priority' END);
        END IF;
        IF door.name = 'bpchar' THEN
            EXECUTE format($text$
                CREATE FUNCTION start_processes(process_type bpchar, inputs %s[], process_ids text[] DEFAULT NULL,
                    start_at timestamptz DEFAULT NULL, priority bigint DEFAULT 0, notify boolean DEFAULT true)
                RETURNS SETOF text
                LANGUAGE plpgsql SET search_path FROM CURRENT AS $function$
                BEGIN
                    RETURN QUERY SELECT * FROM start_processes(process_type::text, %s, process_ids, start_at,
                        small_priority(priority), notify);
                END $function$$text$, door.kind,
                CASE door.kind WHEN 'jsonb' THEN 'inputs' ELSE 'parsed_inputs(inputs::text[])' END);
        END IF;
    END LOOP;
END
$doors$;

CREATE FUNCTION retry_process(process_id bpchar, from_task text, changes json) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    RETURN retry_process(process_id::text, from_task, parsed_input(changes::text));
END
$function$;
