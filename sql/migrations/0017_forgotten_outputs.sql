-- works from: 6

-- How far outputs are deleted, for each rule of --keep-output: all finished processes up to this end have been seen to.
-- A node that is started again goes on from there and does not read the whole history over.
CREATE TABLE forgotten_outputs (
    rule          text        PRIMARY KEY, -- which process types it is about
    completed_at  timestamptz NOT NULL,
    process_id    text        NOT NULL,
    -- Once a day it begins anew: an end that was written late, or what was locked by others, may lie behind the place.
    began_at      timestamptz NOT NULL DEFAULT now()
);
