-- Registers a process type or replaces its definition; returns no row when nothing changed.
-- $1 name, $2 description, $3 definition, $4 its tasks as rows, $5 required input, $6 who does it, for the table of versions,
-- which a trigger writes; null: the session's role, $7 its limits, or null if neither it nor its tasks have any: a trigger applies
-- them.
-- A row that was just inserted has no deleting transaction yet: xmax is 0.
INSERT INTO process_types AS t (name, description, definition, tasks, required_input, concurrency)
SELECT $1, $2, $3, $4, $5, $7
WHERE set_config('process_orchestrator.registered_by', coalesce($6::text, ''), true) IS NOT NULL
ON CONFLICT (name) DO UPDATE
SET description = excluded.description, definition = excluded.definition, tasks = excluded.tasks,
    required_input = excluded.required_input, concurrency = excluded.concurrency, updated_at = now()
WHERE t.definition <> excluded.definition OR t.tasks <> excluded.tasks
    OR t.required_input <> excluded.required_input OR t.concurrency IS DISTINCT FROM excluded.concurrency
RETURNING xmax = 0 AS is_new
