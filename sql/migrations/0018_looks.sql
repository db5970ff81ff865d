-- works from: 7
--
-- Lists, pages of verbs and counts that cost the same however long the history and the queue are.
--
-- Each row of `processes` is in exactly one of three indexes by type and creation: that of what has not ended, of what has
-- completed, and of what has failed or was cancelled (its error says why). A list of any of these meets no row of the others,
-- and a row is entered as often as it was in the one index of all: at its start and at its end. `status` itself is in none, so
-- that the updates between the two stay heap-only.
--
-- Retries take what has ended badly in the order of creation: its index has ids in the order of their own column, which no other
-- by creation has, so that a walk in this order has no other index.
--
-- The index of what was claimed at least once finds what runs, and on which node, among any number that wait. It takes the
-- place of `scheduled_tasks_due`, which the sixth release was the last to use.
--
-- Where the tables are large their indexes are not made here, while everybody waits, but beside the work: see
-- `pending_indexes` and src/store/migrate/indexes.rs.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- Indexes that are still to be made, and those that they replace, which go afterwards.
CREATE TABLE pending_indexes (
    name        text PRIMARY KEY,
    place       text NOT NULL, -- the table; one that is gone needs no index
    definition  text NOT NULL, -- what comes behind CREATE INDEX … name
    replaces    text
);

DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN SELECT * FROM (VALUES
        ('processes_open', 'processes', '(process_type, created_at, process_id COLLATE "POSIX") WHERE completed_at IS NULL', NULL),
        ('processes_ended_well', 'processes', '(process_type, created_at, process_id COLLATE "POSIX")
            WHERE completed_at IS NOT NULL AND error_message IS NULL', 'processes_type_created'),
        ('processes_ended_badly', 'processes', '(process_type, created_at, process_id COLLATE "POSIX")
            WHERE completed_at IS NOT NULL AND error_message IS NOT NULL', NULL),
        ('processes_ended_badly_by_creation', 'processes', '(created_at, process_id)
            WHERE completed_at IS NOT NULL AND error_message IS NOT NULL', 'processes_with_error'),
        ('scheduled_tasks_claimed', 'scheduled_tasks', '(picked_by) WHERE version > 1 OR picked', 'scheduled_tasks_due'),
        -- Eras have it from their begin.
        ('executions_0_node', 'executions_0', '(node_id, process_id)', NULL)
    ) AS v (name, place, definition, replaces) WHERE to_regclass(place) IS NOT NULL LOOP
        IF pg_relation_size(wanted.place::regclass) < 32 * 1024 * 1024 THEN
            EXECUTE format('CREATE INDEX %I ON %I %s', wanted.name, wanted.place, wanted.definition);
            IF wanted.replaces IS NOT NULL THEN
                EXECUTE format('DROP INDEX IF EXISTS %I', wanted.replaces);
            END IF;
        ELSE
            INSERT INTO pending_indexes
            VALUES (wanted.name, wanted.place, format('ON %I %s', wanted.place, wanted.definition), wanted.replaces);
        END IF;
    END LOOP;
END
$$;

-- How many processes have ended, by type and status: the sums of `settled_counts` say it of all that ended before
-- `settled.until`; what ended later is few and counted at each look. A thread of some node moves `until` on
-- (sql/control/settle.sql): an end costs nothing. Who deletes or changes what is counted, which no node does but for retries and
-- pruning, subtracts it in the same transaction, whatever release or person that is.
CREATE TABLE settled (
    is_the_only_row  boolean PRIMARY KEY DEFAULT true CHECK (is_the_only_row),
    until            timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO settled DEFAULT VALUES;
CREATE TABLE settled_counts (
    process_type  text   NOT NULL,
    status        text   NOT NULL,
    how_many      bigint NOT NULL
);

-- `until` stays where it is until the transaction of its caller ends. With the owner's rights: whoever may change processes
-- need not see these tables.
CREATE FUNCTION settled_until() RETURNS timestamptz
LANGUAGE sql SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
    SELECT until FROM settled FOR SHARE
$function$;

CREATE FUNCTION uncount_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
BEGIN
    INSERT INTO settled_counts (process_type, status, how_many)
    SELECT g.process_type, g.status, -count(*) FROM gone g, settled_until() AS until
    WHERE g.completed_at < until
    GROUP BY g.process_type, g.status;
    RETURN NULL;
END
$function$;

CREATE FUNCTION recount_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
DECLARE
    until timestamptz := settled_until();
BEGIN
    IF OLD.completed_at < until THEN
        INSERT INTO settled_counts VALUES (OLD.process_type, OLD.status, -1);
    END IF;
    IF NEW.completed_at < until THEN
        INSERT INTO settled_counts VALUES (NEW.process_type, NEW.status, 1);
    END IF;
    RETURN NULL;
END
$function$;

-- Processes that come with an end of long ago, from a copy say, or that are all gone: everything is counted anew.
CREATE FUNCTION count_anew() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $function$
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- As who changes it has it: two who hold it for others to read would wait for each other.
        PERFORM FROM settled WHERE NEW.completed_at < until FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    UPDATE settled SET until = '-infinity';
    DELETE FROM settled_counts;
    RETURN NULL;
END
$function$;

CREATE TRIGGER uncount_deleted AFTER DELETE ON processes REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION uncount_deleted();
-- The conditions keep what nodes write from the functions: ends come with the time of their transaction, and what is half a
-- minute old may be settled before it is committed. Whoever writes an earlier one says so.
CREATE TRIGGER recount_changed AFTER UPDATE ON processes FOR EACH ROW
    WHEN (CASE WHEN OLD.completed_at IS NULL THEN NEW.completed_at < clock_timestamp() - interval '30 seconds'
        ELSE (OLD.completed_at, OLD.status, OLD.process_type)
            IS DISTINCT FROM (NEW.completed_at, NEW.status, NEW.process_type) END)
    EXECUTE FUNCTION recount_changed();
CREATE TRIGGER count_inserted AFTER INSERT ON processes FOR EACH ROW
    WHEN (NEW.completed_at IS NOT NULL) EXECUTE FUNCTION count_anew();
CREATE TRIGGER count_truncated AFTER TRUNCATE ON processes FOR EACH STATEMENT EXECUTE FUNCTION count_anew();

-- Only triggers call them.
REVOKE EXECUTE ON FUNCTION settled_until(), uncount_deleted(), recount_changed(), count_anew() FROM PUBLIC;
