-- works from: 7
--
-- Lists, pages of verbs and counts that cost the same however long the history and the queue are.
--
-- Each row of `processes` is in exactly one of three indexes by type and creation: that of what has not ended, of what has
-- completed, and of what has failed or was cancelled (its error says why). A list of any of these meets no row of the others,
-- and a row is entered as often as it was in the one index of all: at its start and at its end. `status` itself is in none, so
-- that the updates between the two stay heap-only.
--
-- The index of what was claimed at least once finds what runs, and on which node, among any number that wait. It takes the
-- place of `scheduled_tasks_due`, which the sixth release was the last to use.
--
-- Where the tables are large their indexes are not made here, while everybody waits, but beside the work: see
-- `pending_indexes` and src/store/migrate/indexes.rs.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- Indexes that are still to be made, and those that they replace, which go afterwards.
CREATE TABLE pending_indexes (
    name        text PRIMARY KEY,
    definition  text NOT NULL, -- what comes behind CREATE INDEX … name
    replaces    text
);

DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN SELECT * FROM (VALUES
        ('processes_open', 'processes', '(process_type, created_at, process_id COLLATE "POSIX") WHERE completed_at IS NULL', NULL),
        ('processes_ended_well', 'processes', '(process_type, created_at, process_id COLLATE "POSIX")
            WHERE completed_at IS NOT NULL AND error_message IS NULL', 'processes_type_created'),
        ('processes_ended_badly', 'processes', '(process_type, created_at, process_id COLLATE "POSIX")
            WHERE completed_at IS NOT NULL AND error_message IS NOT NULL', NULL),
        ('scheduled_tasks_claimed', 'scheduled_tasks', '(picked_by, task_instance) WHERE version > 1 OR picked', 'scheduled_tasks_due'),
        ('task_executions_node', 'task_executions', '(node_id, process_id)', NULL)
    ) AS v (name, place, definition, replaces) LOOP
        IF pg_relation_size(wanted.place::regclass) < 32 * 1024 * 1024 THEN
            EXECUTE format('CREATE INDEX %I ON %I %s', wanted.name, wanted.place, wanted.definition);
            IF wanted.replaces IS NOT NULL THEN
                EXECUTE format('DROP INDEX IF EXISTS %I', wanted.replaces);
            END IF;
        ELSE
            INSERT INTO pending_indexes
            VALUES (wanted.name, format('ON %I %s', wanted.place, wanted.definition), wanted.replaces);
        END IF;
    END LOOP;
END
$$;
