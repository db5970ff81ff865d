-- works from: 7
--
-- Types of one priority share: where more waits than there is room for, each type has its turn (src/engine/claim/turns.rs).
-- The new index says which types wait, and gives each one's processes in the order of time. A queue pays nothing for it:
-- it takes the place of the index that nodes before the seventh migration read.
--
-- The index that goes comes first: that takes the strongest lock at once.
DROP INDEX IF EXISTS scheduled_tasks_due;
CREATE INDEX scheduled_tasks_shared ON scheduled_tasks (priority DESC, task_name COLLATE "C", execution_time)
    WHERE state = 'READY';
