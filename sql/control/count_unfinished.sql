-- How many processes unfinished_ids.sql would give in all. Parameters as there.
SELECT count(*) AS how_many
FROM scheduled_tasks s JOIN processes p ON p.process_id = s.task_instance
WHERE s.cancel_requested_at IS NULL
    AND ($1::text IS NULL OR s.task_name = $1)
    AND ($2::text IS NULL OR p.status = $2)
