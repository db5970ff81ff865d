-- works from: 6

-- Processes by the begin of their ids, whatever the database's collation: the primary key serves LIKE 'x%' only where that
-- is "C". A shell asks at a key press, `list --id-prefix` for one among a million.
--
-- Alone in its migration: while it is built nobody records, but whoever looks at the queue is not kept from it.
CREATE INDEX processes_id_prefix ON processes (process_id text_pattern_ops);
