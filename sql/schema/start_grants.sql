-- Who was granted to start processes: $1 the schema, $2 a type's name, whose function and that of all types count, or null
-- for every function. The owner's own right is none of these; who may write the tables needs none.
SELECT grantee.rolname::text AS role, p.proname::text AS door, p.proname = 'start_granted_all' AS is_all,
    has_table_privilege(grantee.oid, 'tasks'::regclass, 'INSERT') AS has_tables
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
CROSS JOIN LATERAL aclexplode(p.proacl) AS granted
JOIN pg_roles grantee ON grantee.oid = granted.grantee
WHERE n.nspname = $1 AND starts_with(p.proname, 'start_granted_') AND granted.grantee <> p.proowner
    AND ($2::text IS NULL OR p.proname IN ('start_granted_all', 'start_granted_' || type_key($2)))
ORDER BY role, is_all, door
