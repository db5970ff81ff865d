-- How many processes of the era $1 have ended, counted no further than $2.
SELECT count(*) AS how_many FROM (
    SELECT FROM processes p
    WHERE p.completed_at >= (SELECT opened_at FROM eras WHERE era = $1::int) AND p.era = $1
    LIMIT $2
) AS few
