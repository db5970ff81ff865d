-- Locks those of these processes that nobody else has locked. $1 ids.
SELECT p.process_id
FROM unnest($1::text[]) AS wanted (process_id)
JOIN processes p ON p.process_id = ANY (ARRAY[wanted.process_id])
FOR UPDATE OF p SKIP LOCKED
