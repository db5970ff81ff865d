-- Which version of a process type a definition was last, and which one is registered now. $1 name, $2 definition.
-- Nothing, if the definition was never registered, or the type is not there any more.
SELECT was.version, was.registered_at, was.registered_by,
    now.version AS now_version, now.registered_at AS now_registered_at, now.registered_by AS now_registered_by
FROM (SELECT v.* FROM process_type_versions v WHERE v.name = $1 AND v.definition = $2::jsonb ORDER BY v.version DESC LIMIT 1) AS was
CROSS JOIN (SELECT v.* FROM process_type_versions v WHERE v.name = $1 ORDER BY v.version DESC LIMIT 1) AS now
WHERE EXISTS (SELECT FROM process_types WHERE name = $1)
