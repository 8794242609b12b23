-- Acts of people (opt-outs, direct messages, erasure) and retention.

-- The last number given to an opt-out: one that was taken back leaves a hole, for numbers are what
-- peers read on from.
ALTER TABLE owner ADD COLUMN optout_number bigint NOT NULL DEFAULT 0;
UPDATE owner SET optout_number = (SELECT coalesce(max(number), 0) FROM optout);

-- Opt-out and erasure by phone. By time, for retention: both tables grow at their end, so a few
-- bytes per megabyte are enough.
CREATE INDEX direct_phone ON direct (phone);
CREATE INDEX optout_phone ON optout (phone);
CREATE INDEX direct_accepted ON direct USING brin (accepted_at) WITH (autosummarize = on);
CREATE INDEX trigger_use_at ON trigger_use USING brin (at) WITH (autosummarize = on);

-- The token of a message row that no claim made: in order of time, as claims' tokens are.
CREATE FUNCTION uuid_v7(at timestamptz) RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING
           substring(int8send(floor(extract(epoch FROM at) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
           52, 1), 53, 1), 'hex')::uuid
$$;
-- Below every token of that time or later.
CREATE FUNCTION uuid_v7_floor(at timestamptz) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (encode(substring(int8send(floor(extract(epoch FROM at) * 1000)::bigint) FROM 3), 'hex')
           || repeat('0', 20))::uuid
$$;

-- Drops the oldest day if it ended `keep` or more days ago; its name, or NULL. One at a time: each
-- needs all of `message` for itself for a moment. Who writes waits behind this at most as long as
-- it waits for a lock, 50 ms; then 55P03, and the caller comes again.
CREATE FUNCTION message_day_drop(keep int) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    last CONSTANT text := 'message_'
        || to_char((now() AT TIME ZONE 'UTC')::date - keep - 1, 'YYYYMMDD');
    name text;
BEGIN
    IF keep < 1 THEN
        RAISE EXCEPTION 'keep is %: days that are still written cannot be dropped', keep
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT min(c.relname) INTO name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'message'::regclass AND c.relname <= last;
    IF name IS NOT NULL THEN
        EXECUTE format('DROP TABLE %I', name);
    END IF;
    RETURN name;
END
$$;

-- Gives the oldest closed day that has none its index by lead; the day's name, or NULL: all have
-- one. Closed: it ended two hours ago, so nobody writes it but a driver that settles what a dead
-- one left, and that is over before the driver calls this. Writers of other days wait for nothing.
CREATE FUNCTION message_day_index() RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    last CONSTANT text := 'message_'
        || to_char(((now() - interval '2 hours') AT TIME ZONE 'UTC')::date - 1, 'YYYYMMDD');
    name text;
BEGIN
    SELECT min(c.relname) INTO name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'message'::regclass AND c.relname <= last
          AND to_regclass(c.relname || '_lead') IS NULL;
    IF name IS NOT NULL THEN
        EXECUTE format('CREATE INDEX %I ON %I (device_id, lead_no)', name || '_lead', name);
    END IF;
    RETURN name;
END
$$;
REVOKE ALL ON FUNCTION message_day_drop(int), message_day_index() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION message_day_drop(int), message_day_index() TO fleetcast_node;
GRANT DELETE ON receipt TO fleetcast_node;

-- Numbers as in node/outcome.h.
CREATE FUNCTION reason_words(reason smallint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE reason
        WHEN 11 THEN 'opted_out'
        WHEN 12 THEN 'source_cancelled'
        WHEN 13 THEN 'over_ttl'
        WHEN 14 THEN 'missing_variable'
        WHEN 15 THEN 'text_too_long'
        WHEN 16 THEN 'removed'
        WHEN 17 THEN 'replied'
        WHEN 18 THEN 'forgotten'
        WHEN 21 THEN 'not_here'
        WHEN 22 THEN 'source_paused'
        WHEN 23 THEN 'stale'
        WHEN 24 THEN 'epoch'
        WHEN 31 THEN 'retries'
        WHEN 32 THEN 'recipient'
        WHEN 33 THEN 'template'
        WHEN 34 THEN 'parameter'
        WHEN 35 THEN 'media'
        WHEN 36 THEN 'unknown_code'
        WHEN 37 THEN 'refused'
        WHEN 41 THEN 'timeout'
        WHEN 42 THEN 'connection_lost'
        WHEN 43 THEN 'no_provider_id'
        WHEN 44 THEN 'server_error'
        WHEN 45 THEN 'ambiguous_code'
        WHEN 46 THEN 'taken_over'
        WHEN 47 THEN 'repeat_refused'
        WHEN 48 THEN 'reply_unreadable'
        ELSE '' END
$$;

-- broadcast_messages, now with the columns that people know: of which campaign or sequence, the
-- step, and why it failed.
DROP VIEW broadcast_messages;
CREATE VIEW broadcast_messages AS
    SELECT m.device_id,
           coalesce(l.phone, d.phone) AS recipient_phone,
           coalesce(l.name, '') AS recipient_name,
           m.source_id,
           coalesce(s.name, '') AS source,
           CASE s.kind WHEN 0 THEN 'direct' WHEN 1 THEN 'campaign' WHEN 2 THEN 'sequence' END AS kind,
           CASE s.kind WHEN 1 THEN m.source_id END AS campaign_id,
           CASE s.kind WHEN 2 THEN m.source_id END AS sequence_id,
           CASE s.kind WHEN 2 THEN m.step END AS sequence_step,
           m.lead_no,
           m.step,
           m.attempt,
           CASE coalesce(r.state, m.state)
               WHEN 1 THEN 'sent' WHEN 2 THEN 'failed' WHEN 3 THEN 'unknown' WHEN 4 THEN 'expired'
               WHEN 5 THEN 'skipped' WHEN 6 THEN 'cancelled' END AS status,
           coalesce(r.reason, m.reason) AS reason,
           reason_words(coalesce(r.reason, m.reason)) AS error_message,
           m.claimed_at AS scheduled_at,
           CASE coalesce(r.state, m.state) WHEN 1 THEN coalesce(r.at, m.settled_at) END AS sent_at,
           m.token,
           coalesce(nullif(r.provider_id, ''), m.provider_id) AS provider_id
      FROM message m
      LEFT JOIN LATERAL (SELECT state, reason, provider_id, at FROM receipt
                          WHERE receipt.token = m.token ORDER BY at DESC LIMIT 1) r ON true
      LEFT JOIN lead l USING (device_id, lead_no)
      LEFT JOIN direct d USING (device_id, lead_no)
      LEFT JOIN source s USING (source_id)
UNION ALL
    SELECT e.device_id,
           coalesce(l.phone, d.phone),
           coalesce(l.name, ''),
           e.source_id,
           coalesce(s.name, ''),
           CASE s.kind WHEN 0 THEN 'direct' WHEN 1 THEN 'campaign' WHEN 2 THEN 'sequence' END,
           CASE s.kind WHEN 1 THEN e.source_id END,
           CASE s.kind WHEN 2 THEN e.source_id END,
           CASE s.kind WHEN 2 THEN e.step END,
           e.lead_no,
           e.step,
           e.attempt,
           CASE e.state WHEN 0 THEN 'waiting' WHEN 1 THEN 'claimed' END,
           0::smallint,
           '',
           e.due_at,
           NULL,
           CASE e.state WHEN 1 THEN e.token END,
           ''
      FROM enrollment e
      LEFT JOIN lead l USING (device_id, lead_no)
      LEFT JOIN direct d USING (device_id, lead_no)
      LEFT JOIN source s USING (source_id)
     WHERE e.state IN (0, 1); -- an unknown one shows as its message

GRANT SELECT ON broadcast_messages TO fleetcast_node;
