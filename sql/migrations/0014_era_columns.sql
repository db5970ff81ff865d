-- works from: 6
--
-- Eras, first part: which set of processes a process belongs to. Tasks, executions and outputs of an era lie in tables of
-- their own, which are dropped as a whole when nothing of it is to be kept (the sixteenth migration). What is there belongs
-- to era 0. Columns with constant defaults: no row is written, and none is read before the next migration.
ALTER TABLE scheduled_tasks ADD COLUMN era integer NOT NULL DEFAULT 0;
ALTER TABLE processes ADD COLUMN era integer NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN era integer NOT NULL DEFAULT 0,
    -- The execution whose output is the task's; null: there is none, or `output` itself holds it.
    ADD COLUMN output_attempt integer,
    ADD CONSTRAINT tasks_era CHECK (era = 0) NOT VALID;
ALTER TABLE task_executions ADD COLUMN era integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT executions_era CHECK (era = 0) NOT VALID;
