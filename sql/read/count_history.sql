-- Finished processes by type and status: all that ended before $1. One scan of them all (250 ms for a million): asked
-- for at first and now and then, never at a poll.
SELECT process_type, status, count(*) AS how_many
FROM processes
WHERE completed_at < $1
GROUP BY process_type, status
