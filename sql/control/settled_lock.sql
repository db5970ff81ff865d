-- Whether the counts are ours to move on, and worth it: nobody else is at it, nor has been within the last $1 seconds.
SELECT FROM settled WHERE until < now() - interval '1 minute' - $1::float8 * interval '1 second' FOR UPDATE SKIP LOCKED
