-- works from: 6
--
-- Eras, second part: what makes a partition out of a table without a look at its rows. Reads the tables while others write
-- to them, which is why it has a transaction of its own.
ALTER TABLE tasks VALIDATE CONSTRAINT tasks_era;
ALTER TABLE task_executions VALIDATE CONSTRAINT executions_era;
