-- The coordinator's catalog: map, content and what nodes said last. schema/README.md has the rest.

CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE FUNCTION fleetcast_lock() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 7205759403792793602';

CREATE TABLE coordinator (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    term bigint NOT NULL DEFAULT 0,
    holder text NOT NULL DEFAULT '',
    incarnation uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    beat bigint NOT NULL DEFAULT 0,
    map_version bigint NOT NULL DEFAULT 0,
    content_version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO coordinator DEFAULT VALUES;

CREATE TABLE node (
    name text PRIMARY KEY CHECK (name ~ '^[a-z0-9-]{1,24}$'),
    incarnation uuid NOT NULL,
    rpc_address text NOT NULL,
    health_address text NOT NULL,
    weight int NOT NULL DEFAULT 1,
    registered_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE partition (
    name text PRIMARY KEY CHECK (name ~ '^[a-z0-9-]{1,24}$'),
    home text NOT NULL,                          -- node it was installed with
    driver text NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0,             -- high-water mark: what was ever seen
    timeline bigint NOT NULL DEFAULT 0,
    lsn bigint NOT NULL DEFAULT 0,
    content_applied bigint NOT NULL DEFAULT 0
);

CREATE TABLE range (
    first int NOT NULL,
    last int NOT NULL,
    partition text NOT NULL REFERENCES partition,
    PRIMARY KEY (first),
    CHECK (first > 0 AND last >= first),
    CONSTRAINT range_no_overlap EXCLUDE USING gist (int8range(first, last, '[]') WITH &&)
);

-- Newest version of every template and campaign; id = source id of a campaign, never reused.
CREATE TABLE content (
    kind smallint NOT NULL,                      -- 1 template, 2 campaign
    name text NOT NULL,
    id int NOT NULL DEFAULT 0,
    version bigint NOT NULL UNIQUE,              -- content_version at which it last changed
    state smallint NOT NULL DEFAULT 3,           -- campaigns: 0 active, 1 paused, 2 cancelled, 3 draft
    started_at timestamptz,
    item text NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Every writing verb, who and why.
CREATE TABLE audit (
    at timestamptz NOT NULL DEFAULT now(),
    term bigint NOT NULL,
    who text NOT NULL,
    what text NOT NULL,
    because text NOT NULL DEFAULT ''
);
CREATE INDEX audit_at ON audit (at);
