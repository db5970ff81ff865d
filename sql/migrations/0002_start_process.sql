-- The one way to start processes, from any language, inside the caller's own transaction.
--
-- Errors carry SQLSTATEs of their own: PO001 unknown process type, PO002 invalid input, PO003 input lacks a
-- variable, PO004 process id taken by another process, PO005 invalid process id.

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
    ids       text[];
    inserted  text[];
    how_many  integer := coalesce(array_length(inputs, 1), 0);
BEGIN
    SELECT * INTO kind FROM process_types WHERE name = start_processes.process_type;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown process type "%"', start_processes.process_type
            USING ERRCODE = 'PO001', HINT = 'register it first; known are: ' ||
                coalesce((SELECT string_agg(name, ', ' ORDER BY name) FROM
                    (SELECT name FROM process_types ORDER BY name LIMIT 20) AS known), 'none');
    END IF;
    IF process_ids IS NOT NULL AND coalesce(array_length(process_ids, 1), 0) <> how_many THEN
        RAISE EXCEPTION '% inputs but % process ids', how_many, coalesce(array_length(process_ids, 1), 0)
            USING ERRCODE = 'PO005', HINT = 'give one id for each input, or none at all';
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

    -- Ids for those that have none; numbers whose id somebody has taken by hand are passed over.
    SELECT array_agg(coalesce(process_ids[n], unused_process_id(kind.name)) ORDER BY n) INTO ids
    FROM generate_series(1, how_many) AS n;

    WITH new_processes AS (
        INSERT INTO processes (process_id, process_type, total_tasks, priority, input_data)
        SELECT i.id, kind.name, jsonb_array_length(kind.tasks), start_processes.priority, i.input
        FROM unnest(ids, inputs) AS i (id, input)
        ON CONFLICT (process_id) DO NOTHING
        RETURNING process_id
    )
    SELECT array_agg(process_id) INTO inserted FROM new_processes;

    IF coalesce(array_length(inserted, 1), 0) < how_many THEN
        SELECT p.process_id, p.process_type INTO bad
        FROM unnest(ids, inputs) AS i (id, input) JOIN processes p ON p.process_id = i.id
        WHERE p.process_type <> kind.name OR p.input_data <> i.input
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'process id "%" is taken by a process of type "%" with other input',
                bad.process_id, bad.process_type
                USING ERRCODE = 'PO004', HINT = 'choose another id; the same id with the same type and input '
                    'gives back the process that is there';
        END IF;
    END IF;

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
    SELECT kind.name, id, coalesce(start_at, now() - (cardinality(inserted) - n) * interval '1 microsecond'),
        start_processes.priority
    FROM unnest(inserted) WITH ORDINALITY AS i (id, n);

    IF inserted IS NOT NULL AND coalesce(start_at <= now(), true) THEN
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

CREATE FUNCTION unused_process_id(type_name text) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
DECLARE
    candidate text;
BEGIN
    LOOP
        candidate := type_name || '-' || nextval('process_number');
        EXIT WHEN NOT EXISTS (SELECT 1 FROM processes WHERE process_id = candidate);
    END LOOP;
    RETURN candidate;
END
$function$;
