-- The one way to start processes, from any language, inside the caller's own transaction.
--
-- Errors carry SQLSTATEs of their own: PO001 unknown process type, PO002 invalid input, PO003 input lacks a
-- variable, PO004 process id taken by another process, PO005 invalid process id, PO006 invalid start time.

CREATE FUNCTION start_processes(
    process_type  text,
    inputs        jsonb[],
    process_ids   text[]      DEFAULT NULL,
    start_at      timestamptz DEFAULT NULL,
    priority      integer     DEFAULT 0
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
    INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, priority)
    SELECT kind.name, id, coalesce(start_at, now() - (how_many - place.n) * interval '1 microsecond'), weight
    FROM unnest(inserted) AS id
    JOIN (SELECT i.id, min(i.n) AS n FROM unnest(ids) WITH ORDINALITY AS i (id, n) GROUP BY i.id) AS place USING (id);

    IF cardinality(inserted) > 0 AND coalesce(start_at <= now(), true) THEN
        PERFORM pg_notify(current_schema(), kind.name);
    END IF;
    RETURN QUERY SELECT unnest(ids);
END
$function$;

CREATE FUNCTION start_process(
    process_type  text,
    input         jsonb       DEFAULT '{}',
    process_id    text        DEFAULT NULL,
    start_at      timestamptz DEFAULT NULL,
    priority      integer     DEFAULT 0
) RETURNS text
LANGUAGE sql
SET search_path FROM CURRENT
AS $function$
    SELECT * FROM start_processes(start_process.process_type, ARRAY[start_process.input],
        ARRAY[start_process.process_id], start_process.start_at, start_process.priority)
$function$;

-- Says what is wrong with an input, or null. The library and the CLI check more, with better words; this holds
-- for everybody else.
CREATE FUNCTION input_problem(input jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $function$
    SELECT CASE
        WHEN input IS NULL THEN 'it is null'
        WHEN jsonb_typeof(input) <> 'object' THEN 'it is of type ' || jsonb_typeof(input) || ', not an object'
        ELSE (
            SELECT CASE
                WHEN key IN ('input_file', 'output_dir', 'user_id') THEN
                    key || ' is of type ' || jsonb_typeof(value) || ', not a string'
                WHEN key IN ('config', 'metadata') AND jsonb_typeof(value) <> 'object' THEN
                    key || ' is of type ' || jsonb_typeof(value) || ', not an object'
                WHEN key IN ('config', 'metadata') THEN
                    key || '.' || (SELECT k FROM jsonb_each(value) AS pair (k, v)
                        WHERE jsonb_typeof(v) NOT IN ('string', 'number', 'boolean') ORDER BY k LIMIT 1)
                    || ' is not a string, number or boolean'
                ELSE 'unknown key "' || key || '"'
            END
            FROM jsonb_each(input) AS entry (key, value)
            WHERE NOT CASE
                WHEN key IN ('input_file', 'output_dir', 'user_id') THEN jsonb_typeof(value) IN ('string', 'null')
                WHEN key IN ('config', 'metadata') THEN jsonb_typeof(value) = 'object' AND NOT EXISTS (
                    SELECT 1 FROM jsonb_each(CASE WHEN jsonb_typeof(value) = 'object' THEN value ELSE '{}' END)
                        AS pair (k, v) WHERE jsonb_typeof(v) NOT IN ('string', 'number', 'boolean'))
                ELSE false
            END
            ORDER BY key LIMIT 1
        )
    END
$function$;
