-- Times are microseconds since 1970, in UTC.

CREATE TABLE events (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    tenant        TEXT NOT NULL,
    channel       TEXT NOT NULL,
    type          TEXT NOT NULL,
    subject       TEXT NOT NULL,
    time          INTEGER NOT NULL,
    data          TEXT NOT NULL, -- JSON
    command_id    TEXT,
    callback_data TEXT,
    recorded_at   INTEGER NOT NULL
) STRICT;

-- The events that nobody has confirmed to be announced.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE messages (
    channel       TEXT NOT NULL,
    wamid         TEXT NOT NULL,
    tenant        TEXT NOT NULL,
    direction     TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    user_key      TEXT,
    kind          TEXT,
    content       TEXT, -- JSON
    state         INTEGER NOT NULL,
    command_id    TEXT,
    provider_time INTEGER,
    recorded_at   INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (channel, wamid)
) STRICT, WITHOUT ROWID;

CREATE TABLE commands (
    tenant        TEXT NOT NULL,
    id            TEXT NOT NULL,
    channel       TEXT NOT NULL,
    lane          TEXT NOT NULL,
    user_key      TEXT,
    kind          TEXT,
    content       TEXT, -- JSON
    callback_data TEXT,
    state         TEXT NOT NULL,
    attempt       INTEGER NOT NULL DEFAULT 0,
    epoch         INTEGER NOT NULL DEFAULT 0,
    sequence      INTEGER NOT NULL DEFAULT 0, -- the queue entry that was claimed
    moved         INTEGER NOT NULL DEFAULT 1, -- whether the last claim that met the row moved it
    wamid         TEXT,
    reason        TEXT,
    claimed_at    INTEGER,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
