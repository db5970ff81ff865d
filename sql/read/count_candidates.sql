-- How many processes a filter leaves to be looked at, counted no further than $3: few enough are read and sorted, of
-- many the first page is found by walking them by creation.
-- $1 metadata of which they hold one or null, $5 a LIKE pattern of how their ids begin or null: those are counted; or both null: the
-- unfinished ones are. $2 of those a type, or null, $4 whether only those that have been claimed at least once.
SELECT CASE WHEN $1::jsonb[] IS NOT NULL OR $5::text IS NOT NULL THEN
    (SELECT count(*) FROM (SELECT FROM processes
        WHERE ($1 IS NULL OR input_data -> 'metadata' @> ANY ($1)) AND ($5 IS NULL OR process_id LIKE $5) LIMIT $3) AS few)
ELSE
    (SELECT count(*) FROM (SELECT FROM scheduled_tasks
        WHERE ($2::text IS NULL OR task_name = $2) AND (NOT $4::boolean OR version > 1) LIMIT $3) AS few)
END AS how_many
