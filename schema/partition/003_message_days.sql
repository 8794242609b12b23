-- Days of `message`: made ahead and dropped by the node, which owns no table. Both give up a lock
-- after 200 ms (the caller repeats), so that no tick waits longer behind them.

-- Makes the missing days from yesterday to `ahead` days from now; returns how many it made.
CREATE FUNCTION message_days_make(ahead int) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    today CONSTANT date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    name text;
    made int := 0;
BEGIN
    FOR day IN SELECT generate_series(today - 1, today + least(ahead, 31), interval '1 day') LOOP
        name := 'message_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        -- Conflicts with itself and with nothing that a tick does: one maker at a time.
        LOCK TABLE message IN SHARE UPDATE EXCLUSIVE MODE;
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE message INCLUDING ALL)', name);
        EXECUTE format('ALTER TABLE message ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name,
                       day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- Drops the days that ended `keep` or more days ago, oldest first; returns their names.
CREATE FUNCTION message_days_drop(keep int) RETURNS SETOF text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    last CONSTANT text := 'message_'
        || to_char((now() AT TIME ZONE 'UTC')::date - keep - 1, 'YYYYMMDD');
    name text;
BEGIN
    IF keep < 1 THEN
        RAISE EXCEPTION 'keep is %: days that are still written cannot be dropped', keep
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'message'::regclass AND c.relname <= last ORDER BY 1 LOOP
        EXECUTE format('DROP TABLE %I', name);
        RETURN NEXT name;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION message_days_make(int), message_days_drop(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION message_days_make(int), message_days_drop(int) TO fleetcast_node;

SELECT message_days_make(7);
