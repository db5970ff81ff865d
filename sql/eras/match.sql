-- Of the closed era $1: how many processes it holds, how many of them are to be forgotten, and in how many seconds all of them
-- are to be; null if never.
-- What is to be forgotten is what ended longer ago than $2 seconds (null: nothing of itself), whatever it is but of the
-- types $3, and of each of the types $4 what ended longer ago than that many seconds of $5; with $6, only in these statuses.
WITH process AS (
    SELECT CASE WHEN $6::text[] IS NOT NULL AND p.status <> ALL ($6) THEN NULL
        -- Somebody may have written an end that is infinite, or none.
        ELSE extract(epoch FROM greatest(least(p.completed_at, '9999-12-30'), '0001-01-01') - now())::float8 + CASE
            WHEN p.process_type = ANY ($4::text[]) THEN ($5::float8[])[array_position($4, p.process_type)]
            WHEN p.process_type <> ALL ($3::text[]) THEN $2::float8 END
        END AS left_s
    FROM all_tasks t JOIN processes p ON p.process_id = ANY (ARRAY[t.process_id]) AND p.era = t.era
    WHERE t.era = $1::int AND t.task_index = 0
)
SELECT count(*) AS processes, count(*) FILTER (WHERE left_s < 0) AS matching,
    CASE WHEN count(*) = count(left_s) THEN max(left_s) END AS whole_in_s
FROM process
