-- works from: 6

-- The session that holds a node's lock. Any role that may connect can hold the same key: only the lock of this process of
-- the server, of this role, begun at this time, says that the node lives. 0: no session yet; null: a node of the release
-- before, of which only the key is known.
ALTER TABLE nodes ADD COLUMN lock_pid integer, ADD COLUMN lock_role oid, ADD COLUMN lock_began timestamptz,
    -- How often it renews its lease, and after which silence without a lock it is dead. Everybody judges it by these,
    -- whatever they are told for themselves. Null: a node of the release before, with the defaults of that.
    ADD COLUMN heartbeat_seconds double precision, ADD COLUMN dead_after_seconds double precision;
