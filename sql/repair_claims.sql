-- Claims that no node can hold, as their row contradicts itself: due again. Their version moves on, so that whoever
-- believes to hold one is fenced.
UPDATE scheduled_tasks
SET picked = false, picked_by = NULL, version = version + 1
WHERE picked <> (picked_by IS NOT NULL)
RETURNING task_instance
