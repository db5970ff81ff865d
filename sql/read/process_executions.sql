-- Executions of a process in the order in which they ran, as many as fit. $1 process id, $2 whether their output is wanted,
-- $3 only those of the task of this index, or null, $4 only this attempt, or null, $5 and $6 task and attempt of the last one
-- of the page before, or null, $7 how many rows at the most, $8 bytes after which the page ends, $9 and $10 from which
-- character of an output on and how many, $11 bytes of a command or an error: of a longer one the begin.
--
-- `before` is as in sql/read/process_tasks.sql.
SELECT e.process_id, e.task_index, t.name AS task_name, e.attempt, e.node_id,
    CASE WHEN octet_length(e.command) > $11::bigint THEN left(e.command, ($11::bigint / 4)::int) || '…' ELSE e.command END AS command,
    e.outcome, e.exit_code, e.signal, e.started_at, e.completed_at, e.duration_ms, e.cpu_ms, e.peak_memory_bytes,
    CASE WHEN $2::boolean THEN substr(e.output, $9::int, $10::int) END AS output, e.output_bytes,
    e.output IS NULL AND e.output_bytes > 0 AS output_deleted,
    CASE WHEN octet_length(e.error_message) > $11::bigint THEN left(e.error_message, ($11::bigint / 4)::int) || '…' ELSE e.error_message END
        AS error_message,
    e.found
FROM (
    SELECT *, count(*) OVER () AS found,
        sum(least(coalesce(octet_length(command), 0), $11::bigint) + least(coalesce(octet_length(error_message), 0), $11::bigint)
            + CASE WHEN $2::boolean THEN least(coalesce(octet_length(output), 0), $10::int) ELSE 0 END)
            OVER (ORDER BY task_index, attempt ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (
        SELECT * FROM task_executions
        WHERE process_id = $1 AND era = (SELECT era FROM processes WHERE process_id = $1) AND ($3::int IS NULL OR task_index = $3) AND ($4::int IS NULL OR attempt = $4)
            AND ($5::int IS NULL OR (task_index, attempt) > ($5, $6::int))
        ORDER BY task_index, attempt LIMIT $7::bigint
    ) AS next
) AS e LEFT JOIN all_tasks t ON t.era = e.era AND t.process_id = e.process_id AND t.task_index = e.task_index
WHERE coalesce(e.before, 0) < $8::bigint
ORDER BY e.task_index, e.attempt
