-- Conversations, and who is who in them. Comes before the first release: stop what runs on the schema before it.

UPDATE events SET id = substr(id, 1, 32);
ALTER TABLE events ADD COLUMN conversation INTEGER;
ALTER TABLE events ADD COLUMN sequence INTEGER;
CREATE INDEX events_by_age ON events (tenant, recorded_at);

-- The batches of events that nobody has confirmed to be announced: a row for each batch, not for each event.
ALTER TABLE outbox RENAME TO outbox_before;
CREATE TABLE outbox (
    batch       INTEGER PRIMARY KEY, -- the first of its events
    seqs        TEXT NOT NULL, -- JSON
    recorded_at INTEGER NOT NULL
) STRICT;
INSERT INTO outbox SELECT seq, json_array(seq), recorded_at FROM outbox_before JOIN events USING (seq);
DROP TABLE outbox_before;

-- Everything that one user, or one group, and a channel say to each other.
CREATE TABLE conversations (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant      TEXT NOT NULL,
    channel     TEXT NOT NULL,
    phone       TEXT,
    user_id     TEXT,
    group_id    TEXT,
    name        TEXT,
    username    TEXT,
    named_at    INTEGER,
    sequence    INTEGER NOT NULL DEFAULT 0, -- the number of its newest event
    version     INTEGER NOT NULL DEFAULT 0, -- grows whenever what is known of the user's names changes
    merged_into INTEGER,
    unread      INTEGER NOT NULL DEFAULT 0,
    wrote_at    INTEGER, -- when the user last wrote or called
    last_at     INTEGER NOT NULL,
    last_place  INTEGER NOT NULL DEFAULT 0,
    last_wamid  TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX conversations_newest ON conversations (tenant, last_at DESC, id DESC) WHERE merged_into IS NULL;
CREATE INDEX conversations_merged ON conversations (merged_into) WHERE merged_into IS NOT NULL;

-- The names of users and groups, and whose they are.
CREATE TABLE identities (
    tenant       TEXT NOT NULL,
    channel      TEXT NOT NULL,
    alias        TEXT NOT NULL,
    conversation INTEGER,
    since        INTEGER,
    former       INTEGER,
    until        INTEGER,
    PRIMARY KEY (tenant, channel, alias)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_of ON identities (COALESCE(conversation, former));
CREATE INDEX identities_now ON identities (conversation);

-- A message is what its events say of it: the row points to them. `at` is ours until the provider names a time.
ALTER TABLE messages RENAME TO messages_before;
CREATE TABLE messages (
    channel      TEXT NOT NULL,
    wamid        TEXT NOT NULL,
    tenant       TEXT NOT NULL,
    conversation INTEGER,
    direction    TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    kind         TEXT,
    state        INTEGER NOT NULL,
    command_id   TEXT,
    at           INTEGER NOT NULL,
    timed        INTEGER NOT NULL DEFAULT 1,
    place        INTEGER NOT NULL DEFAULT 0, -- the first event: the order within one second
    content_seq  INTEGER, -- the event that brought it
    edit_seq     INTEGER, -- the event that changed it last
    edited_at    INTEGER,
    withdrawn_at INTEGER,
    steps        TEXT NOT NULL DEFAULT '', -- the events of its statuses, a comma after each
    recorded_at  INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (channel, wamid)
) STRICT, WITHOUT ROWID;
INSERT INTO messages (channel, wamid, tenant, direction, kind, state, command_id, at, timed, recorded_at, updated_at)
SELECT channel, wamid, tenant, direction, kind, state, command_id, COALESCE(provider_time, recorded_at),
       provider_time IS NOT NULL, recorded_at, updated_at
FROM messages_before;
DROP TABLE messages_before;
CREATE INDEX messages_in_order ON messages (conversation, at DESC, place DESC);
