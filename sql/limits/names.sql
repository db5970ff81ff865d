-- Names of limits that begin so, for completion and suggestions. $1 the beginning, $2 how many.
SELECT l.name, CASE WHEN l.max IS NULL THEN 'no bound' ELSE 'max ' || l.max END AS about
FROM limits l WHERE starts_with(l.name, $1::text) ORDER BY l.name LIMIT $2
