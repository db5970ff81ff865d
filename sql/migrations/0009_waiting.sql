-- works from: 6

-- What is started for a time that has passed waits from its start on, not from that time: ages and delays count from the
-- later of `execution_time` and `waiting_since`. The condition keeps all others from the function.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE FUNCTION note_late_start() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
BEGIN
    NEW.waiting_since := now();
    RETURN NEW;
END
$function$;

-- The only lock on a table of nodes, and the last thing here.
CREATE TRIGGER note_late_start BEFORE INSERT ON scheduled_tasks
    FOR EACH ROW WHEN (NEW.waiting_since IS NULL AND NEW.execution_time < now() - interval '1 second')
    EXECUTE FUNCTION note_late_start();
