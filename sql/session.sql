-- What is at the other end of a connection: the server's process, when that began, and who told it the encoding and
-- the name of the application. Every client of ours says both when it connects: a server that has them from anywhere
-- else than the start of the session ('client') has not heard us, but a pooler, which began its sessions by itself.
SELECT a.pid, extract(epoch FROM a.backend_start) AS began, s.encoding_from, s.name_from
FROM (
    SELECT max(source) FILTER (WHERE name = 'client_encoding') AS encoding_from,
        max(source) FILTER (WHERE name = 'application_name') AS name_from
    FROM pg_settings
) AS s LEFT JOIN pg_stat_activity a ON a.pid = pg_backend_pid()
