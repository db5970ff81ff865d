-- Shows the output of running commands, one row for each, newer in the place of older.
-- $1 node id; by command: $2 process ids, $3 task indexes, $4 attempts, $5 ages in ms, $6 bytes printed,
-- $7 the last of them, $8 CPU time in ms, $9 peak memory in bytes, $10 ms since it printed.
-- A row that somebody has locked stays as it is.
WITH free AS MATERIALIZED (
    SELECT process_id FROM live_output WHERE process_id = ANY ($2::text[]) FOR UPDATE SKIP LOCKED
)
INSERT INTO live_output (process_id, task_index, attempt, node_id, started_at, updated_at, output_bytes, tail,
    cpu_ms, memory_bytes, printed_at)
SELECT process_id, task_index, attempt, $1, clock_timestamp() - age_ms * interval '1 millisecond',
    clock_timestamp(), output_bytes, tail, cpu_ms, memory_bytes,
    clock_timestamp() - silent_ms * interval '1 millisecond'
FROM unnest($2::text[], $3::int[], $4::int[], $5::float8[], $6::bigint[], $7::bytea[], $8::float8[], $9::bigint[],
    $10::float8[])
    AS shown (process_id, task_index, attempt, age_ms, output_bytes, tail, cpu_ms, memory_bytes,
        silent_ms)
WHERE process_id = ANY (ARRAY(SELECT free.process_id FROM free))
    OR NOT EXISTS (SELECT FROM live_output l WHERE l.process_id = shown.process_id)
ON CONFLICT (process_id) DO UPDATE SET
    task_index = excluded.task_index,
    attempt = excluded.attempt,
    node_id = excluded.node_id,
    -- The clock of the first time: the command has begun only once.
    started_at = CASE WHEN (live_output.task_index, live_output.attempt, live_output.node_id)
        = (excluded.task_index, excluded.attempt, excluded.node_id)
        THEN live_output.started_at ELSE excluded.started_at END,
    updated_at = excluded.updated_at,
    output_bytes = excluded.output_bytes,
    tail = excluded.tail,
    cpu_ms = excluded.cpu_ms,
    memory_bytes = excluded.memory_bytes,
    printed_at = excluded.printed_at
