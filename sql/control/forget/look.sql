-- Of each of these processes what changes when anything of its record does, whether it has ended, and how many bytes it has
-- as text. $1 ids.
--
-- xmin names a row's version and stays while the row does, whatever vacuums or rewrites the table. Lengths of texts are
-- known without the texts. A value of jsonb may be compressed: one that is no more than 64 KB is written out for its length, a
-- larger one counts as 1 GB, which is more than anybody reads at once.
SELECT p.process_id, p.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AS has_ended,
    hashtextextended(concat_ws(' ', p.xmin, task.version, execution.version), 0) AS version,
    value.bytes + coalesce(octet_length(p.error_message), 0) + coalesce(task.bytes, 0) + coalesce(execution.bytes, 0) AS bytes
FROM unnest($1::text[]) AS wanted (process_id)
JOIN processes p ON p.process_id = ANY (ARRAY[wanted.process_id])
CROSS JOIN LATERAL (
    SELECT CASE WHEN pg_column_size(p.input_data) + pg_column_size(p.process_context) > 65536 THEN 1073741824
        ELSE octet_length(p.input_data::text) + octet_length(p.process_context::text) END AS bytes
) AS value
CROSS JOIN LATERAL (
    SELECT string_agg(t.xmin::text, ',' ORDER BY t.task_index) AS version,
        sum(octet_length(t.command) + coalesce(octet_length(t.working_directory), 0) + coalesce(octet_length(t.error_message), 0)
            + coalesce(octet_length(t.output), 0) + coalesce(pg_column_size(t.environment), 0) * 4 + 512) AS bytes
    FROM tasks t WHERE t.era = p.era AND t.process_id = p.process_id
) AS task
CROSS JOIN LATERAL (
    SELECT string_agg(e.xmin::text, ',' ORDER BY e.task_index, e.attempt) AS version,
        sum(coalesce(octet_length(e.command), 0) + coalesce(octet_length(e.error_message), 0)
            + coalesce(octet_length(e.output), 0) + 512) AS bytes
    FROM task_executions e WHERE e.era = p.era AND e.process_id = p.process_id
) AS execution
