-- works from: 6
--
-- An input means the same whoever starts the process. Kept, and compared with what is there, is its normal form: numbers
-- and booleans in `config` and `metadata` are texts, what an object in them holds is named by its path, null is as good as
-- absent, and an empty file, directory or user is missing. ProcessInputData (src/model/input.rs) writes just that.

-- As in the seventh migration.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- What objects in `pairs` hold under the paths of their keys, as texts or null; an empty object for what is none.
CREATE FUNCTION flat_pairs(pairs jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
BEGIN
    IF jsonb_typeof(pairs) = 'object' AND NOT pairs @? '$.*.type() ? (@ != "string")' THEN
        RETURN pairs;
    END IF;
    RETURN (WITH RECURSIVE pair AS (
        SELECT p.key, p.value FROM jsonb_each(CASE WHEN jsonb_typeof(pairs) = 'object' THEN pairs ELSE '{}' END) AS p
        UNION ALL
        SELECT pair.key || '.' || p.key, p.value
        FROM pair, jsonb_each(CASE WHEN jsonb_typeof(pair.value) = 'object' THEN pair.value ELSE '{}' END) AS p
    )
    SELECT coalesce(jsonb_object_agg(key, value #>> '{}'), '{}') FROM pair WHERE jsonb_typeof(value) <> 'object');
END
$function$;

-- The normal form. Most inputs have it, and pay no more than the look. In PL/pgSQL, which keeps its plans: in SQL a call took
-- ten times as long.
CREATE FUNCTION normal_input(input jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
BEGIN
    IF NOT input @? '$ ? (exists(@.* ? (@ == null || @ == "")) || exists(@.*.*.type() ? (@ != "string")))'
        AND input -> 'config' IS DISTINCT FROM '{}' AND input -> 'metadata' IS DISTINCT FROM '{}'
    THEN
        RETURN input;
    END IF;
    RETURN jsonb_strip_nulls(jsonb_build_object(
        'input_file', nullif(input ->> 'input_file', ''),
        'output_dir', nullif(input ->> 'output_dir', ''),
        'user_id', nullif(input ->> 'user_id', ''),
        'config', nullif(jsonb_strip_nulls(flat_pairs(input -> 'config')), '{}'),
        'metadata', nullif(jsonb_strip_nulls(flat_pairs(input -> 'metadata')), '{}')));
END
$function$;

-- Says what is wrong with a `config` or `metadata`, or null. 8 levels and 400 characters are also in src/model.
CREATE FUNCTION pairs_problem(pairs jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
BEGIN
    RETURN (WITH RECURSIVE pair AS (
        SELECT p.key AS path, p.key, p.value, 1 AS level FROM jsonb_each(pairs) AS p
        UNION ALL
        SELECT pair.path || '.' || p.key, p.key, p.value, pair.level + 1
        FROM pair, jsonb_each(CASE WHEN jsonb_typeof(pair.value) = 'object' THEN pair.value ELSE '{}' END) AS p
        WHERE pair.level < 8
    ), checked AS (
        SELECT path, CASE
            WHEN key = '' THEN ' has an empty key'
            WHEN jsonb_typeof(value) = 'array' OR value = '{}' THEN ' is not a string, number or boolean'
            WHEN jsonb_typeof(value) = 'object' AND level = 8 THEN ' is nested more than 8 levels deep'
            WHEN jsonb_typeof(value) = 'number' AND length(value #>> '{}') > 400
                THEN ' has more than 400 characters when it is written out: put the number in quotes'
            WHEN jsonb_typeof(value) NOT IN ('object', 'null') AND count(*) FILTER (
                WHERE jsonb_typeof(value) NOT IN ('object', 'null')) OVER (PARTITION BY path) > 1 THEN ' is given twice'
        END AS problem
        FROM pair
    )
    SELECT path || problem FROM checked WHERE problem IS NOT NULL ORDER BY path LIMIT 1);
END
$function$;

-- As in the second migration, but for null, objects, the size of numbers and that of the whole; and faster.
CREATE OR REPLACE FUNCTION input_problem(input jsonb) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
DECLARE
    bytes_max constant integer := 1048576;
    problem   text;
BEGIN
    IF input IS NULL THEN
        RETURN 'it is null';
    ELSIF jsonb_typeof(input) <> 'object' THEN
        RETURN 'it is of type ' || jsonb_typeof(input) || ', not an object';
    ELSIF octet_length(input::text) > bytes_max THEN
        RETURN 'it has ' || octet_length(input::text) || ' bytes; at most ' || bytes_max
            || ' (1 MiB) are allowed: put the data in a file';
    END IF;
    -- Texts alone, in their places. Asked of `type()`: of arrays a path would look at the elements.
    IF input - '{input_file,output_dir,user_id,config,metadata}'::text[] = '{}'
        AND input - '{config,metadata}'::text[] @? '$ ? (!exists(@.*.type() ? (@ != "string")))'
        AND input @? '$ ? (!exists(@.config.type() ? (@ != "object")) && !exists(@.metadata.type() ? (@ != "object"))
            && !exists(@.*.*.type() ? (@ != "string")))'
        AND NOT coalesce(input -> 'config' ? '', false) AND NOT coalesce(input -> 'metadata' ? '', false)
    THEN
        RETURN NULL;
    END IF;
    SELECT told.problem INTO problem
    FROM jsonb_each(input) AS entry (key, value) CROSS JOIN LATERAL (SELECT CASE
        WHEN key IN ('input_file', 'output_dir', 'user_id') THEN
            CASE WHEN jsonb_typeof(value) NOT IN ('string', 'null')
                THEN key || ' is of type ' || jsonb_typeof(value) || ', not a string' END
        WHEN key NOT IN ('config', 'metadata') THEN 'unknown key "' || key || '"'
        WHEN jsonb_typeof(value) NOT IN ('object', 'null') THEN
            key || ' is of type ' || jsonb_typeof(value) || ', not an object'
        WHEN jsonb_typeof(value) = 'object' THEN key || '.' || pairs_problem(value)
    END AS problem) AS told
    WHERE told.problem IS NOT NULL
    ORDER BY key LIMIT 1;
    IF problem IS NULL AND octet_length(normal_input(input)::text) > bytes_max THEN
        RETURN 'it has more than ' || bytes_max || ' bytes (1 MiB) when it is written out: put the data in a file';
    END IF;
    RETURN problem;
END
$function$;

-- As in the third migration, but that the outcome has the normal form.
CREATE OR REPLACE FUNCTION changed_input(input jsonb, changes jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
SET search_path FROM CURRENT
AS $function$
    SELECT CASE WHEN changes IS NULL THEN input ELSE normal_input(
        input || (changes - 'config' - 'metadata') || jsonb_build_object(
            'config', flat_pairs(input -> 'config') || flat_pairs(changes -> 'config'),
            'metadata', flat_pairs(input -> 'metadata') || flat_pairs(changes -> 'metadata')))
    END
$function$;

-- As in the third migration, but for `${name-default}`.
CREATE OR REPLACE FUNCTION missing_variables(process_id text, from_index integer, input jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $function$
    SELECT string_agg(DISTINCT '${' || found.name || '}', ', ' ORDER BY '${' || found.name || '}')
    FROM tasks t
    CROSS JOIN LATERAL (
        SELECT t.command AS template
        UNION ALL SELECT t.working_directory
        UNION ALL SELECT pair.value FROM jsonb_each_text(t.environment) AS pair
    ) AS texts
    CROSS JOIN LATERAL (
        SELECT match[1] AS name FROM regexp_matches(replace(texts.template, '$${', ''), '\$\{([^}]*)\}', 'g') AS match
    ) AS found
    WHERE t.process_id = missing_variables.process_id AND t.task_index >= missing_variables.from_index
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

-- start_processes is as the migrations before have left it, but for what is replaced here: it goes on with normal forms, from
-- the look for what is missing to the comparison with what is there.
DO $$
DECLARE
    body  text;
    pairs constant text[] := ARRAY[
        ['SELECT i.n, string_agg(''${'' || needed',
         E'SELECT array_agg(normal_input(i.input) ORDER BY i.n) INTO wanted FROM unnest(inputs) WITH ORDINALITY AS i (input, n);\n    '
            'SELECT i.n, string_agg(''${'' || needed'],
        ['FROM unnest(inputs) WITH ORDINALITY AS i (input, n), unnest(kind.required_input)',
         'FROM unnest(wanted) WITH ORDINALITY AS i (input, n), unnest(kind.required_input)'],
        [E'SELECT array_agg(i.input ORDER BY i.n) INTO wanted FROM unnest(inputs) WITH ORDINALITY AS i (input, n);\n', E'\n'],
        ['p.input_data <> i.input', 'normal_input(p.input_data) <> i.input']];
    pair  text[];
BEGIN
    -- The one that writes processes, should others of the name call it.
    SELECT pg_get_functiondef(p.oid) INTO body
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = current_schema() AND p.proname = 'start_processes' AND p.prosrc LIKE '%INSERT INTO processes%';
    FOREACH pair SLICE 1 IN ARRAY pairs LOOP
        IF body IS NULL OR position(pair[1] IN body) = 0 THEN
            RAISE EXCEPTION 'start_processes is not as it was left: it lacks %', pair[1]
                USING HINT = 'it was replaced by hand: restore it as the migrations make it, then migrate again';
        END IF;
        body := replace(body, pair[1], pair[2]);
    END LOOP;
    EXECUTE body;
END
$$;

-- Some of the unfinished ones, for whoever reads the table. The rest stays as it is: 300,000 took more than a minute, and
-- nobody records a row that was changed until the end. Nothing depends on it: what is compared with a row takes its normal
-- form, and lists by metadata look for numbers too (src/store/read/list.rs). What a node records at this moment is passed
-- over, so that neither waits for the other.
UPDATE processes SET input_data = normal_input(input_data)
WHERE process_id IN (
    SELECT p.process_id FROM scheduled_tasks s JOIN processes p ON p.process_id = s.task_instance
    WHERE p.input_data @? '$ ? (exists(@.* ? (@ == null || @ == "")) || exists(@.*.*.type() ? (@ != "string")))'
        AND input_problem(p.input_data) IS NULL
    LIMIT 10000
    FOR UPDATE OF p SKIP LOCKED
);

-- When a running command printed last. Nodes of the release before do not say. It locks a table that nodes write all the time:
-- the last thing here.
ALTER TABLE live_output ADD COLUMN printed_at timestamptz;
