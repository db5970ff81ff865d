-- works from: 2
-- The end of what running commands have printed, written by their nodes every few seconds. Not logged: it is of
-- this moment only, a crash of the server may lose it, and it costs no WAL.
CREATE UNLOGGED TABLE live_output (
    process_id    text PRIMARY KEY,
    task_index    integer     NOT NULL,
    attempt       integer     NOT NULL,
    node_id       text        NOT NULL,
    started_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    output_bytes  bigint      NOT NULL,
    tail          bytea       NOT NULL,
    cpu_ms        double precision,
    memory_bytes  bigint
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000
);
