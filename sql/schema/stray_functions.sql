-- Functions of ours that look for names elsewhere than in the schema first and in pg_temp last: made by releases that left
-- pg_temp out, which puts it before all others; or the schema was renamed, or restored under another name, and they act on
-- the one of the old name. And functions that act with their owner's rights, which PUBLIC may execute: a dump that is restored
-- without rights has lost what kept it out. Two are everybody's. $1 the schema, $2 our functions. What others have put into the schema is theirs.
SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS signature,
    p.proname::text AS name,
    path.value AS search_path,
    -- Not merely pg_temp: another schema goes first.
    path.value IS NOT NULL AND NOT (path.value = ANY (here.forms)
        OR EXISTS (SELECT FROM unnest(here.forms) AS form WHERE starts_with(path.value, form || ','))) AS is_elsewhere,
    path.is_astray, open.is_open,
    pg_has_role(p.proowner, 'USAGE') AS may_alter
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
-- As it is quoted where it has to be, and where somebody has everything quoted.
CROSS JOIN (SELECT ARRAY[quote_ident($1), '"' || replace($1, '"', '""') || '"'] AS forms) AS here
CROSS JOIN LATERAL (
    SELECT value,
        NOT coalesce(replace(value, '"pg_temp"', 'pg_temp') = ANY (ARRAY[here.forms[1] || ', pg_temp', here.forms[2] || ', pg_temp']), false)
            AS is_astray
    FROM (SELECT (SELECT substr(entry, length('search_path=') + 1) FROM unnest(p.proconfig) AS entry
        WHERE starts_with(entry, 'search_path=')) AS value) AS entry
) AS path
CROSS JOIN LATERAL (
    SELECT p.prosecdef AND p.proname NOT IN ('wake_nodes', 'note_type_version') AND EXISTS (
        SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS granted WHERE granted.grantee = 0
    ) AS is_open
) AS open
WHERE n.nspname = $1
    AND (p.proname || '(' || oidvectortypes(p.proargtypes) || ')' = ANY ($2::text[]) OR starts_with(p.proname, 'start_granted_'))
    AND (path.is_astray OR open.is_open)
ORDER BY p.proname, p.oid
