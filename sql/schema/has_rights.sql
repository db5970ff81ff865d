-- Whether a role was granted anything in a schema: $1 the schema, $2 the role.
SELECT EXISTS (
    SELECT FROM pg_namespace n
    JOIN pg_roles r ON r.rolname = $2
    CROSS JOIN LATERAL (
        SELECT g.grantee FROM pg_class c, aclexplode(c.relacl) AS g WHERE c.relnamespace = n.oid
        UNION ALL
        SELECT g.grantee FROM pg_proc p, aclexplode(p.proacl) AS g WHERE p.pronamespace = n.oid
    ) AS granted
    WHERE n.nspname = $1 AND granted.grantee = r.oid
) AS has_rights
