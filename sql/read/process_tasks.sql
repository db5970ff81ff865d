-- Tasks of a process in their order, as many as fit. $1 process id, $2 whether their output is wanted, $3 only the task of
-- this index, or null, $4 the index of the last one of the page before, or null, $5 how many rows at the most, $6 bytes after
-- which the page ends, $7 and $8 from which character of an output on and how many, $9 bytes of a command, a directory, an
-- error or an environment: of a larger one the begin, or only its size.
--
-- `before` is what the rows before take up: lengths of texts are read without the texts themselves, which only the rows
-- that are given have fetched.
SELECT task_id, process_id, task_index, name,
    CASE WHEN octet_length(command) > $9::bigint THEN left(command, ($9::bigint / 4)::int) || '…' ELSE command END AS command,
    shell, CASE WHEN octet_length(working_directory) > $9::bigint THEN left(working_directory, ($9::bigint / 4)::int) || '…'
        ELSE working_directory END AS working_directory,
    CASE WHEN environment_bytes > $9::bigint THEN jsonb_build_object('…', 'left out: ' || environment_bytes || ' bytes')
        ELSE environment END AS environment,
    timeout_minutes, max_retries, retry_count, attempt, status, started_at, completed_at,
    CASE WHEN octet_length(error_message) > $9::bigint THEN left(error_message, ($9::bigint / 4)::int) || '…' ELSE error_message END
        AS error_message,
    exit_code, CASE WHEN $2::boolean THEN substr(output, $7::int, $8::int) END AS output,
    output IS NULL AND attempt > 0 AND EXISTS (SELECT FROM task_executions e WHERE e.era = counted.era AND e.process_id = counted.process_id
        AND e.task_index = counted.task_index AND e.attempt = counted.attempt AND e.output IS NULL AND e.output_bytes > 0)
        AS output_deleted,
    created_at, updated_at, found
FROM (
    SELECT *, count(*) OVER () AS found,
        sum(least(octet_length(command), $9::bigint) + least(environment_bytes, $9::bigint)
            + least(coalesce(octet_length(working_directory), 0), $9::bigint) + least(coalesce(octet_length(error_message), 0), $9::bigint)
            + CASE WHEN $2::boolean THEN least(coalesce(octet_length(output), 0), $8::int) ELSE 0 END)
            OVER (ORDER BY task_index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (
        SELECT *, coalesce(octet_length(environment::text), 0) AS environment_bytes
        FROM tasks
        WHERE process_id = $1 AND era = (SELECT era FROM processes WHERE process_id = $1) AND ($3::int IS NULL OR task_index = $3) AND task_index > coalesce($4::int, -1)
        ORDER BY task_index LIMIT $5::bigint
    ) AS next
) AS counted
WHERE coalesce(before, 0) < $6::bigint
ORDER BY task_index
