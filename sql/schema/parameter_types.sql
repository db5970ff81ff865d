-- The types of a statement's parameters, as the server infers them. Between PREPARE and DEALLOCATE of the same name,
-- which are put around it.
SELECT parameter_types::oid[]::text FROM pg_prepared_statements WHERE name = '$name'
