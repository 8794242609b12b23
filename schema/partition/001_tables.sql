-- Tables of one partition. Who writes each table and why each index exists: schema/README.md.
-- Columns go from wide to narrow, texts last: no bytes are lost to alignment.
-- Lock rule: every transaction first takes pg_advisory_xact_lock_shared(fleetcast_lock()) (or the
-- exclusive one) in a statement of its own; every write after it carries the driver's epoch.

CREATE FUNCTION fleetcast_lock() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 7205759403792793601';

-- Who may act for this partition. gate: 'open' or why it is closed.
CREATE TABLE owner (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    partition text NOT NULL CHECK (partition ~ '^[a-z0-9-]{1,24}$'),
    epoch bigint NOT NULL DEFAULT 0,
    driver text NOT NULL DEFAULT '',            -- '' = nobody yet
    incarnation uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    gate text NOT NULL DEFAULT 'open',
    reason text NOT NULL DEFAULT '',
    beat bigint NOT NULL DEFAULT 0,
    clean bool NOT NULL DEFAULT true,            -- last driver stopped with nothing open: no quarantine
    next_driver text NOT NULL DEFAULT '',        -- planned hand-over
    content_applied bigint NOT NULL DEFAULT 0    -- content version that every device here has
) WITH (fillfactor = 50);
-- fleetcast-schema sets it to the NAME it was given.
INSERT INTO owner (partition) VALUES (current_setting('fleetcast.partition'));

CREATE TABLE epoch_history (
    epoch bigint PRIMARY KEY,
    taken_at timestamptz NOT NULL DEFAULT now(),
    incarnation uuid NOT NULL,
    driver text NOT NULL,
    how text NOT NULL                            -- start, clean start, connection lost, adopted, handed over
);

-- residence: 0 open, 1 frozen, 2 gone. health: 0 new .. (part 5); 0 may send.
CREATE TABLE device (
    device_id int PRIMARY KEY CHECK (device_id > 0),
    residence smallint NOT NULL DEFAULT 0,
    health smallint NOT NULL DEFAULT 0,
    min_delay_ms int NOT NULL CHECK (min_delay_ms >= 0),
    max_delay_ms int NOT NULL CHECK (max_delay_ms >= min_delay_ms),
    next_lead_no int NOT NULL DEFAULT 0,         -- the last lead_no given
    next_direct_no int NOT NULL DEFAULT 0,
    day date NOT NULL DEFAULT '2000-01-01',      -- device-local day of the counters
    day_reserved int NOT NULL DEFAULT 0,         -- reserved in blocks; a block lost in a crash counts as used
    content_version bigint NOT NULL DEFAULT 0,   -- audience rows exist for content up to here
    move_id bigint NOT NULL DEFAULT 0,
    gap_left_ms int NOT NULL DEFAULT 0,
    moved_to text NOT NULL DEFAULT '',           -- partition, while residence is frozen or gone
    account text COLLATE "C" NOT NULL DEFAULT 'main',
    scope text COLLATE "C" NOT NULL DEFAULT '',  -- breaker scope; '' = hash of the token
    transport text COLLATE "C" NOT NULL,
    address text COLLATE "C" NOT NULL,           -- phone-number id at the provider
    url text NOT NULL DEFAULT '',                -- '' = the node's base URL
    zone text NOT NULL DEFAULT 'UTC',
    name text NOT NULL DEFAULT '',
    token bytea NOT NULL DEFAULT ''              -- sealed: shared/secret
) WITH (fillfactor = 80);

CREATE TABLE lead (
    device_id int NOT NULL,
    lead_no int NOT NULL,
    phone bigint NOT NULL CHECK (phone BETWEEN 10000000 AND 999999999999999),
    name text NOT NULL DEFAULT '',
    trigger text COLLATE "C" NOT NULL DEFAULT '',
    attributes jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (device_id, lead_no)
);
CREATE UNIQUE INDEX lead_phone ON lead (phone, device_id);

-- state: 0 active, 1 paused, 2 cancelled, 3 draft. kind: 0 direct, 1 campaign, 2 sequence.
CREATE TABLE source (
    source_id int PRIMARY KEY,
    kind smallint NOT NULL,
    state smallint NOT NULL,
    priority smallint NOT NULL DEFAULT 0,
    content_version bigint NOT NULL,
    started_version bigint NOT NULL DEFAULT 0,   -- content version that started it here; 0 = not yet
    not_after timestamptz NOT NULL DEFAULT 'infinity',
    started_at timestamptz NOT NULL DEFAULT 'infinity',
    name text NOT NULL UNIQUE,
    filter jsonb NOT NULL DEFAULT '{}',          -- audience.where
    devices int4multirange NOT NULL DEFAULT '{(,)}', -- audience.devices
    item text NOT NULL                           -- canonical JSON of the campaign
);

CREATE TABLE template (
    name text PRIMARY KEY,
    content_version bigint NOT NULL,
    item text NOT NULL
);

-- One row per device and source: how far the device's leads have been enrolled.
CREATE TABLE audience (
    device_id int NOT NULL,
    source_id int NOT NULL,
    priority smallint NOT NULL DEFAULT 0,
    cursor int NOT NULL DEFAULT 0,
    upto int NOT NULL,
    PRIMARY KEY (device_id, source_id)
) WITH (fillfactor = 80);

-- The queue itself. One index; no column but the key is indexed, so claims and advances are HOT.
-- No column is ever NULL (the header stays 24 bytes); the token is kept after a settle.
-- state: 0 waiting, 1 claimed, 2 unknown.
CREATE TABLE enrollment (
    device_id int NOT NULL,
    source_id int NOT NULL,
    lead_no int NOT NULL,
    step smallint NOT NULL DEFAULT 0,
    attempt smallint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    token uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    state smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (device_id, source_id, lead_no)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.2);

-- Ends of sequences (campaigns need none: their cursor never goes back).
CREATE TABLE enrollment_end (
    device_id int NOT NULL,
    source_id int NOT NULL,
    lead_no int NOT NULL,
    step smallint NOT NULL,
    reason smallint NOT NULL,
    ended_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, source_id, lead_no)
);

-- One row per attempt, partitioned by the day of the token's time, appended, never moved.
-- state: 1 sent, 2 failed, 3 unknown, 4 expired, 5 skipped, 6 cancelled. reason: node/outcome.h.
CREATE TABLE message (
    claimed_at timestamptz NOT NULL,
    settled_at timestamptz NOT NULL,
    epoch bigint NOT NULL,
    text_hash bigint NOT NULL,                   -- FNV-1a 64 of the text that was sent, 0 = none
    token uuid NOT NULL,
    device_id int NOT NULL,
    source_id int NOT NULL,
    lead_no int NOT NULL,
    step smallint NOT NULL,
    attempt smallint NOT NULL,
    state smallint NOT NULL,
    reason smallint NOT NULL,
    provider_id text NOT NULL DEFAULT ''
) PARTITION BY RANGE (claimed_at);
CREATE INDEX message_token ON message (token);

-- Evidence that came after a message row was written; the newest state wins in the view.
CREATE TABLE receipt (
    at timestamptz NOT NULL,
    token uuid NOT NULL,
    state smallint NOT NULL,
    reason smallint NOT NULL,
    provider_id text NOT NULL DEFAULT ''
);
CREATE INDEX receipt_token ON receipt (token);

-- One row per source, changed once per source and tick.
-- audience = not_in_audience + sent + failed + unknown + expired + skipped + cancelled + waiting.
CREATE TABLE progress (
    source_id int PRIMARY KEY,
    audience bigint NOT NULL DEFAULT 0,
    not_in_audience bigint NOT NULL DEFAULT 0,
    enrolled bigint NOT NULL DEFAULT 0,
    sent bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    unknown bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);

-- number is drawn under the exclusive lock: peers read on from the last one they saw.
CREATE TABLE optout (
    phone bigint NOT NULL,
    number bigint NOT NULL UNIQUE,
    at timestamptz NOT NULL DEFAULT now(),
    account text COLLATE "C" NOT NULL,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (account, phone)
);

-- Direct messages: content inline, the caller's key kept 7 days (part 2 fills it).
CREATE TABLE direct (
    device_id int NOT NULL,
    lead_no int NOT NULL,                        -- negative
    phone bigint NOT NULL,
    accepted_at timestamptz NOT NULL,
    key text COLLATE "C" NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (device_id, lead_no),
    UNIQUE (device_id, key)
);
