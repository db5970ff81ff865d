-- Notes in the era $1 that $3 processes were moved from it, until the end $4, and in $2 that they came, with ends from $5 to $6; it is full
-- from $7 processes on.
UPDATE eras e
SET processes = e.processes + $3::bigint,
    moved_to = CASE WHEN e.era = $1::int AND e.kind = 'EARLIER' THEN coalesce($4::timestamptz, e.moved_to) ELSE e.moved_to END,
    ended_from = CASE WHEN e.era = $2::int THEN least(e.ended_from, $5::timestamptz) ELSE e.ended_from END,
    ended_to = CASE WHEN e.era = $2 THEN greatest(e.ended_to, $6::timestamptz) ELSE e.ended_to END,
    is_full = CASE WHEN e.era = $2 THEN e.processes + $3 >= $7::bigint ELSE e.is_full END
WHERE e.era IN ($1, $2)
