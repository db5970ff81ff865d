-- The tables. Every migration runs with search_path set to the schema of its own, so nothing here is
-- qualified; functions keep that path by SET search_path FROM CURRENT.
--
-- No foreign keys: rows are written by the functions and statements of this project only, and a key
-- would cost a row lock on `processes` for each task and execution that is inserted. CHECK constraints of the hot
-- tables hold the words of the lifecycle only: PostgreSQL parses every one of them anew in each statement that
-- writes, and what never changes after the start is checked by start_processes.

CREATE TABLE process_types (
    name            text PRIMARY KEY,
    description     text        NOT NULL DEFAULT '',
    definition      jsonb       NOT NULL,
    -- The definition's tasks as rows of `tasks`, defaults filled in; start_processes copies them.
    tasks           jsonb       NOT NULL,
    -- What input must supply, such as 'input_file' or 'config.batch_size'.
    required_input  text[]      NOT NULL DEFAULT '{}',
    paused          boolean     NOT NULL DEFAULT false,
    max_concurrent  integer     CHECK (max_concurrent > 0),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (char_length(name) BETWEEN 1 AND 200 AND name !~ '[[:cntrl:]]'),
    CHECK (jsonb_array_length(tasks) > 0)
);

CREATE TABLE processes (
    process_id          text PRIMARY KEY,
    process_type        text        NOT NULL,
    status              text        NOT NULL DEFAULT 'NOT_STARTED'
        CHECK (status IN ('NOT_STARTED', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'CANCELLED')),
    current_task_index  integer     NOT NULL DEFAULT 0,
    total_tasks         integer     NOT NULL,
    priority            integer     NOT NULL DEFAULT 0,
    input_data          jsonb       NOT NULL DEFAULT '{}',
    process_context     jsonb       NOT NULL DEFAULT '{}',
    started_at          timestamptz,
    completed_at        timestamptz,
    error_message       text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CHECK (status NOT IN ('FAILED', 'CANCELLED') OR error_message IS NOT NULL)
) WITH (fillfactor = 80);

-- `status` is in no index, so that the updates between start and end stay heap-only. The pages of a list are
-- read by creation; the failed and cancelled ones, which an operator looks for, by the second index.
CREATE INDEX processes_created ON processes (created_at, process_id);
CREATE INDEX processes_with_error ON processes (created_at, process_id) WHERE error_message IS NOT NULL;

CREATE TABLE tasks (
    task_id            text             NOT NULL, -- process_id:task_index, for people; the key is the pair
    process_id         text             NOT NULL,
    task_index         integer          NOT NULL,
    name               text             NOT NULL,
    command            text             NOT NULL,
    shell              boolean          NOT NULL,
    working_directory  text,
    environment        jsonb,
    timeout_minutes    double precision NOT NULL,
    max_retries        integer          NOT NULL,
    retry              jsonb,
    on_crash           text             NOT NULL,
    max_output_bytes   bigint           NOT NULL,
    status             text             NOT NULL DEFAULT 'NOT_STARTED'
        CHECK (status IN ('NOT_STARTED', 'IN_PROGRESS', 'WAITING_RETRY', 'COMPLETED', 'FAILED', 'CANCELLED')),
    -- Executions begun; retry_count counts only the ones that spent a retry.
    attempt            integer          NOT NULL DEFAULT 0,
    retry_count        integer          NOT NULL DEFAULT 0,
    started_at         timestamptz,
    completed_at       timestamptz,
    error_message      text,
    exit_code          integer,
    output             text,
    created_at         timestamptz      NOT NULL DEFAULT now(),
    updated_at         timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (process_id, task_index)
) WITH (fillfactor = 70);

CREATE TABLE task_executions (
    process_id         text        NOT NULL,
    task_index         integer     NOT NULL,
    attempt            integer     NOT NULL,
    node_id            text        NOT NULL,
    command            text,
    outcome            text        NOT NULL
        CHECK (outcome IN ('SUCCEEDED', 'FAILED', 'TIMED_OUT', 'SPAWN_FAILED', 'CANCELLED', 'INTERRUPTED', 'LOST')),
    exit_code          integer,
    signal             integer,
    started_at         timestamptz NOT NULL,
    completed_at       timestamptz NOT NULL,
    duration_ms        double precision NOT NULL,
    cpu_ms             double precision,
    peak_memory_bytes  bigint,
    output             text,
    output_bytes       bigint      NOT NULL,
    error_message      text,
    PRIMARY KEY (process_id, task_index, attempt)
);

-- One row for each unfinished process; db-scheduler's column names.
CREATE TABLE scheduled_tasks (
    task_name             text        NOT NULL, -- the process type
    task_instance         text        PRIMARY KEY, -- the process id
    execution_time        timestamptz NOT NULL,
    picked                boolean     NOT NULL DEFAULT false,
    picked_by             text,
    priority              integer     NOT NULL DEFAULT 0,
    consecutive_failures  integer     NOT NULL DEFAULT 0,
    version               bigint      NOT NULL DEFAULT 1,
    reserved_for          text, -- the node that alone may claim it, as `run` wants it; null for everybody
    CHECK (picked = (picked_by IS NOT NULL))
) WITH (
    fillfactor = 60,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 20000
);

CREATE INDEX scheduled_tasks_due ON scheduled_tasks (priority DESC, execution_time) WHERE NOT picked;

CREATE TABLE nodes (
    node_id         text PRIMARY KEY,
    name            text        NOT NULL,
    host            text        NOT NULL,
    pid             integer     NOT NULL,
    version         text        NOT NULL,
    executors       integer     NOT NULL,
    state           text        NOT NULL DEFAULT 'RUNNING'
        CHECK (state IN ('RUNNING', 'STOPPING', 'STOPPED', 'DEAD')),
    started_at      timestamptz NOT NULL DEFAULT now(),
    last_heartbeat  timestamptz NOT NULL DEFAULT now(),
    -- How long after its last heartbeat a node may still run commands; what others wait for, whatever else they see.
    lease_seconds   double precision NOT NULL,
    -- The session-level advisory lock that its keeper holds; null while it holds none.
    lock_key        integer,
    -- Where its pid means something: the same boot of a host and the same pid namespace.
    boot_id         text,
    pid_namespace   text,
    pid_started     bigint
) WITH (fillfactor = 50);

-- What every node looks at at each heartbeat.
CREATE INDEX nodes_alive ON nodes (node_id) WHERE state IN ('RUNNING', 'STOPPING');

CREATE SEQUENCE process_number;
