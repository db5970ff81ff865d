-- Lets processes go that are held for limits which have room, one node at a time; gives how many, null where none is held for
-- a limit: one descent of an index.
-- $1 how many at the most.
SELECT CASE WHEN NOT EXISTS (SELECT FROM scheduled_tasks WHERE state = 'HELD' AND held_by >= 'limit:' AND held_by < 'limit;')
    THEN NULL
    -- 'POL1'.
    WHEN pg_try_advisory_xact_lock(1347374129, hashtext(current_schema())) THEN release_where_room($1)
    ELSE 0 END AS released
