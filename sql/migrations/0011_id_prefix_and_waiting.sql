-- works from: 6

-- Both before anything else: nodes take the queue first and the processes after it.
LOCK TABLE scheduled_tasks IN ACCESS EXCLUSIVE MODE;
LOCK TABLE processes IN SHARE MODE;

-- Processes by the begin of their ids, whatever the database's collation: the primary key serves LIKE 'x%' only where that
-- is "C". A shell asks at a key press, `list --id-prefix` for one among a million.
CREATE INDEX processes_id_prefix ON processes (process_id text_pattern_ops);

-- What is started for a time that has passed waits from its start on, not from that time: ages and delays count from the
-- later of `execution_time` and this.
ALTER TABLE scheduled_tasks ALTER COLUMN waiting_since SET DEFAULT now();
