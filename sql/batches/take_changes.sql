-- Takes up to $2 changes of the batches $1, and what is left of batches that are gone. One row for each kind of change, but that
-- failures come with whose they are.
WITH taken AS (
    DELETE FROM batch_changes WHERE ctid = ANY (ARRAY(
        SELECT c.ctid FROM batch_changes c
        WHERE c.batch = ANY ($1::text[]) OR NOT EXISTS (SELECT FROM batches b WHERE b.name = c.batch)
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING batch, was, now, how_many, process_id, message
)
SELECT batch, was, now, sum(how_many) AS how_many, process_id, message FROM taken GROUP BY batch, was, now, process_id, message
