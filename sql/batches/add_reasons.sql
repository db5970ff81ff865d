-- Adds to the reasons of failures of the batch $1, one element for each: $2 reasons, $3 how many more or fewer, $4 and $5 an example's
-- id and message. Beyond $6 reasons what is new is counted under $7.
WITH told AS (
    SELECT r.reason, r.how_many, r.example_id, r.example, row_number() OVER (ORDER BY k.reason IS NULL, r.how_many DESC) AS place
    FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[]) AS r (reason, how_many, example_id, example)
    LEFT JOIN batch_reasons k ON k.batch = $1 AND k.reason = r.reason
), known AS (
    SELECT count(*) AS others FROM batch_reasons k WHERE k.batch = $1 AND k.reason <> $7 AND k.reason <> ALL ($2)
), kept AS (
    SELECT CASE WHEN t.place + known.others > $6 THEN $7 ELSE t.reason END AS reason, sum(t.how_many) AS how_many,
        (array_agg(t.example_id ORDER BY t.place) FILTER (WHERE t.example_id <> ''))[1] AS example_id,
        (array_agg(t.example ORDER BY t.place) FILTER (WHERE t.example_id <> ''))[1] AS example
    FROM told t, known GROUP BY 1
)
INSERT INTO batch_reasons AS k (batch, reason, how_many, example_id, example)
SELECT $1, reason, how_many, coalesce(example_id, ''), coalesce(example, '') FROM kept ORDER BY reason
ON CONFLICT (batch, reason) DO UPDATE
SET how_many = k.how_many + excluded.how_many,
    example_id = CASE WHEN k.how_many > 0 OR excluded.example_id = '' THEN k.example_id ELSE excluded.example_id END,
    example = CASE WHEN k.how_many > 0 OR excluded.example_id = '' THEN k.example ELSE excluded.example END
