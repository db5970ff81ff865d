-- Where migrations are recorded. Runs before every migration, in its transaction, also on tables of releases that
-- knew no works_from. The column is added only where it is missing: that would wait for everybody who reads.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version     integer PRIMARY KEY,
    name        text        NOT NULL,
    checksum    text        NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
);

DO $block$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute
        WHERE attrelid = 'schema_migrations'::regclass AND attname = 'works_from' AND NOT attisdropped)
    THEN
        -- The oldest version whose programs work with the tables as this migration leaves them; null: only its own.
        ALTER TABLE schema_migrations ADD COLUMN works_from integer;
    END IF;
END
$block$;
