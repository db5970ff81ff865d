-- Has the database write down every change of the rows that the protocol is about: see events.py. The tables stay the
-- nodes' own: whatever role writes them, of whatever release, these triggers run with the rights of who made them.

CREATE SCHEMA chaos;

-- One row for each change. `n` orders the changes of one row, and those of one transaction. When the transaction was
-- committed is asked of the server at the end (track_commit_timestamp).
CREATE TABLE chaos.changes (
    n          bigserial PRIMARY KEY,
    tx         bigint      NOT NULL DEFAULT txid_current(),
    -- What its statement has seen is no older.
    asked      timestamptz NOT NULL DEFAULT statement_timestamp(),
    session    text        NOT NULL DEFAULT current_setting('application_name'),
    relation   text        NOT NULL,
    process    text,
    old        jsonb,
    new        jsonb
);
CREATE INDEX changes_made ON chaos.changes (relation, process) WHERE old IS NULL;

-- Whether a row was made before: one that is moved to another era is deleted there and made here, and none is ever made anew.
CREATE FUNCTION chaos.is_moved(what text, of_process text, row_of_it jsonb) RETURNS boolean LANGUAGE sql STABLE
AS $function$
    SELECT EXISTS (SELECT FROM chaos.changes c WHERE c.relation = what AND c.process = of_process AND c.old IS NULL
        AND c.new -> 'task' = row_of_it -> 'task' AND c.new -> 'attempt' IS NOT DISTINCT FROM row_of_it -> 'attempt')
$function$;

CREATE FUNCTION chaos.queue_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = chaos, pg_temp
AS $function$
DECLARE
    was jsonb;
    now jsonb;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        was := jsonb_build_object('version', OLD.version, 'node', OLD.picked_by, 'state', OLD.state, 'held_by', OLD.held_by,
            'due', extract(epoch FROM OLD.execution_time), 'cancel', OLD.cancel_requested_at IS NOT NULL);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        now := jsonb_build_object('version', NEW.version, 'node', NEW.picked_by, 'state', NEW.state, 'held_by', NEW.held_by,
            'due', extract(epoch FROM NEW.execution_time), 'cancel', NEW.cancel_requested_at IS NOT NULL);
    END IF;
    IF was IS DISTINCT FROM now THEN
        INSERT INTO changes (relation, process, old, new)
        VALUES ('queue', CASE TG_OP WHEN 'DELETE' THEN OLD.task_instance ELSE NEW.task_instance END, was, now);
    END IF;
    RETURN NULL;
END
$function$;

CREATE FUNCTION chaos.process_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = chaos, pg_temp
AS $function$
BEGIN
    INSERT INTO changes (relation, process, old, new) VALUES ('process', NEW.process_id,
        CASE TG_OP WHEN 'UPDATE' THEN jsonb_build_object('status', OLD.status, 'task', OLD.current_task_index) END,
        jsonb_build_object('status', NEW.status, 'task', NEW.current_task_index, 'type', NEW.process_type));
    RETURN NULL;
END
$function$;

CREATE FUNCTION chaos.task_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = chaos, pg_temp
AS $function$
BEGIN
    IF TG_OP = 'INSERT' AND is_moved('task', NEW.process_id, jsonb_build_object('task', NEW.task_index, 'attempt', 0)) THEN
        RETURN NULL;
    END IF;
    INSERT INTO changes (relation, process, old, new) VALUES ('task', NEW.process_id,
        CASE TG_OP WHEN 'UPDATE' THEN
            jsonb_build_object('status', OLD.status, 'attempt', OLD.attempt, 'retries', OLD.retry_count) END,
        jsonb_build_object('task', NEW.task_index, 'status', NEW.status, 'attempt', NEW.attempt,
            'retries', NEW.retry_count, 'max_retries', NEW.max_retries, 'on_crash', NEW.on_crash,
            'fatal', NEW.retry -> 'fatal_exit_codes'));
    RETURN NULL;
END
$function$;

CREATE FUNCTION chaos.execution_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = chaos, pg_temp
AS $function$
BEGIN
    IF TG_OP = 'INSERT'
        AND is_moved('execution', NEW.process_id, jsonb_build_object('task', NEW.task_index, 'attempt', NEW.attempt))
    THEN
        RETURN NULL;
    END IF;
    INSERT INTO changes (relation, process, old, new) VALUES ('execution', NEW.process_id,
        CASE TG_OP WHEN 'UPDATE' THEN jsonb_build_object('outcome', OLD.outcome) END,
        jsonb_build_object('task', NEW.task_index, 'attempt', NEW.attempt, 'node', NEW.node_id,
            'outcome', NEW.outcome, 'code', NEW.exit_code));
    RETURN NULL;
END
$function$;

-- Not every heartbeat, but what the last one had said when a node's state changes; `locked` is whether its lock is held,
-- by a session that is at least so many seconds old.
CREATE FUNCTION chaos.node_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = chaos, pg_temp
AS $function$
DECLARE
    was jsonb;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.state <> OLD.state THEN
        was := jsonb_build_object('state', OLD.state,
            'silence', extract(epoch FROM clock_timestamp() - OLD.last_heartbeat), 'had_lock', OLD.lock_key IS NOT NULL);
        IF NEW.state = 'DEAD' THEN
            was := was || jsonb_build_object('locked', (
                SELECT max(extract(epoch FROM clock_timestamp() - a.backend_start))
                FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
                WHERE l.locktype = 'advisory' AND l.classid = 1347374641 AND l.granted
                    AND l.objid::bigint = (OLD.lock_key::bigint & 4294967295)));
        END IF;
    ELSIF TG_OP = 'UPDATE' THEN
        RETURN NULL;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO changes (relation, old) VALUES ('node', jsonb_build_object('node', OLD.node_id, 'state', OLD.state));
        RETURN NULL;
    END IF;
    INSERT INTO changes (relation, old, new) VALUES ('node', was,
        jsonb_build_object('node', NEW.node_id, 'state', NEW.state, 'lease', NEW.lease_seconds));
    RETURN NULL;
END
$function$;

-- Slots that were taken beyond the limit as it is at that moment: whoever takes one has locked the limit's row.
CREATE TABLE chaos.exceeded (
    limit_name text, slot_key text, process_id text, taken bigint, most integer, at timestamptz DEFAULT clock_timestamp()
);
-- Each slot that was taken.
CREATE TABLE chaos.taken (n bigserial PRIMARY KEY, entry text NOT NULL);
CREATE INDEX taken_of ON chaos.taken (entry, n);
CREATE FUNCTION chaos.slot_taken() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = chaos, pg_temp
AS $function$
BEGIN
    INSERT INTO taken (entry) VALUES (NEW.limit_name || CASE NEW.slot_key WHEN '' THEN '' ELSE '=' || NEW.slot_key END);
    INSERT INTO exceeded (limit_name, slot_key, process_id, taken, most)
    SELECT NEW.limit_name, NEW.slot_key, NEW.process_id, t.taken, l.max
    FROM process_orchestrator.limits l CROSS JOIN (
        SELECT count(*) AS taken FROM process_orchestrator.limit_slots s
        WHERE s.limit_name = NEW.limit_name AND s.slot_key = NEW.slot_key
    ) AS t
    WHERE l.name = NEW.limit_name AND t.taken > l.max;
    RETURN NULL;
END
$function$;
CREATE TRIGGER chaos AFTER INSERT ON process_orchestrator.limit_slots
    FOR EACH ROW EXECUTE FUNCTION chaos.slot_taken();

CREATE TRIGGER chaos AFTER INSERT OR UPDATE OR DELETE ON process_orchestrator.scheduled_tasks
    FOR EACH ROW EXECUTE FUNCTION chaos.queue_changed();
CREATE TRIGGER chaos_new AFTER INSERT ON process_orchestrator.processes
    FOR EACH ROW EXECUTE FUNCTION chaos.process_changed();
CREATE TRIGGER chaos_changed AFTER UPDATE ON process_orchestrator.processes FOR EACH ROW
    WHEN (OLD.status <> NEW.status OR OLD.current_task_index <> NEW.current_task_index)
    EXECUTE FUNCTION chaos.process_changed();
CREATE TRIGGER chaos_new AFTER INSERT ON process_orchestrator.all_tasks
    FOR EACH ROW EXECUTE FUNCTION chaos.task_changed();
CREATE TRIGGER chaos_changed AFTER UPDATE ON process_orchestrator.all_tasks FOR EACH ROW
    WHEN (OLD.status <> NEW.status OR OLD.attempt <> NEW.attempt OR OLD.retry_count <> NEW.retry_count)
    EXECUTE FUNCTION chaos.task_changed();
CREATE TRIGGER chaos AFTER INSERT OR UPDATE ON process_orchestrator.executions
    FOR EACH ROW EXECUTE FUNCTION chaos.execution_changed();
CREATE TRIGGER chaos AFTER INSERT OR UPDATE OR DELETE ON process_orchestrator.nodes
    FOR EACH ROW EXECUTE FUNCTION chaos.node_changed();
