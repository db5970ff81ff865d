-- What a role needs to start processes of one type, or of all ("all" in the place of ${key}), and nothing else: a function
-- that does it with the rights of the owner of the tables, and that nobody may call who was not granted it. The names in
-- braces are put in as quoted identifiers, but for the key, which has no character that needs it.
GRANT USAGE ON SCHEMA ${schema} TO ${role};
-- A superuser who grants makes no function that is a superuser's.
SET LOCAL ROLE ${owner};
CREATE OR REPLACE FUNCTION ${schema}.start_granted_${key}(
    process_type  text,
    inputs        jsonb[],
    process_ids   text[],
    start_at      timestamptz,
    priority      integer,
    notify        boolean
) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ${schema}, pg_temp
AS $function$
BEGIN
    IF '${key}' <> 'all' AND type_key(process_type) IS DISTINCT FROM '${key}' THEN
        RAISE EXCEPTION 'this function starts processes of another type' USING ERRCODE = 'insufficient_privilege',
            HINT = 'call start_process';
    END IF;
    RETURN QUERY SELECT * FROM start_processes(process_type, inputs, process_ids, start_at, priority, notify, true);
END
$function$;
REVOKE EXECUTE ON FUNCTION ${schema}.start_granted_${key}(text, jsonb[], text[], timestamptz, integer, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ${schema}.start_granted_${key}(text, jsonb[], text[], timestamptz, integer, boolean) TO ${role};
