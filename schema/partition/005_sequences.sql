-- Sequences, direct messages, gates: columns and tables that the first release did not need.

-- The sequence's own version that the row follows (1 for campaigns and direct messages). It fills
-- bytes that alignment had left empty: the row stays as long as it was.
ALTER TABLE enrollment ADD COLUMN revision smallint NOT NULL DEFAULT 1;

-- revision: newest of this source. Rows of revisions below all_revision follow the newest too.
-- paused_until: a pause (state 1) ends by itself then. trigger: entry token of a sequence.
-- item of older revisions stays in source_revision as long as rows may follow them.
ALTER TABLE source
    ADD COLUMN revision smallint NOT NULL DEFAULT 1,
    ADD COLUMN all_revision smallint NOT NULL DEFAULT 0,
    ADD COLUMN paused_until timestamptz NOT NULL DEFAULT 'infinity',
    ADD COLUMN trigger text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN because text NOT NULL DEFAULT '';
CREATE TABLE source_revision (
    source_id int NOT NULL,
    revision smallint NOT NULL,
    item text NOT NULL,
    PRIMARY KEY (source_id, revision)
);
INSERT INTO source_revision(source_id, revision, item) SELECT source_id, 1, item FROM source;

-- Two sources that no content file names (blank and bracket cannot stand in a name): direct
-- messages, and the whole cluster, whose pause holds every device.
INSERT INTO source(source_id, kind, state, content_version, name, item)
    VALUES (0, 0, 0, 0, '(direct)', '{}'), (-1, 4, 0, 0, '(cluster)', '{}');
INSERT INTO progress(source_id) VALUES (0);

-- messages: sends that the provider accepted, of all steps; the other columns count enrollments.
ALTER TABLE progress ADD COLUMN messages bigint NOT NULL DEFAULT 0;
UPDATE progress SET messages = sent;

-- A trigger that was not used yet is what a sequence's cursor looks for: equality, in lead order.
-- Leads without one are not in the index.
CREATE INDEX lead_trigger ON lead (device_id, trigger, lead_no) WHERE trigger <> '';
-- A trigger is consumed by an enrolment; that it was there is kept.
CREATE TABLE trigger_use (
    at timestamptz NOT NULL,
    device_id int NOT NULL,
    lead_no int NOT NULL,
    source_id int NOT NULL,
    trigger text COLLATE "C" NOT NULL,
    PRIMARY KEY (device_id, lead_no, source_id, at)
);
-- Attribute columns that any lead here ever had: what a template may name.
CREATE TABLE lead_column (name text PRIMARY KEY);

-- quiet: "21:00-08:00" in the device's zone, '' = none. Caps: 0 = none. warm_from: day 0 of the
-- ramp, infinity = none. hour, hour_reserved: as day and day_reserved, for the hourly cap.
ALTER TABLE device
    ADD COLUMN paused_until timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN hour timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN warm_from date NOT NULL DEFAULT 'infinity',
    ADD COLUMN daily_cap int NOT NULL DEFAULT 0 CHECK (daily_cap >= 0),
    ADD COLUMN hourly_cap int NOT NULL DEFAULT 0 CHECK (hourly_cap >= 0),
    ADD COLUMN hour_reserved int NOT NULL DEFAULT 0,
    ADD COLUMN quiet text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN paused_because text NOT NULL DEFAULT '';

-- expires_at: after it the message ends as expired.
ALTER TABLE direct ADD COLUMN expires_at timestamptz NOT NULL DEFAULT 'infinity';

-- People who asked to be erased: a keyed hash of account and phone, which counts as an opt-out.
CREATE TABLE forgotten (
    at timestamptz NOT NULL DEFAULT now(),
    account text COLLATE "C" NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (account, hash)
);

GRANT SELECT, INSERT, UPDATE ON source_revision TO fleetcast_node;
GRANT SELECT, INSERT, DELETE ON trigger_use, forgotten TO fleetcast_node;
GRANT SELECT, INSERT ON lead_column TO fleetcast_node;
GRANT UPDATE ON enrollment_end TO fleetcast_node;
-- Erasure: a provider's id can hold the phone number.
GRANT UPDATE (provider_id) ON message, receipt TO fleetcast_node;
GRANT SELECT ON forgotten TO fleetcast_peer;
