-- Changes when the row of any of these processes does. $1 their ids. No value is read: xmin and ctid name a row's version.
SELECT coalesce(string_agg(concat_ws(' ', xmin, ctid), ',' ORDER BY process_id), '') AS version
FROM processes WHERE process_id = ANY ($1::text[])
