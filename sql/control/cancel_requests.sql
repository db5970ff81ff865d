-- The claims of a node whose processes are to be cancelled. $1 node id.
SELECT task_instance, version FROM scheduled_tasks WHERE cancel_requested_at IS NOT NULL AND picked_by = $1
