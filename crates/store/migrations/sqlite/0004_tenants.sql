-- What tenants say of their contacts, and where the delivery to their endpoints stands. The code before it works with
-- this schema.

-- The commands of a tenant, newest first. Neither column ever changes, so moving a command on touches no index.
CREATE INDEX commands_by_age ON commands (tenant, created_at, id);

CREATE TABLE contacts (
    tenant     TEXT NOT NULL,
    number     TEXT NOT NULL,
    name       TEXT NOT NULL,
    company    TEXT,
    whatsapp   INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    fresh      INTEGER NOT NULL DEFAULT 1, -- whether the last write made the row
    PRIMARY KEY (tenant, number)
) STRICT, WITHOUT ROWID;

-- Where the delivery to an endpoint stands.
CREATE TABLE endpoints (
    tenant            TEXT NOT NULL,
    endpoint          TEXT NOT NULL,
    cursor            INTEGER NOT NULL DEFAULT 0, -- the sequence on EVENTS from which to read on
    epoch             INTEGER NOT NULL DEFAULT 0, -- the owner that wrote last
    disabled_at       INTEGER,
    disabled_reason   TEXT,
    disabled_revision INTEGER,
    failing_since     INTEGER,
    last_success      INTEGER,
    last_error        TEXT,
    updated_at        INTEGER NOT NULL,
    PRIMARY KEY (tenant, endpoint)
) STRICT, WITHOUT ROWID;

-- Events that wait for another try while those of other conversations go on.
CREATE TABLE parked (
    tenant       TEXT NOT NULL,
    endpoint     TEXT NOT NULL,
    sequence     INTEGER NOT NULL, -- on EVENTS
    conversation TEXT NOT NULL,
    attempts     INTEGER NOT NULL,
    since        INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    error        TEXT NOT NULL,
    PRIMARY KEY (tenant, endpoint, sequence)
) STRICT, WITHOUT ROWID;

-- The attempt log.
CREATE TABLE attempts (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    at       INTEGER NOT NULL,
    event    TEXT NOT NULL,
    type     TEXT NOT NULL,
    attempt  INTEGER NOT NULL,
    micros   INTEGER NOT NULL,
    status   INTEGER,
    error    TEXT
) STRICT;
CREATE INDEX attempts_newest ON attempts (tenant, endpoint, at, id);
CREATE INDEX attempts_failed ON attempts (tenant, endpoint, at, id) WHERE error IS NOT NULL;
CREATE INDEX attempts_of_event ON attempts (event);
CREATE INDEX attempts_by_age ON attempts (tenant, at);

-- Ranges of events that an endpoint is sent once more.
CREATE TABLE replays (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    next     INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    from_at  INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    asked_at INTEGER NOT NULL
) STRICT;
CREATE INDEX replays_of ON replays (tenant, endpoint, id);

-- Whose each phone number is, as of which revision of the registry.
CREATE TABLE numbers (
    number   TEXT NOT NULL PRIMARY KEY,
    tenant   TEXT NOT NULL,
    channel  TEXT NOT NULL,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Where numbers went, until both sides have been told.
CREATE TABLE number_moves (
    number       TEXT NOT NULL,
    revision     INTEGER NOT NULL,
    from_tenant  TEXT NOT NULL,
    from_channel TEXT NOT NULL,
    to_tenant    TEXT NOT NULL,
    to_channel   TEXT NOT NULL,
    PRIMARY KEY (number, revision)
) STRICT, WITHOUT ROWID;
