-- Failures of the batch $1 by reason, and what was not added to them yet: that has no reason, but how often it comes (or goes).
(SELECT reason, how_many, example_id, example FROM batch_reasons WHERE batch = $1 AND how_many > 0)
UNION ALL
(SELECT NULL, CASE c.now WHEN 'FAILED' THEN 1 ELSE -1 END, c.process_id, coalesce(c.message, '')
FROM batch_changes c WHERE c.batch = $1 AND 'FAILED' IN (c.was, c.now) LIMIT 2000)
