-- The one role that owns all that is in the schema $1, where that is somebody else for whom this session may act: what it makes
-- is to be that role's, or the owner could not use it, and who has rights by the owner's default privileges neither. Nothing
-- where the schema has several owners, where its owner may not make anything in it, or where this session's role has default
-- privileges there itself, by which others have their rights.
WITH owned AS (
    SELECT c.relowner AS owner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'S')
    UNION
    SELECT t.typowner FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = $1 AND t.typtype = 'd'
    UNION
    SELECT p.proowner FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1
)
SELECT r.rolname::text AS owner
FROM pg_roles r
WHERE r.oid = (SELECT max(owner) FROM owned HAVING count(*) = 1)
    AND r.rolname <> current_user
    -- A membership may come without SET ROLE since version 16.
    AND CASE WHEN current_setting('server_version_num')::int >= 160000
        THEN pg_has_role(r.oid, 'SET') ELSE pg_has_role(r.oid, 'MEMBER') END
    AND has_schema_privilege(r.oid, (SELECT n.oid FROM pg_namespace n WHERE n.nspname = $1), 'CREATE')
    AND NOT EXISTS (SELECT FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace
        WHERE n.nspname = $1 AND pg_get_userbyid(d.defaclrole) = current_user)
