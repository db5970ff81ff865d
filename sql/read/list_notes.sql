-- What control knows of unfinished processes, beside their rows. $1 process ids, those of one page.
SELECT s.task_instance AS process_id, s.cancel_requested_at IS NOT NULL AS is_cancelling,
    coalesce(k.paused, false) AS is_paused, t.process_id IS NOT NULL AS is_waiting_retry
FROM scheduled_tasks s
JOIN processes p ON p.process_id = s.task_instance
LEFT JOIN process_types k ON k.name = s.task_name
LEFT JOIN open_tasks t
    ON t.era = p.era AND t.process_id = s.task_instance AND t.task_index = p.current_task_index AND t.status = 'WAITING_RETRY'
WHERE s.task_instance = ANY ($1)
    AND (s.cancel_requested_at IS NOT NULL OR k.paused OR t.process_id IS NOT NULL)
