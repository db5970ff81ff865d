-- What is at the other end of a connection: the server's process, when that began, and who told it the encoding and
-- the name of the application. Our client library says the encoding when it connects, and the name where there is one.
-- A server that did not hear that at the start of the session ('client') has heard a pooler there, which begins its
-- sessions by itself and passes on with SET ('session') what its own clients say.
-- The first statement of a session: what limits a role or a database has set must not end it, nor may it be compiled.
SET LOCAL statement_timeout = 0;
SET LOCAL jit = off;
SELECT a.pid, extract(epoch FROM a.backend_start) AS began, s.encoding_from, s.name_from,
    current_setting('server_version_num')
FROM (
    SELECT max(source) FILTER (WHERE name = 'client_encoding') AS encoding_from,
        max(source) FILTER (WHERE name = 'application_name') AS name_from
    FROM pg_settings
) AS s LEFT JOIN pg_stat_activity a ON a.pid = pg_backend_pid()
