-- What the dispatcher must know before it sends. The code before it works with this schema.

-- Refusals that lie with the user, each with its moment: a newer one takes an older one's place. `held` concerns every
-- message; `muted` marketing alone, and without a code the user has agreed to it since.
ALTER TABLE conversations ADD COLUMN held_code INTEGER;
ALTER TABLE conversations ADD COLUMN held_at INTEGER;
ALTER TABLE conversations ADD COLUMN held_template TEXT;
ALTER TABLE conversations ADD COLUMN muted_code INTEGER;
ALTER TABLE conversations ADD COLUMN muted_at INTEGER;
ALTER TABLE conversations ADD COLUMN muted_template TEXT;

-- The owner that was granted the last try and has not said yet what came of it: it alone knows whether anything was sent.
-- And whether the command may have been sent by a try before the last.
ALTER TABLE commands ADD COLUMN granted_to INTEGER;
ALTER TABLE commands ADD COLUMN perhaps_sent INTEGER NOT NULL DEFAULT 0;

-- Channels that stopped sending until somebody acts.
CREATE TABLE channel_holds (
    tenant  TEXT NOT NULL,
    channel TEXT NOT NULL,
    class   TEXT NOT NULL,
    code    INTEGER NOT NULL,
    reason  TEXT NOT NULL,
    since   INTEGER NOT NULL,
    PRIMARY KEY (tenant, channel)
) STRICT, WITHOUT ROWID;

-- Commands that go on SEND later. Each is `queued` in `commands` too.
CREATE TABLE schedule (
    place       INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of those that are due at the same moment
    tenant      TEXT NOT NULL,
    id          TEXT NOT NULL,
    channel     TEXT NOT NULL,
    lane        TEXT NOT NULL,
    due         INTEGER NOT NULL,
    payload     BLOB NOT NULL,
    headers     TEXT NOT NULL, -- JSON: pairs of names and values
    taken_until INTEGER,       -- somebody is putting it on SEND, and has until then
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX schedule_due ON schedule (due, place);
