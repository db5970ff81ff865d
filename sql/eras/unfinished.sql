-- How many processes of the era $1 have not ended, counted no further than $2.
SELECT count(*) AS how_many FROM (SELECT FROM scheduled_tasks WHERE era = $1::int LIMIT $2) AS few
