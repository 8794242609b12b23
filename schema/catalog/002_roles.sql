-- Who may do what in the catalog. Least rights: a new table grants nothing by itself.

-- Roles belong to the whole PostgreSQL cluster, and two databases may be migrated at once: who
-- comes second finds them. Passwords, if any, are set by whoever installs (never here).
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN SELECT * FROM (VALUES
            ('fleetcast_owner', 'NOLOGIN'),
            ('fleetcast_coordinator', 'LOGIN')) w(name, attributes) LOOP
        IF to_regrole(wanted.name) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I %s', wanted.name, wanted.attributes);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- the other database's migration was faster
            END;
        END IF;
    END LOOP;
END
$$;

-- Everything here belongs to fleetcast_owner, and later migrations run as it (fleetcast-schema
-- becomes the owner of schema_version).
DO $$
DECLARE
    relation regclass;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO fleetcast_owner, fleetcast_coordinator',
                   current_database());
    GRANT USAGE, CREATE ON SCHEMA public TO fleetcast_owner;
    FOR relation IN SELECT oid FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
              AND relowner = current_user::regrole LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO fleetcast_owner', relation);
    END LOOP;
END
$$;
ALTER FUNCTION fleetcast_lock() OWNER TO fleetcast_owner;

GRANT SELECT ON schema_version TO fleetcast_coordinator;
GRANT SELECT, UPDATE ON coordinator TO fleetcast_coordinator;
GRANT SELECT, INSERT ON audit TO fleetcast_coordinator;
GRANT SELECT, INSERT, UPDATE ON partition, content TO fleetcast_coordinator;
GRANT SELECT, INSERT, UPDATE, DELETE ON node, range TO fleetcast_coordinator;
