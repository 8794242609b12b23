/* The statements of a partition's driver; each was tried with two sessions in both orders. */
#include "node/store.h"

/*
 * Rules for all of them (DESIGN §4.2).
 *   - A transaction starts with STORE_LOCK_SHARED or STORE_LOCK_EXCLUSIVE as a statement of its
 *     own: what follows has a newer snapshot and so sees what committed during the wait.
 *   - Every write but a fact's carries EPOCH_IS_MINE. No row back means: the epoch is not mine.
 *   - Nothing may be acted upon before the Sync: until then all of it can still roll back.
 *   - All writers of `progress` share LANE_TICK. One connection is one order, so two of our own
 *     transactions can never wait for each other's counters.
 */
#define EPOCH_IS_MINE " (SELECT epoch FROM owner) = $1::bigint "

/*
 * Ends a look into a table by its whole key, EXISTS (SELECT .. BY_KEY: it stays a look of its own
 * for each row. As a join it would be planned for the table as it was, and a table that was empty
 * then (opt-outs, ends) is read as a whole for each row once it has grown: 1,100 ticks took 17 s.
 */
#define BY_KEY " OFFSET 0) "

/* A source whose rows may be claimed: a pause with a time ends by itself. */
#define SOURCE_OPEN " (s.state = 0 OR (s.state = 1 AND s.paused_until <= now())) "
#define CLUSTER_OPEN                                                                               \
    " NOT EXISTS (SELECT FROM source w WHERE w.source_id = -1 AND w.state = 1"                     \
    " AND w.paused_until > now()) "
/* Rows that are asked for (as FACTS: in the select list). Their sources are judged once a
 * statement, not once a row, and looked up by key, however many a partition has. */
#define ASKED                                                                                      \
    " (SELECT unnest($2::int[]) AS n, unnest($3::int[]) AS device_id,"                             \
    " unnest($4::int[]) AS source_id, unnest($5::int[]) AS lead_no, unnest($6::smallint[]) AS "    \
    "step,"                                                                                        \
    " unnest($7::smallint[]) AS attempt, unnest($8::uuid[]) AS token) a "
#define SOURCES_OPEN                                                                               \
    " a.source_id = ANY (ARRAY(SELECT s.source_id FROM source s WHERE s.source_id = ANY "          \
    "($4::int[])"                                                                                  \
    " AND" SOURCE_OPEN "AND s.not_after > now() AND" CLUSTER_OPEN ")) "
/* Cursors of device u, of the sources that are asked for, each by its key: a device
 * has one of every source that ever ran. */
#define CURSORS_OF(sources)                                                                        \
    " unnest(" sources "::int[]) q(source_id) CROSS JOIN LATERAL (SELECT * FROM audience"          \
    " WHERE device_id = u.device_id AND source_id = q.source_id" BY_KEY "y"                        \
    " JOIN source s ON s.source_id = y.source_id "
/* The audience of a sequence has no end: its cursor looks for triggers for as long as it runs. */
#define OPEN_END "2147483647"
/* A lead of the cursor's device has the trigger of its sequence, behind it. */
#define TRIGGERED                                                                                  \
    " EXISTS (SELECT FROM lead l WHERE l.device_id = y.device_id AND l.trigger = s.trigger"        \
    " AND l.trigger <> '' AND l.lead_no > y.cursor" BY_KEY

/*
 * Facts, so that one function encodes them (settle.c): n comes back. ENDINGS has five columns more.
 * Arrays become rows by unnest in the select list: as functions in FROM each would keep a table of
 * its own, which costs a tenth of a tick. The claim's epoch stands in the row.
 */
#define FACT_COLUMNS                                                                               \
    " unnest($1::int[]) AS n, unnest($2::int[]) AS device_id,"                                     \
    " unnest($3::int[]) AS source_id, unnest($4::int[]) AS lead_no,"                               \
    " unnest($5::uuid[]) AS token, unnest($6::smallint[]) AS goal,"                                \
    " unnest($7::smallint[]) AS to_step, unnest($8::smallint[]) AS to_attempt,"                    \
    " unnest($9::smallint[]) AS to_revision, unnest($10::timestamptz[]) AS due,"                   \
    " unnest($11::smallint[]) AS state, unnest($12::smallint[]) AS reason,"                        \
    " unnest($13::text[]) AS provider_id, unnest($14::timestamptz[]) AS at,"                       \
    " unnest($15::timestamptz[]) AS claimed_at, unnest($16::smallint[]) AS step,"                  \
    " unnest($17::smallint[]) AS attempt, unnest($18::bigint[]) AS text_hash"
#define FACTS " (SELECT" FACT_COLUMNS ") f "
#define ENDINGS                                                                                    \
    " (SELECT" FACT_COLUMNS ","                                                                    \
    " unnest($19::smallint[]) AS ends_as, unnest($20::int[]) AS next_source,"                      \
    " unnest($21::smallint[]) AS next_step, unnest($22::smallint[]) AS next_revision,"             \
    " unnest($23::timestamptz[]) AS next_due) f "
#define SAME_ROW                                                                                   \
    " e.device_id = f.device_id AND e.source_id = f.source_id AND e.lead_no = f.lead_no"           \
    " AND e.token = f.token "
#define GOES_ON                                                                                    \
    " step = f.to_step, attempt = f.to_attempt, revision = f.to_revision, due_at = f.due "
#define MESSAGE_OF_DONE                                                                            \
    " INSERT INTO message(claimed_at, settled_at, epoch, text_hash, token, device_id, source_id,"  \
    " lead_no, step, attempt, state, reason, provider_id)"                                         \
    " SELECT claimed_at, at, epoch, text_hash, token, device_id, source_id, lead_no, step,"        \
    " attempt, state, reason, provider_id FROM done WHERE state <> 0 "
/*
 * What follows a row's end, in the same statement. Only sequences have steps above 0: their ends
 * are kept. Who is through goes on in the next sequence, also while that is paused or a draft (the
 * row waits there), not when it is cancelled, and not who is in it or has been through it: both are
 * judged by what stood there before this statement.
 */
#define END_OF(rows)                                                                               \
    " INSERT INTO enrollment_end(device_id, source_id, lead_no, step, reason, ended_at)"           \
    " SELECT device_id, source_id, lead_no, step, CASE WHEN ends_as = 1 THEN 0 ELSE reason END,"   \
    " at FROM " rows " WHERE step > 0 ON CONFLICT DO NOTHING "
#define CHAIN_OF(rows)                                                                             \
    " INSERT INTO enrollment(device_id, source_id, lead_no, step, revision, due_at)"               \
    " SELECT g.device_id, g.next_source, g.lead_no, g.next_step, g.next_revision, g.next_due"      \
    " FROM " rows " g WHERE g.next_source <> 0"                                                    \
    " AND EXISTS (SELECT FROM source s WHERE s.source_id = g.next_source AND s.state <> 2" BY_KEY  \
    " AND NOT EXISTS (SELECT FROM enrollment x WHERE x.device_id = g.device_id"                    \
    " AND x.source_id = g.next_source AND x.lead_no = g.lead_no" BY_KEY                            \
    " AND NOT EXISTS (SELECT FROM enrollment_end x WHERE x.device_id = g.device_id"                \
    " AND x.source_id = g.next_source AND x.lead_no = g.lead_no" BY_KEY " ON CONFLICT DO NOTHING"  \
    " RETURNING device_id, source_id, lead_no, step, revision, due_at "
/* n of what was done; then the chained rows, as memory lists them. */
#define DONE_AND_CHAINED                                                                           \
    " SELECT n, NULL::int, NULL::int, NULL::int, NULL::smallint, NULL::smallint,"                  \
    " NULL::timestamptz FROM done UNION ALL SELECT NULL, device_id, source_id, lead_no, step,"     \
    " revision, due_at FROM chained"

#define OPTOUT_INSERT                                                                              \
    " o AS (UPDATE owner SET optout_number = optout_number + (SELECT count(*) FROM fresh)"         \
    " WHERE EXISTS (SELECT FROM fresh) RETURNING optout_number - (SELECT count(*) FROM fresh)"     \
    " AS before), i AS (INSERT INTO optout(account, phone, number, reason)"                        \
    " SELECT account, phone, o.before + k, reason FROM fresh, o) "
#define LIVE_SOURCES                                                                               \
    " live AS MATERIALIZED (SELECT source_id FROM progress WHERE audience > not_in_audience + "    \
    "sent"                                                                                         \
    " + failed + expired + skipped + cancelled) "
/* Where people are: each row of u becomes a row per lead and per direct message, of open or moving
 * devices of its account. */
#define PLACES(columns)                                                                            \
    " (SELECT " columns ", l.* FROM u CROSS JOIN LATERAL (SELECT device_id, lead_no FROM lead"     \
    " WHERE phone = u.phone" BY_KEY "l UNION ALL SELECT " columns                                  \
    ", c.* FROM u CROSS JOIN LATERAL (SELECT device_id, lead_no FROM direct"                       \
    " WHERE phone = u.phone" BY_KEY "c) x CROSS JOIN LATERAL (SELECT account, residence"           \
    " FROM device WHERE device_id = x.device_id" BY_KEY "d WHERE x.account IN (d.account, '') "
#define FOUND                                                                                      \
    " u AS MATERIALIZED (SELECT * FROM unnest($2::int[], $3::text[], $4::bigint[])"                \
    " u(n, account, phone)),"                                                                      \
    " w AS MATERIALIZED (SELECT x.n, x.device_id, x.lead_no, d.account, d.residence = 1 OR EXISTS" \
    " (SELECT FROM live CROSS JOIN LATERAL (SELECT FROM enrollment"                                \
    " WHERE device_id = x.device_id AND source_id = live.source_id AND lead_no = x.lead_no"        \
    " AND state = 1" BY_KEY "e) AS busy FROM" PLACES("u.n, u.account") "AND" EPOCH_IS_MINE ") "

#define DEVICE_COLUMNS                                                                             \
    " device_id, residence, health, min_delay_ms, max_delay_ms, account, scope, transport,"        \
    " address, url, zone, token, paused_until, paused_because, quiet, daily_cap, hourly_cap,"      \
    " CASE WHEN isfinite(warm_from) THEN warm_from - date '1970-01-01' ELSE 2147483647 END,"       \
    " day - date '1970-01-01', day_reserved, hour, hour_reserved "

#define SHOWN_DEVICE                                                                               \
    "d.device_id, d.name, d.transport, d.address, d.residence, d.health, d.min_delay_ms,"          \
    " d.max_delay_ms, d.zone, d.account, d.scope, d.url, d.next_lead_no, octet_length(d.token) > " \
    "0, d.quiet, d.daily_cap, d.hourly_cap, CASE WHEN isfinite(d.warm_from) THEN"                  \
    " d.warm_from::text ELSE '' END, CASE WHEN d.paused_until <= now() THEN ''"                    \
    " WHEN isfinite(d.paused_until) THEN"                                                          \
    " to_char(d.paused_until AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"                \
    " ELSE 'until resumed' END, d.paused_because"
/* What a row of an import says of a device's limits: '' and 0 say nothing, "none" and -1 lift it.
 * An age counts from the zone's today. */
#define SAID_QUIET(else_)                                                                          \
    " CASE u.quiet WHEN '' THEN " else_ " WHEN 'none' THEN '' ELSE u.quiet END "
#define SAID_CAP(cap, else_)                                                                       \
    " CASE u." cap " WHEN 0 THEN " else_ " WHEN -1 THEN 0 ELSE u." cap " END "
#define SAID_WARM_FROM(else_)                                                                      \
    " CASE WHEN u.age = '' THEN " else_ " WHEN u.age = 'none' THEN 'infinity'::date"               \
    " WHEN u.age LIKE '%-%' THEN u.age::date"                                                      \
    " ELSE (now() AT TIME ZONE u.zone)::date - u.age::int END "
#define SAID_LIMITS(quiet_, daily, hourly, warm)                                                   \
    " quiet = " SAID_QUIET(quiet_) ", daily_cap = " SAID_CAP(                                      \
        "daily_cap",                                                                               \
        daily) ", hourly_cap = " SAID_CAP("hourly_cap",                                            \
                                          hourly) ", warm_from = " SAID_WARM_FROM(warm)
#define SOURCE_KIND                                                                                \
    "CASE s.kind WHEN 0 THEN 'direct' WHEN 1 THEN 'campaign' WHEN 2 THEN 'sequence' END"
#define ENROLLMENT_STATE                                                                           \
    "CASE e.state WHEN 0 THEN 'waiting' WHEN 1 THEN 'claimed' ELSE 'unknown' END"
#define VERIFY(name, offences)                                                                     \
    "SELECT '" name "'::text, count(*) = 0, count(*), coalesce(min(words), '')::text FROM "        \
    "(" offences ") AS o(words)"

/* clang-format off */
const struct db_statement store_statements[STORE_COUNT] = {
    [STORE_LOCK_SHARED] = {"lock_shared",
        "SELECT pg_advisory_xact_lock_shared(fleetcast_lock())"},
    /*
     * The same, and the whole transaction fails (22012) unless its time, which is now() to all that
     * follows, lies between $1 and $2: what ends rows by the clock is never done by a wrong one.
     */
    [STORE_LOCK_TIMED] = {"lock_timed",
        "SELECT pg_advisory_xact_lock_shared(fleetcast_lock()),"
        " 1 / (now() BETWEEN $1::timestamptz AND $2::timestamptz)::int"},
    [STORE_LOCK_EXCLUSIVE] = {"lock_exclusive",
        "SELECT pg_advisory_xact_lock(fleetcast_lock())"},

    /* Reads only. After the lock it tells who may write in this transaction, and the time. */
    [STORE_EPOCH] = {"epoch",
        "SELECT epoch, driver, incarnation, clock_timestamp(), content_applied, clean FROM owner"},

    /*
     * What the take depends on, in one row. $1: backends that are ours. Reads only, no lock.
     * tcp_user_timeout reads 0 on a unix socket, where it has no meaning: so it is asked of TCP
     * sessions alone. reserved_connections exists from PostgreSQL 16 on.
     */
    [STORE_CHECK] = {"check",
        "SELECT o.epoch, o.driver, o.incarnation, o.clean, o.partition, clock_timestamp(),"
        " coalesce((SELECT max(version)::int FROM schema_version), 0),"
        " current_setting('fsync')::bool, current_setting('full_page_writes')::bool,"
        " current_setting('synchronous_commit') = 'on',"
        " current_setting('idle_in_transaction_session_timeout') = '5s'"
        " AND current_setting('client_connection_check_interval') = '1s'"
        " AND current_setting('default_transaction_isolation') = 'read committed'"
        " AND (inet_client_addr() IS NULL OR current_setting('tcp_user_timeout') = '5s'),"
        " current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int"
        " - coalesce(current_setting('reserved_connections', true)::int, 0)"
        " - (SELECT count(*)::int FROM pg_stat_activity"
        " WHERE datid IS NOT NULL AND usesysid IS NOT NULL AND pid <> ALL($1::int[])),"
        " pg_is_in_recovery(),"
        " CASE WHEN pg_is_in_recovery() THEN 0"
        " ELSE (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint END"
        " FROM owner o"},

    /* Makes the days of `message` up to 7 ahead; a function of the schema's owner, safe to repeat.
     */
    [STORE_DAYS] = {"days", "SELECT message_days_make(7)"},

    /*
     * Ends every other node's session here, so that no transaction that was given up lives on.
     * $1: our own pool's backends, which hold nothing that the epoch does not judge. A backend
     * that is committing ends afterwards: the exclusive lock of the take waits for it.
     */
    [STORE_CLEAR] = {"clear",
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid))::int FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name LIKE 'fleetcast-node/%'"
        " AND pid <> pg_backend_pid() AND pid <> ALL($1::int[])"
        " AND pg_has_role(usesysid, 'MEMBER')"},

    /*
     * Under the exclusive lock: nobody else's transaction is open. Compare-and-set on the epoch
     * that was judged. Crash before: nothing; after: an epoch that nobody uses, not clean, so that
     * the next take waits Q. $1 epoch seen, $2 node, $3 incarnation, $4 how.
     */
    [STORE_TAKE] = {"take",
        "WITH o AS (UPDATE owner SET epoch = epoch + 1, driver = $2::text, incarnation = $3::uuid,"
        " clean = false, gate = 'open', reason = '', next_driver = ''"
        " WHERE" EPOCH_IS_MINE "RETURNING epoch),"
        " h AS (INSERT INTO epoch_history(epoch, driver, incarnation, how)"
        " SELECT epoch, $2::text, $3::uuid, $4::text FROM o)"
        " SELECT epoch FROM o"},

    /*
     * Claims of older epochs, to be settled as unknown. $2: tokens that this very process knows
     * (never sent, or still on the wire): their facts settle them. Reads only; a full scan, once a
     * take, while the quarantine lasts.
     */
    [STORE_LEFT_OVER] = {"left_over",
        "SELECT device_id, source_id, lead_no, step, attempt, token, epoch, revision FROM enrollment"
        " WHERE state = 1 AND epoch < $1::bigint AND token <> ALL($2::uuid[])"
        " ORDER BY device_id LIMIT $3::int"},

    /* No row: fenced. The timeline is that of the WAL being written, not of the last checkpoint. */
    [STORE_BEAT] = {"beat",
        "UPDATE owner SET beat = beat + 1 WHERE" EPOCH_IS_MINE
        "RETURNING beat, (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint,"
        " ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int"},

    /*
     * What was reserved and not used is given back at a clean stop: $2 devices, then what was used
     * of the same day ($3, $4) and hour ($5, $6). Nothing is claimed any more. Crash before it: the
     * block counts as used.
     */
    [STORE_GIVE_BACK] = {"give_back",
        "UPDATE device d SET day_reserved = CASE WHEN d.day = date '1970-01-01' + u.day"
        " THEN least(d.day_reserved, u.day_used) ELSE d.day_reserved END,"
        " hour_reserved = CASE WHEN d.hour = u.hour THEN least(d.hour_reserved, u.hour_used)"
        " ELSE d.hour_reserved END"
        " FROM (SELECT * FROM unnest($2::int[], $3::int[], $4::int[], $5::timestamptz[], $6::int[])"
        " u(device_id, day, day_used, hour, hour_used) ORDER BY device_id) u"
        " WHERE d.device_id = ANY($2::int[]) AND d.device_id = u.device_id AND d.residence = 0"
        " AND" EPOCH_IS_MINE},

    /* Exclusive lock. Nothing of ours is claimed: the next take needs no quarantine. */
    [STORE_RELEASE] = {"release",
        "UPDATE owner SET clean = true WHERE" EPOCH_IS_MINE "RETURNING epoch"},

    /*
     * The offsets of zones $1 (seconds east of UTC) and the instants from which they hold, from two
     * days ago to $2 days ahead: changes are looked for by the hour, then to the minute. A name
     * that PostgreSQL does not know has no row. Reads only.
     */
    [STORE_ZONES] = {"zones",
        "WITH n AS MATERIALIZED (SELECT u.name, u.ord::int AS ord FROM unnest($1::text[])"
        " WITH ORDINALITY u(name, ord) WHERE u.name IN (SELECT name FROM pg_timezone_names)),"
        " b AS (SELECT date_trunc('hour', now()) AS hour),"
        " h AS MATERIALIZED (SELECT n.ord, n.name, t, extract(epoch FROM (t AT TIME ZONE n.name)"
        " - (t AT TIME ZONE 'UTC'))::int AS offset_s FROM n, b, generate_series("
        "b.hour - interval '2 days', b.hour + $2::int * interval '1 day', interval '1 hour') t),"
        " c AS (SELECT h.*, lag(offset_s) OVER (PARTITION BY ord ORDER BY t) AS was FROM h)"
        " SELECT c.ord, coalesce((SELECT min(m) FROM generate_series(c.t - interval '59 minutes',"
        " c.t, interval '1 minute') m WHERE c.was IS NOT NULL AND extract(epoch FROM"
        " (m AT TIME ZONE c.name) - (m AT TIME ZONE 'UTC'))::int = c.offset_s), c.t) AS since, c.offset_s,"
        " (SELECT max(t) FROM h) AS until FROM c WHERE c.was IS DISTINCT FROM c.offset_s"
        " ORDER BY c.ord, c.t"},

    /* Loading reads by key in pages; what changes meanwhile is announced by intake after its
     * commit, and what the claim refuses is dropped: a stale page is harmless. */
    [STORE_LOAD_DEVICES] = {"load_devices",
        "SELECT" DEVICE_COLUMNS "FROM device WHERE device_id > $1::int AND residence = 0"
        " ORDER BY device_id LIMIT $2::int"},
    [STORE_DEVICES_BY_ID] = {"devices_by_id",
        "SELECT" DEVICE_COLUMNS "FROM device WHERE device_id = ANY($1::int[]) AND residence = 0"},
    [STORE_LOAD_SOURCES] = {"load_sources",
        "SELECT s.source_id, s.kind, s.state, s.item, coalesce(p.audience > p.not_in_audience"
        " + p.sent + p.failed + p.unknown + p.expired + p.skipped + p.cancelled, false),"
        " coalesce(p.unknown, 0), s.name, s.revision, s.all_revision, s.paused_until"
        " FROM source s LEFT JOIN progress p USING (source_id)"
        " WHERE s.source_id > $1::int ORDER BY s.source_id LIMIT $2::int"},
    /* Plans of older revisions: rows may follow them. The newest is the source's own item. */
    [STORE_LOAD_REVISIONS] = {"load_revisions",
        "SELECT r.source_id, r.revision, r.item FROM source_revision r JOIN source s"
        " USING (source_id) WHERE s.kind = 2 AND r.revision < s.revision"
        " AND (r.source_id, r.revision) > ($1::int, $2::smallint)"
        " ORDER BY r.source_id, r.revision LIMIT $3::int"},
    [STORE_LOAD_TEMPLATES] = {"load_templates",
        "SELECT name, item FROM template WHERE name > $1::text ORDER BY name LIMIT $2::int"},
    [STORE_LOAD_OPTOUTS] = {"load_optouts",
        "SELECT account, phone, number FROM optout WHERE number > $1::bigint ORDER BY number"
        " LIMIT $2::int"},

    /*
     * A fact whose row stays: goal 0 waiting, 2 unknown. state 0 = no message row (it never reached
     * the wire). A step that is over moves the row to its next one: step, due time and revision in
     * one HOT update. Matched by token, once, from any epoch: the second time nothing matches.
     * Locks its rows and one row of progress per source. Crash before: the claim stands and the
     * next take makes it unknown; after: the row waits for its next step.
     */
    [STORE_ADVANCE] = {"advance",
        "WITH done AS (UPDATE enrollment e SET state = f.goal," GOES_ON "FROM" FACTS "WHERE" SAME_ROW
        "AND e.state = 1 RETURNING f.*, e.epoch),"
        " p AS (UPDATE progress p SET unknown = p.unknown + d.unknown,"
        " messages = p.messages + d.messages FROM (SELECT source_id,"
        " count(*) FILTER (WHERE goal = 2) AS unknown, count(*) FILTER (WHERE state = 1) AS messages"
        " FROM done WHERE goal = 2 OR state = 1 GROUP BY 1) d WHERE p.source_id = d.source_id),"
        " m AS (" MESSAGE_OF_DONE ")"
        " SELECT n FROM done"},

    /*
     * A fact whose row ends: row, its end, the next sequence's row, counters and message row in one
     * step; else as advance. One update of progress for what ended and what was chained: a row that
     * one statement updates twice keeps the first change only. The insert of a chain may wait for
     * another session that enrols the same lead there, and then does nothing. Crash before: nothing
     * of it; after: all of it, so COLD is never left without WARM.
     */
    [STORE_FINISH] = {"finish",
        "WITH done AS (DELETE FROM enrollment e USING" ENDINGS "WHERE" SAME_ROW "AND e.state = 1"
        " RETURNING f.*, e.epoch), i AS (" END_OF("done") "), chained AS (" CHAIN_OF("done") "),"
        " p AS (UPDATE progress p SET sent = p.sent + d.sent, failed = p.failed + d.failed,"
        " expired = p.expired + d.expired, skipped = p.skipped + d.skipped,"
        " cancelled = p.cancelled + d.cancelled, messages = p.messages + d.messages,"
        " audience = p.audience + d.chained, enrolled = p.enrolled + d.chained"
        " FROM (SELECT source_id, count(*) FILTER (WHERE ends_as = 1) AS sent,"
        " count(*) FILTER (WHERE ends_as = 2) AS failed,"
        " count(*) FILTER (WHERE ends_as = 4) AS expired,"
        " count(*) FILTER (WHERE ends_as = 5) AS skipped,"
        " count(*) FILTER (WHERE ends_as = 6) AS cancelled,"
        " count(*) FILTER (WHERE state = 1) AS messages,"
        " count(*) FILTER (WHERE ends_as = 0) AS chained"
        " FROM (SELECT source_id, ends_as, state FROM done UNION ALL"
        " SELECT source_id, 0, 0 FROM chained) x GROUP BY 1) d WHERE p.source_id = d.source_id),"
        " m AS (" MESSAGE_OF_DONE ")" DONE_AND_CHAINED},

    /*
     * What became of a row that stands as unknown: its message row is there, so a receipt is
     * appended, and the count moves from unknown to what it was. goal 0: the row goes on (the next
     * step of a sequence), else it ends as in finish. Once: afterwards it is not unknown any more.
     */
    [STORE_EVIDENCE] = {"evidence",
        "WITH f AS MATERIALIZED (SELECT * FROM" ENDINGS "),"
        " gone AS (DELETE FROM enrollment e USING f WHERE" SAME_ROW
        "AND e.state = 2 AND f.goal <> 0 RETURNING f.*),"
        " kept AS (UPDATE enrollment e SET state = 0," GOES_ON "FROM f WHERE" SAME_ROW
        "AND e.state = 2 AND f.goal = 0 RETURNING f.*),"
        " done AS MATERIALIZED (SELECT * FROM gone UNION ALL SELECT * FROM kept),"
        " i AS (" END_OF("gone") "), chained AS (" CHAIN_OF("gone") "),"
        " p AS (UPDATE progress p SET unknown = p.unknown - d.unknown, sent = p.sent + d.sent,"
        " failed = p.failed + d.failed, messages = p.messages + d.messages,"
        " audience = p.audience + d.chained, enrolled = p.enrolled + d.chained"
        " FROM (SELECT source_id, count(*) FILTER (WHERE ends_as >= 0) AS unknown,"
        " count(*) FILTER (WHERE ends_as = 1) AS sent, count(*) FILTER (WHERE ends_as = 2) AS failed,"
        " count(*) FILTER (WHERE state = 1) AS messages, count(*) FILTER (WHERE ends_as < 0) AS"
        " chained FROM (SELECT source_id, CASE goal WHEN 0 THEN 0 ELSE ends_as END AS ends_as, state"
        " FROM done UNION ALL SELECT source_id, -1, 0 FROM chained) x GROUP BY 1) d"
        " WHERE p.source_id = d.source_id),"
        " r AS (INSERT INTO receipt(at, token, state, reason, provider_id)"
        " SELECT at, token, state, reason, provider_id FROM done)" DONE_AND_CHAINED},

    /*
     * Why the claim did not return a row, and the end of rows that may never be sent: opted out
     * (11), source cancelled (12), over its time (13). 21 not here, 22 paused, 23 stale, 24 epoch;
     * 0: it may be asked again (the cluster is paused). A row is ended only as it was asked: same
     * step, attempt, waiting; of two that do it the second finds nothing.
     */
    [STORE_REFUSE] = {"refuse",
        "WITH v AS MATERIALIZED (SELECT a.*, CASE WHEN NOT" EPOCH_IS_MINE "THEN 24"
        " WHEN d.residence IS DISTINCT FROM 0 OR e.device_id IS NULL OR s.source_id IS NULL"
        " OR (l.device_id IS NULL AND c.device_id IS NULL) THEN 21"
        " WHEN e.state <> 0 OR e.step <> a.step OR e.attempt <> a.attempt THEN 23"
        " WHEN o.phone IS NOT NULL THEN 11 WHEN s.state = 2 THEN 12 WHEN s.not_after <= now()"
        " OR c.expires_at <= now() THEN 13 WHEN NOT" SOURCE_OPEN "THEN 22 ELSE 0 END AS verdict"
        " FROM unnest($2::int[], $3::int[], $4::int[], $5::int[], $6::smallint[], $7::smallint[],"
        " $8::uuid[]) a(n, device_id, source_id, lead_no, step, attempt, token)"
        " LEFT JOIN enrollment e USING (device_id, source_id, lead_no)"
        " LEFT JOIN device d USING (device_id) LEFT JOIN source s USING (source_id)"
        " LEFT JOIN lead l USING (device_id, lead_no)"
        " LEFT JOIN LATERAL (SELECT * FROM direct WHERE a.lead_no < 0 AND device_id = a.device_id"
        " AND lead_no = a.lead_no" BY_KEY "c ON true LEFT JOIN LATERAL (SELECT phone FROM optout WHERE account = d.account"
        " AND phone = coalesce(l.phone, c.phone)" BY_KEY "o ON true),"
        " done AS (DELETE FROM enrollment e USING v WHERE v.verdict BETWEEN 11 AND 13"
        " AND e.device_id = v.device_id AND e.source_id = v.source_id AND e.lead_no = v.lead_no"
        " AND e.state = 0 AND e.step = v.step AND e.attempt = v.attempt AND" EPOCH_IS_MINE
        " RETURNING v.*),"
        " i AS (INSERT INTO enrollment_end(device_id, source_id, lead_no, step, reason, ended_at)"
        " SELECT device_id, source_id, lead_no, step, verdict, now() FROM done WHERE step > 0"
        " ON CONFLICT DO NOTHING),"
        " m AS (INSERT INTO message(claimed_at, settled_at, epoch, text_hash, token, device_id,"
        " source_id, lead_no, step, attempt, state, reason)"
        " SELECT now(), now(), $1::bigint, 0, token, device_id, source_id, lead_no, step, attempt,"
        " CASE verdict WHEN 12 THEN 6 WHEN 13 THEN 4 ELSE 5 END, verdict FROM done),"
        " p AS (UPDATE progress p SET skipped = p.skipped + g.skipped,"
        " cancelled = p.cancelled + g.cancelled, expired = p.expired + g.expired"
        " FROM (SELECT source_id, count(*) FILTER (WHERE verdict = 11) AS skipped,"
        " count(*) FILTER (WHERE verdict = 12) AS cancelled,"
        " count(*) FILTER (WHERE verdict = 13) AS expired FROM done GROUP BY 1) g"
        " WHERE p.source_id = g.source_id)"
        " SELECT n, verdict FROM v"},

    /*
     * Blocks of the local day's and hour's allowance, before the claims that use them: both commit
     * or neither, so what a crash loses counts as used. Its driver alone writes these columns; a
     * row of a device that moved away is left alone. Crash after it: the next driver finds the
     * block as used. $2 devices, then day, reserved, hour (the local clock's, as if it were UTC),
     * reserved. Locks its device rows, in the order of ids.
     */
    [STORE_RESERVE] = {"reserve",
        "UPDATE device d SET day = date '1970-01-01' + u.day, day_reserved = u.day_reserved,"
        " hour = u.hour, hour_reserved = u.hour_reserved"
        " FROM (SELECT * FROM unnest($2::int[], $3::int[], $4::int[], $5::timestamptz[], $6::int[])"
        " u(device_id, day, day_reserved, hour, hour_reserved) ORDER BY device_id) u"
        " WHERE d.device_id = ANY($2::int[]) AND d.device_id = u.device_id AND d.residence = 0"
        " AND" EPOCH_IS_MINE},

    /*
     * The rows that may be sent, and nothing else. The row itself refuses a second claim (state,
     * step, attempt); device, source, the cluster's pause, opt-out and epoch are read with the
     * snapshot after the lock. due_at comes back, for a step's time to live counts from it. Crash
     * after it: the next take makes the row unknown, for nobody knows what was sent.
     */
    [STORE_CLAIM] = {"claim",
        "UPDATE enrollment e SET state = 1, epoch = $1::bigint, token = a.token"
        " FROM" ASKED "JOIN device d USING (device_id) JOIN lead l USING (device_id, lead_no)"
        " WHERE e.device_id = a.device_id AND e.source_id = a.source_id AND e.lead_no = a.lead_no"
        " AND e.state = 0 AND e.step = a.step AND e.attempt = a.attempt"
        " AND d.residence = 0 AND" SOURCES_OPEN "AND" EPOCH_IS_MINE
        " AND NOT EXISTS (SELECT FROM optout o WHERE o.account = d.account AND o.phone = l.phone"
        BY_KEY " RETURNING a.n, l.phone, l.name, l.attributes::text, e.due_at"},
    /* The same for direct messages: phone, text and time to live stand in `direct`. */
    [STORE_CLAIM_DIRECT] = {"claim_direct",
        "UPDATE enrollment e SET state = 1, epoch = $1::bigint, token = a.token"
        " FROM" ASKED "JOIN device d USING (device_id) CROSS JOIN LATERAL (SELECT phone, text, expires_at"
        " FROM direct WHERE device_id = a.device_id AND lead_no = a.lead_no" BY_KEY "c"
        " WHERE e.device_id = a.device_id AND e.source_id = a.source_id AND e.lead_no = a.lead_no"
        " AND e.state = 0 AND e.step = a.step AND e.attempt = a.attempt"
        " AND d.residence = 0 AND" SOURCES_OPEN "AND c.expires_at > now() AND" EPOCH_IS_MINE
        " AND NOT EXISTS (SELECT FROM optout o WHERE o.account = d.account AND o.phone = c.phone"
        BY_KEY " RETURNING a.n, c.phone, c.text, e.due_at"},

    /*
     * The next $2 rows of each device in due order, whether due or not, behind a key of its own
     * ($3 to $5): one class at a time ($6 its active sources), so that a long list of one class
     * never hides another. Numbers of direct messages go down: by size they are in order. Reads
     * only.
     */
    [STORE_FILL] = {"fill",
        "SELECT u.device_id, x.source_id, x.lead_no, x.step, x.attempt, x.due_at, x.revision"
        " FROM unnest($1::int[], $2::int[], $3::timestamptz[], $4::int[], $5::int[])"
        " u(device_id, k, due_at, source_id, lead_no) CROSS JOIN LATERAL"
        " (SELECT e.* FROM unnest($6::int[]) q(source_id) CROSS JOIN LATERAL"
        " (SELECT source_id, lead_no, step, attempt, due_at, revision FROM enrollment"
        " WHERE device_id = u.device_id AND source_id = q.source_id AND state = 0"
        " AND (due_at, source_id, abs(lead_no)) > (u.due_at, u.source_id, u.lead_no)" BY_KEY "e"
        " ORDER BY due_at, source_id, abs(lead_no) LIMIT u.k) x"},

    /* How many rows of each device are live, when it is read for the first time: the size of its
     * fills and lists depends on it. One look along the key per device. */
    [STORE_LIVE] = {"live",
        "SELECT u.device_id, (SELECT count(*)::int FROM enrollment e WHERE e.device_id = u.device_id"
        " AND e.state <> 2) FROM unnest($1::int[]) u(device_id)"},

    /*
     * The next $3 leads behind the cursor of each device, of the open audience row with the highest
     * priority (at equal priority the one least advanced, so that campaigns take turns), of sources
     * that the driver can send ($4). Rows and cursor move together: a crash leaves both or neither.
     * A lead that does not fit, or a number that no lead has, is counted as not in the audience, so
     * the counters always sum to it.
     */
    [STORE_ENROL] = {"enrol",
        "WITH a AS MATERIALIZED (SELECT x.* FROM unnest($2::int[]) u(device_id)"
        " JOIN device d USING (device_id) CROSS JOIN LATERAL"
        " (SELECT y.device_id, y.source_id, y.cursor, y.upto, s.filter, s.not_after <= now() AS over"
        " FROM" CURSORS_OF("$4") "WHERE y.cursor < y.upto AND y.upto < " OPEN_END " AND" SOURCE_OPEN
        " ORDER BY y.priority DESC, y.cursor, y.source_id LIMIT 1) x"
        " WHERE d.residence = 0 AND" EPOCH_IS_MINE "),"
        " n AS MATERIALIZED (SELECT a.device_id, a.source_id, l.lead_no,"
        " l.attributes @> a.filter AS fits FROM a CROSS JOIN LATERAL"
        " (SELECT lead_no, attributes FROM lead l WHERE l.device_id = a.device_id"
        " AND l.lead_no > a.cursor AND l.lead_no <= a.upto ORDER BY lead_no LIMIT $3::int) l"
        " WHERE NOT a.over),"
        " g AS MATERIALIZED (SELECT a.device_id, a.source_id, a.over,"
        " CASE WHEN count(n.lead_no) < $3::int THEN a.upto ELSE max(n.lead_no) END AS cursor,"
        " a.cursor AS was, count(*) FILTER (WHERE n.fits) AS enrolled"
        " FROM a LEFT JOIN n USING (device_id, source_id)"
        " GROUP BY a.device_id, a.source_id, a.over, a.cursor, a.upto),"
        " c AS (UPDATE audience y SET cursor = g.cursor FROM g"
        " WHERE y.device_id = g.device_id AND y.source_id = g.source_id),"
        " p AS (UPDATE progress p SET enrolled = p.enrolled + t.enrolled,"
        " not_in_audience = p.not_in_audience + t.missed, expired = p.expired + t.expired"
        " FROM (SELECT source_id, sum(enrolled) AS enrolled,"
        " sum(cursor - was - enrolled) FILTER (WHERE NOT over) AS missed,"
        " sum(cursor - was) FILTER (WHERE over) AS expired FROM g GROUP BY 1) s,"
        " LATERAL (SELECT s.source_id, s.enrolled, coalesce(s.missed, 0) AS missed,"
        " coalesce(s.expired, 0) AS expired) t WHERE p.source_id = t.source_id)"
        " INSERT INTO enrollment(device_id, source_id, lead_no, due_at)"
        " SELECT device_id, source_id, lead_no, now() FROM n WHERE fits ORDER BY 1, 2, 3"
        " ON CONFLICT DO NOTHING RETURNING device_id, source_id, lead_no, due_at"},

    /*
     * Triggers. Who sets one (STORE_TRIGGER_BACK) and who uses it both lock its cursors first, in a
     * statement of its own: what follows has a newer snapshot. Without it an enrolment could read
     * the leads as they were before, wait for the cursor, and move it past the new trigger.
     */
    [STORE_ENROL_LOCK] = {"enrol_lock",
        "SELECT FROM (SELECT device_id, source_id FROM unnest($1::int[]) d(device_id),"
        " unnest($2::int[]) s(source_id) ORDER BY 1, 2) k CROSS JOIN LATERAL"
        " (SELECT FROM audience y WHERE y.device_id = k.device_id AND y.source_id = k.source_id"
        " AND upto = " OPEN_END " FOR UPDATE) y"},
    /*
     * The next $3 leads of each device whose trigger is that of one sequence (of $4; its first
     * step, revision and delay in $5 to $7). The trigger is used up with the same commit, for
     * everybody whom the cursor passes, and its use is kept; who is in the sequence or has been
     * through it is not enrolled again; who does not fit is counted as not in the audience. Crash:
     * the trigger is still there, or the row is.
     */
    [STORE_ENROL_TRIGGER] = {"enrol_trigger",
        "WITH a AS MATERIALIZED (SELECT x.*, array_position($4::int[], x.source_id) AS at"
        " FROM unnest($2::int[]) u(device_id) JOIN device d USING (device_id) CROSS JOIN LATERAL"
        " (SELECT y.device_id, y.source_id, y.cursor, s.trigger, s.filter"
        " FROM" CURSORS_OF("$4") "WHERE y.upto = " OPEN_END " AND" SOURCE_OPEN "AND" TRIGGERED
        " ORDER BY y.priority DESC, y.cursor, y.source_id LIMIT 1) x"
        " WHERE d.residence = 0 AND" EPOCH_IS_MINE "),"
        " n AS MATERIALIZED (SELECT a.device_id, a.source_id, a.at, a.trigger, l.lead_no,"
        " l.at_row,"
        " l.attributes @> a.filter AS fits FROM a CROSS JOIN LATERAL"
        " (SELECT lead_no, attributes, ctid AS at_row FROM lead l WHERE l.device_id = a.device_id"
        " AND l.trigger = a.trigger AND l.trigger <> '' AND l.lead_no > a.cursor"
        " ORDER BY lead_no LIMIT $3::int) l),"
        " c AS (UPDATE audience y SET cursor = g.last FROM (SELECT device_id, source_id,"
        " max(lead_no) AS last FROM n GROUP BY 1, 2) g"
        " WHERE y.device_id = g.device_id AND y.source_id = g.source_id),"
        " u AS (UPDATE lead SET trigger = '' WHERE ctid = ANY(ARRAY(SELECT at_row FROM n))),"
        " t AS (INSERT INTO trigger_use(at, device_id, lead_no, source_id, trigger)"
        " SELECT now(), device_id, lead_no, source_id, trigger FROM n),"
        " i AS (INSERT INTO enrollment(device_id, source_id, lead_no, step, revision, due_at)"
        " SELECT device_id, source_id, lead_no, ($5::smallint[])[at], ($6::smallint[])[at],"
        " now() + ($7::bigint[])[at] * interval '1 microsecond' FROM n WHERE fits"
        " AND NOT EXISTS (SELECT FROM enrollment_end x WHERE x.device_id = n.device_id"
        " AND x.source_id = n.source_id AND x.lead_no = n.lead_no" BY_KEY "ORDER BY 1, 2, 3"
        " ON CONFLICT DO NOTHING RETURNING device_id, source_id, lead_no, due_at, step, revision),"
        " p AS (UPDATE progress p SET audience = p.audience + g.enrolled + g.missed,"
        " enrolled = p.enrolled + g.enrolled, not_in_audience = p.not_in_audience + g.missed"
        " FROM (SELECT source_id, sum(enrolled) AS enrolled, sum(missed) AS missed"
        " FROM (SELECT source_id, 1 AS enrolled, 0 AS missed FROM i"
        " UNION ALL SELECT source_id, 0, 1 FROM n WHERE NOT fits) x GROUP BY 1) g"
        " WHERE p.source_id = g.source_id)"
        " SELECT device_id, source_id, lead_no, due_at, step, revision FROM i"},
    /* Leads behind a cursor of a campaign (of $2), triggers that no sequence (of $3) used yet;
     * follows the enrolment before the same Sync. */
    [STORE_ENROL_OPEN] = {"enrol_open",
        "SELECT u.device_id, EXISTS"
        " (SELECT FROM" CURSORS_OF("$2") "WHERE y.cursor < y.upto AND y.upto < " OPEN_END
        " AND" SOURCE_OPEN "), EXISTS"
        " (SELECT FROM" CURSORS_OF("$3") "WHERE y.upto = " OPEN_END " AND" SOURCE_OPEN
        "AND" TRIGGERED ") FROM unnest($1::int[]) u(device_id)"},
    /*
     * Before triggers are set ($2 devices, $3 phones, $4 triggers), in the same transaction: the
     * cursors of their sequences step back to before these leads. It writes each cursor, also one
     * that stays: that is the lock which keeps an enrolment from passing them meanwhile.
     */
    [STORE_TRIGGER_BACK] = {"trigger_back",
        "WITH s AS MATERIALIZED (SELECT source_id, trigger FROM source WHERE kind = 2 AND state <> 2"
        " AND trigger <> '') UPDATE audience y SET cursor = least(y.cursor, g.lead_no - 1) FROM"
        " (SELECT l.device_id, s.source_id, min(l.lead_no) AS lead_no"
        " FROM unnest($2::int[], $3::bigint[], $4::text[]) u(device_id, phone, trigger)"
        " JOIN s USING (trigger) CROSS JOIN LATERAL (SELECT device_id, lead_no"
        " FROM lead WHERE phone = u.phone AND device_id = u.device_id" BY_KEY "l"
        " GROUP BY 1, 2 ORDER BY 1, 2) g WHERE y.device_id = g.device_id"
        " AND y.source_id = g.source_id AND y.upto = " OPEN_END " AND" EPOCH_IS_MINE},

    /*
     * Ends what a cancelled source ($2) still has, a page of $4 devices after $3 and at most $5
     * rows a transaction; leads behind the cursor are counted at once, and a cursor without an end
     * gets one. Repeatable. Answers the page's devices and how many rows of each ended; none: the
     * pass is over. Crash: what is left is swept by the next driver.
     */
    [STORE_SWEEP] = {"sweep",
        "WITH d AS MATERIALIZED (SELECT device_id FROM device WHERE device_id > $3::int"
        " AND residence = 0 AND" EPOCH_IS_MINE "AND EXISTS (SELECT FROM source"
        " WHERE source_id = $2::int AND state = 2) ORDER BY device_id LIMIT $4::int),"
        " x AS MATERIALIZED (SELECT e.* FROM d CROSS JOIN LATERAL (SELECT device_id, lead_no"
        " FROM enrollment e WHERE e.device_id = d.device_id AND e.source_id = $2::int"
        " AND e.state = 0 LIMIT $5::int) e LIMIT $5::int),"
        " gone AS (DELETE FROM enrollment e USING x WHERE e.device_id = x.device_id"
        " AND e.source_id = $2::int AND e.lead_no = x.lead_no AND e.state = 0"
        " RETURNING e.device_id, e.lead_no, e.step),"
        " i AS (INSERT INTO enrollment_end(device_id, source_id, lead_no, step, reason, ended_at)"
        " SELECT device_id, $2::int, lead_no, step, 12, now() FROM gone WHERE step > 0"
        " ON CONFLICT DO NOTHING),"
        " was AS MATERIALIZED (SELECT a.device_id, a.cursor, a.upto FROM d JOIN audience a"
        " USING (device_id) WHERE a.source_id = $2::int AND a.cursor < a.upto),"
        " c AS (UPDATE audience a SET cursor = was.upto FROM was"
        " WHERE a.device_id = was.device_id AND a.source_id = $2::int),"
        " p AS (UPDATE progress SET cancelled = cancelled + (SELECT count(*) FROM gone)"
        " + (SELECT coalesce(sum(upto - cursor), 0) FROM was WHERE upto < " OPEN_END ")"
        " WHERE source_id = $2::int AND EXISTS (SELECT FROM d))"
        " SELECT d.device_id, count(g.device_id)::int FROM d LEFT JOIN gone g USING (device_id)"
        " GROUP BY 1 ORDER BY 1"},
    /*
     * Moves waiting rows of a sequence ($2) below revision $11 to where they stand in it, a page of
     * $4 devices after $3 and at most $5 rows a transaction. $6 to $9: revision, step, its new step
     * (0: nothing is left, it is through and goes on in $10) and the change of its due time in
     * usec; $12 to $14: first step, revision, delay of the next sequence. A step that the plan lost
     * counts as the next one behind it. Claimed and unknown rows come along when they advance.
     * Repeatable: a row that was moved is not below $11 any more. Answers the page's devices, how
     * many rows of each were touched and how many of them ended; none: the pass is over.
     */
    [STORE_RESTEP] = {"restep",
        "WITH d AS MATERIALIZED (SELECT device_id FROM device WHERE device_id > $3::int"
        " AND residence = 0 AND" EPOCH_IS_MINE "ORDER BY device_id LIMIT $4::int),"
        " x AS MATERIALIZED (SELECT e.* FROM d CROSS JOIN LATERAL (SELECT device_id, lead_no, step,"
        " revision FROM enrollment e WHERE e.device_id = d.device_id AND e.source_id = $2::int"
        " AND e.state = 0 AND e.revision < $11::smallint AND e.revision = ANY($6::smallint[])"
        " LIMIT $5::int) e LIMIT $5::int),"
        " v AS MATERIALIZED (SELECT x.*, coalesce(m.to_step, 0) AS to_step, m.shift FROM x"
        " LEFT JOIN LATERAL (SELECT * FROM unnest($6::smallint[], $7::smallint[], $8::smallint[],"
        " $9::bigint[]) m(revision, step, to_step, shift) WHERE m.revision = x.revision"
        " AND m.step >= x.step ORDER BY m.step LIMIT 1) m ON true),"
        " moved AS (UPDATE enrollment e SET step = v.to_step, revision = $11::smallint,"
        " attempt = CASE WHEN e.step = v.to_step THEN e.attempt ELSE 0 END,"
        " due_at = e.due_at + v.shift * interval '1 microsecond' FROM v"
        " WHERE v.to_step <> 0 AND e.device_id = v.device_id AND e.source_id = $2::int"
        " AND e.lead_no = v.lead_no AND e.state = 0 RETURNING e.device_id),"
        " gone AS (DELETE FROM enrollment e USING v WHERE v.to_step = 0"
        " AND e.device_id = v.device_id AND e.source_id = $2::int AND e.lead_no = v.lead_no"
        " AND e.state = 0 RETURNING e.device_id, e.source_id, e.lead_no, e.step),"
        " ends AS MATERIALIZED (SELECT gone.*, 1 AS ends_as, 0 AS reason, now() AS at,"
        " $10::int AS next_source, $12::smallint AS next_step, $13::smallint AS next_revision,"
        " now() + $14::bigint * interval '1 microsecond' AS next_due FROM gone),"
        " i AS (" END_OF("ends") "), chained AS (" CHAIN_OF("ends") "),"
        " p AS (UPDATE progress p SET sent = p.sent + g.sent, audience = p.audience + g.chained,"
        " enrolled = p.enrolled + g.chained FROM (SELECT source_id, sum(sent) AS sent,"
        " sum(chained) AS chained FROM (SELECT source_id, 1 AS sent, 0 AS chained FROM gone"
        " UNION ALL SELECT source_id, 0, 1 FROM chained) y GROUP BY 1) g"
        " WHERE p.source_id = g.source_id),"
        " t AS (SELECT device_id, 1 AS touched, 0 AS ended FROM moved UNION ALL SELECT device_id, 1,"
        " 1 FROM gone UNION ALL SELECT device_id, 0, -1 FROM chained)"
        " SELECT d.device_id, coalesce(sum(t.touched), 0)::int, coalesce(sum(t.ended), 0)::int"
        " FROM d LEFT JOIN t USING (device_id) GROUP BY 1 ORDER BY 1"},

    /* Content: under the exclusive lock, so that after the commit no claim goes by an older state.
     * A row that is as new or newer stays: pages may come twice. */
    [STORE_PUT_TEMPLATES] = {"put_templates",
        "INSERT INTO template(name, content_version, item) SELECT * FROM"
        " unnest($2::text[], $3::bigint[], $4::text[]) t WHERE" EPOCH_IS_MINE
        "ON CONFLICT (name) DO UPDATE SET content_version = EXCLUDED.content_version,"
        " item = EXCLUDED.item WHERE template.content_version < EXCLUDED.content_version"},
    /*
     * started_version: the content version at which this partition first saw it started; it alone
     * decides which devices are in the audience. started_at infinity: not yet. A revision's item is
     * kept for the rows that follow it; a draft's may still change. The cluster's own row is there
     * and has neither.
     */
    [STORE_PUT_SOURCES] = {"put_sources",
        "WITH i AS (INSERT INTO source(source_id, kind, state, priority, content_version,"
        " started_version, started_at, not_after, name, filter, devices, item, revision,"
        " all_revision, paused_until, trigger, because)"
        " SELECT source_id, kind, state, priority, version,"
        " CASE WHEN isfinite(started_at) THEN version ELSE 0 END, started_at, not_after,"
        " name, coalesce(item::jsonb -> 'audience' -> 'where', '{}'), devices::int4multirange,"
        " item, revision, all_revision, paused_until, trigger, because"
        " FROM unnest($2::int[], $3::smallint[], $4::smallint[], $5::bigint[], $6::timestamptz[],"
        " $7::timestamptz[], $8::text[], $9::text[], $10::text[], $11::smallint[], $12::smallint[],"
        " $13::smallint[], $14::timestamptz[], $15::text[], $16::text[])"
        " u(source_id, state, priority, version, started_at, not_after, name, devices, item, kind,"
        " revision, all_revision, paused_until, trigger, because) WHERE" EPOCH_IS_MINE
        "ON CONFLICT (source_id) DO UPDATE SET state = EXCLUDED.state,"
        " priority = EXCLUDED.priority, content_version = EXCLUDED.content_version,"
        " started_version = CASE WHEN source.started_version <> 0 THEN source.started_version"
        " ELSE EXCLUDED.started_version END, started_at = EXCLUDED.started_at,"
        " not_after = EXCLUDED.not_after,"
        " name = EXCLUDED.name, filter = EXCLUDED.filter, devices = EXCLUDED.devices,"
        " item = EXCLUDED.item, revision = EXCLUDED.revision,"
        " all_revision = EXCLUDED.all_revision, paused_until = EXCLUDED.paused_until,"
        " trigger = EXCLUDED.trigger, because = EXCLUDED.because"
        " WHERE source.content_version < EXCLUDED.content_version"
        " RETURNING source_id, kind, revision, item),"
        " r AS (INSERT INTO source_revision(source_id, revision, item)"
        " SELECT source_id, revision, item FROM i WHERE kind <> 4"
        " ON CONFLICT (source_id, revision) DO UPDATE SET item = EXCLUDED.item)"
        " INSERT INTO progress(source_id) SELECT source_id FROM i WHERE kind <> 4"
        " ON CONFLICT DO NOTHING"},
    /*
     * Audience rows of what was started up to version $2, for the next $4 devices after $3 that
     * lack some. upto = the device's last lead: the row lock waits for an import that is writing
     * this device, and then sees its last number. A sequence's has no end and counts whom it
     * enrols; one without a trigger needs none. Answers the devices done; none: the pass is over.
     */
    [STORE_AUDIENCE] = {"audience",
        "WITH d AS MATERIALIZED (SELECT device_id, next_lead_no, content_version FROM device"
        " WHERE device_id > $3::int AND residence = 0 AND content_version <"
        " (SELECT coalesce(max(started_version), 0) FROM source WHERE started_version <= $2::bigint)"
        " AND" EPOCH_IS_MINE "ORDER BY device_id LIMIT $4::int FOR UPDATE),"
        " n AS (INSERT INTO audience(device_id, source_id, priority, cursor, upto)"
        " SELECT d.device_id, s.source_id, s.priority, 0,"
        " CASE s.kind WHEN 2 THEN " OPEN_END " ELSE d.next_lead_no END FROM d JOIN source s"
        " ON s.started_version > d.content_version AND s.started_version <= $2::bigint"
        " AND s.state <> 2 AND d.device_id <@ s.devices"
        " WHERE CASE s.kind WHEN 2 THEN s.trigger <> '' ELSE d.next_lead_no > 0 END ORDER BY 1, 2"
        " ON CONFLICT DO NOTHING RETURNING source_id, upto),"
        " p AS (UPDATE progress p SET audience = p.audience + g.upto"
        " FROM (SELECT source_id, sum(upto) AS upto FROM n WHERE upto < " OPEN_END " GROUP BY 1) g"
        " WHERE p.source_id = g.source_id),"
        " u AS (UPDATE device SET content_version = $2::bigint FROM d"
        " WHERE device.device_id = d.device_id)"
        " SELECT device_id FROM d"},
    /* Exclusive lock: no import is creating a device meanwhile. No row: a device still lacks rows,
     * or the epoch is not mine. */
    [STORE_APPLIED] = {"applied",
        "UPDATE owner SET content_applied = greatest(content_applied, $2::bigint)"
        " WHERE" EPOCH_IS_MINE "AND NOT EXISTS (SELECT FROM device WHERE residence = 0"
        " AND content_version < (SELECT coalesce(max(started_version), 0) FROM source"
        " WHERE started_version <= $2::bigint)) RETURNING content_applied"},
    /* Exclusive lock. A template or parameter that the provider refuses is wrong for every lead
     * alike. Only an active source: an order of the operator is never overwritten. */
    [STORE_PAUSE_SOURCE] = {"pause_source",
        "UPDATE source s SET state = 1, paused_until = 'infinity',"
        " because = 'the provider refuses its template or parameters'"
        " WHERE source_id = $2::int AND" SOURCE_OPEN "AND" EPOCH_IS_MINE},

    /*
     * ---- acts of people. Each transaction is on LANE_TICK, behind the lock it names. ----
     *
     * $3 accounts, $4 phones, $5 reasons, $6 hashes, by $2 n. Exclusive lock: a claim that committed
     * before is seen (its row is left alone, the guard knows the phone), one that waits sees the
     * opt-out. Numbers are drawn under the lock, so peers that read by number miss none. Answers the
     * n that are new; who opted out before, or was erased, is known. Crash before: nothing was
     * acknowledged; after: the next driver loads it.
     */
    [STORE_OPTOUT_ADD] = {"optout_add",
        "WITH a AS MATERIALIZED (SELECT DISTINCT ON (account, phone) *"
        " FROM unnest($2::int[], $3::text[], $4::bigint[], $5::text[], $6::bytea[])"
        " a(n, account, phone, reason, hash) WHERE" EPOCH_IS_MINE "ORDER BY account, phone, n),"
        " fresh AS MATERIALIZED (SELECT a.*, row_number() OVER (ORDER BY n) AS k FROM a"
        " WHERE NOT EXISTS (SELECT FROM optout o WHERE o.account = a.account AND o.phone = a.phone"
        BY_KEY "AND NOT EXISTS (SELECT FROM forgotten f WHERE f.account IN (a.account, '')"
        " AND f.hash = a.hash" BY_KEY ")," OPTOUT_INSERT
        "SELECT n FROM fresh"},
    /*
     * Ends what waits for these people ($2 accounts, '' = every; $3 phones) with reason $4, on every
     * device here; with $5 also what stands as unknown (it stays counted so, and its message row
     * stays). Follows the statement that keeps new rows from being claimed, under its exclusive
     * lock. What is claimed is on the wire: its fact settles it, and the next claim ends it. Only
     * sources that have live rows are looked through. Answers the rows that ended.
     */
    [STORE_OPTOUT_END] = {"optout_end",
        "WITH" LIVE_SOURCES ", u AS MATERIALIZED (SELECT * FROM unnest($2::text[], $3::bigint[])"
        " u(account, phone)), who AS MATERIALIZED (SELECT DISTINCT x.device_id, x.lead_no FROM"
        PLACES("u.account") "AND d.residence = 0),"
        " gone AS (DELETE FROM enrollment e USING who CROSS JOIN live"
        " WHERE e.device_id = who.device_id AND e.source_id = live.source_id"
        " AND e.lead_no = who.lead_no AND (e.state = 0 OR (e.state = 2 AND $5::bool))"
        " AND" EPOCH_IS_MINE "RETURNING e.*),"
        " i AS (INSERT INTO enrollment_end(device_id, source_id, lead_no, step, reason, ended_at)"
        " SELECT device_id, source_id, lead_no, step, $4::smallint, now() FROM gone WHERE step > 0"
        " ON CONFLICT DO NOTHING),"
        " m AS (INSERT INTO message(claimed_at, settled_at, epoch, text_hash, token, device_id,"
        " source_id, lead_no, step, attempt, state, reason) SELECT now(), now(), $1::bigint, 0,"
        " uuid_v7(now()), device_id, source_id, lead_no, step, attempt, 5, $4::smallint FROM gone"
        " WHERE state = 0),"
        " p AS (UPDATE progress p SET skipped = p.skipped + g.skipped FROM"
        " (SELECT source_id, count(*) AS skipped FROM gone WHERE state = 0 GROUP BY 1) g"
        " WHERE p.source_id = g.source_id)"
        " SELECT device_id, source_id, lead_no FROM gone"},
    /* As optout_add; exclusive, so that the two are in one order. The hash of an erasure goes too:
     * the person asks to hear again. What was ended stays ended. */
    [STORE_OPTOUT_REMOVE] = {"optout_remove",
        "WITH a AS MATERIALIZED (SELECT * FROM unnest($2::int[], $3::text[], $4::bigint[],"
        " $5::bytea[]) a(n, account, phone, hash) WHERE" EPOCH_IS_MINE "),"
        " o AS (DELETE FROM optout o USING a WHERE o.account = a.account AND o.phone = a.phone"
        " RETURNING a.n),"
        " f AS (DELETE FROM forgotten f USING a WHERE f.account IN (a.account, '')"
        " AND f.hash = a.hash RETURNING a.n)"
        " SELECT n FROM o UNION SELECT n FROM f"},

    /*
     * Erasure, in steps that may be repeated. 1, exclusive: an opt-out on every account where the
     * person is known ($2 n, $3 accounts, '' = every; $4 phones), then optout_end, then forget_find.
     * 2: the messages' provider ids go (they can hold the phone). 3, exclusive: optout_end again,
     * for a row may have been enrolled meanwhile, then forget_erase. A crash between leaves the
     * person opted out, not acknowledged as erased; who asks again goes on from there.
     */
    [STORE_FORGET_BLOCK] = {"forget_block",
        "WITH u AS MATERIALIZED (SELECT * FROM unnest($2::int[], $3::text[], $4::bigint[])"
        " u(n, account, phone) WHERE" EPOCH_IS_MINE "),"
        " fresh AS MATERIALIZED (SELECT a.*, 'forgotten'::text AS reason, row_number() OVER () AS k"
        " FROM (SELECT DISTINCT d.account, x.phone FROM" PLACES("u.account, u.phone") ") a"
        " WHERE NOT EXISTS (SELECT FROM optout o WHERE o.account = a.account"
        " AND o.phone = a.phone" BY_KEY "),"
        OPTOUT_INSERT
        "SELECT count(*) FROM fresh"},
    /* Where these people are: n, device, lead, account, whether it is claimed or its device moves.
     */
    [STORE_FORGET_FIND] = {"forget_find",
        "WITH" LIVE_SOURCES "," FOUND "SELECT n, device_id, lead_no, account, busy FROM w"},
    /* Reads only, without the lock: of closed days by their index, the others whole. Nothing is
     * added for these leads ($1 devices, $2 numbers) any more. */
    [STORE_FORGET_TOKENS] = {"forget_tokens",
        "SELECT claimed_at, token FROM message m WHERE m.device_id = ANY($1::int[])"
        " AND m.lead_no = ANY($2::int[]) AND EXISTS (SELECT FROM unnest($1::int[], $2::int[])"
        " u(device_id, lead_no) WHERE u.device_id = m.device_id AND u.lead_no = m.lead_no)"},
    /* By day and token ($2, $3): short, under the shared lock. */
    [STORE_FORGET_IDS] = {"forget_ids",
        "WITH u AS MATERIALIZED (SELECT * FROM unnest($2::timestamptz[], $3::uuid[]) u(at, token)"
        " WHERE" EPOCH_IS_MINE "), m AS (UPDATE message m SET provider_id = '' FROM u"
        " WHERE m.claimed_at = u.at AND m.token = u.token AND m.provider_id <> ''),"
        " r AS (UPDATE receipt r SET provider_id = '' FROM u WHERE r.token = u.token"
        " AND r.provider_id <> '') SELECT count(*) FROM u"},
    /* $5 hashes. Nothing of who is claimed, or on a device that moves. Answers n: how many of its
     * leads and direct messages went, and whether something stayed; the hash is there for who has
     * nothing that stayed. */
    [STORE_FORGET_ERASE] = {"forget_erase",
        "WITH" LIVE_SOURCES "," FOUND ","
        " h AS MATERIALIZED (SELECT v.* FROM unnest($2::int[], $3::text[], $4::bigint[], $5::bytea[])"
        " v(n, account, phone, hash) WHERE" EPOCH_IS_MINE
        " AND NOT EXISTS (SELECT FROM w WHERE w.n = v.n AND w.busy)),"
        " k AS MATERIALIZED (SELECT w.device_id, w.lead_no FROM w JOIN h USING (n)),"
        " f AS (INSERT INTO forgotten(account, hash) SELECT account, hash FROM h"
        " ON CONFLICT DO NOTHING RETURNING hash),"
        " o AS (DELETE FROM optout WHERE ctid = ANY(ARRAY(SELECT x.ctid FROM h CROSS JOIN LATERAL"
        " (SELECT ctid FROM optout WHERE phone = h.phone AND h.account IN (account, '')" BY_KEY
        "x))), l AS (DELETE FROM lead WHERE ctid = ANY(ARRAY(SELECT x.ctid FROM k CROSS JOIN LATERAL"
        " (SELECT ctid FROM lead WHERE device_id = k.device_id AND lead_no = k.lead_no" BY_KEY
        "x))), c AS (DELETE FROM direct WHERE ctid = ANY(ARRAY(SELECT x.ctid FROM k"
        " CROSS JOIN LATERAL (SELECT ctid FROM direct WHERE device_id = k.device_id"
        " AND lead_no = k.lead_no" BY_KEY "x))), t AS (DELETE FROM trigger_use"
        " WHERE ctid = ANY(ARRAY(SELECT x.ctid FROM k CROSS JOIN LATERAL (SELECT ctid"
        " FROM trigger_use WHERE device_id = k.device_id AND lead_no = k.lead_no" BY_KEY "x)))"
        " SELECT h.n, (SELECT count(*) FROM w WHERE w.n = h.n), EXISTS (SELECT FROM f"
        " WHERE f.hash = h.hash) FROM h"},

    /*
     * Direct messages: by $2 n device, phone, key, text, end of its time, hash; at most $9 wait on
     * one device. Text, queue row and counters in one statement, under the shared lock. A key that
     * is there answers what it got then (verdict 3). Verdicts: 0 done, 1 no such device, 2 it moves,
     * 3 known, 4 opted out, 5 erased, 6 over its time, 7 too many wait, 13 the key is that of another
     * message. Crash before: nothing, the
     * caller asks again; after: the key is known.
     */
    [STORE_SEND] = {"send",
        "WITH v AS MATERIALIZED (SELECT a.*, c.lead_no AS known_no,"
        " row_number() OVER (PARTITION BY a.device_id, a.key ORDER BY a.n) AS twin,"
        " CASE WHEN d.device_id IS NULL THEN 1 WHEN c.phone = a.phone AND c.text = a.text THEN 3"
        " WHEN c.device_id IS NOT NULL THEN 13"
        " WHEN d.residence <> 0 THEN 2 WHEN o.phone IS NOT NULL THEN 4"
        " WHEN EXISTS (SELECT FROM forgotten f WHERE f.account IN (d.account, '')"
        " AND f.hash = a.hash" BY_KEY "THEN 5 WHEN a.expires_at <= now() THEN 6 ELSE 0 END AS verdict"
        " FROM unnest($2::int[], $3::int[], $4::bigint[], $5::text[], $6::text[],"
        " $7::timestamptz[], $8::bytea[]) a(n, device_id, phone, key, text, expires_at, hash)"
        " LEFT JOIN LATERAL (SELECT * FROM device WHERE device_id = a.device_id" BY_KEY "d ON true"
        " LEFT JOIN LATERAL (SELECT device_id, lead_no, phone, text FROM direct WHERE device_id = a.device_id"
        " AND key = a.key" BY_KEY "c ON true LEFT JOIN LATERAL (SELECT phone FROM optout"
        " WHERE account = d.account AND phone = a.phone" BY_KEY "o ON true WHERE" EPOCH_IS_MINE "),"
        " r AS MATERIALIZED (SELECT v.*, row_number() OVER (PARTITION BY device_id ORDER BY n) AS k"
        " FROM v WHERE verdict = 0 AND twin = 1),"
        " w AS MATERIALIZED (SELECT x.device_id, (SELECT count(*) FROM (SELECT FROM enrollment e"
        " WHERE e.device_id = x.device_id AND e.source_id = 0 AND e.state = 0 LIMIT $9::int) y)"
        " AS waiting FROM (SELECT DISTINCT device_id FROM r) x),"
        " g AS MATERIALIZED (SELECT r.* FROM r JOIN w USING (device_id)"
        " WHERE w.waiting + r.k <= $9::int),"
        " d AS (UPDATE device d SET next_direct_no = d.next_direct_no + s.rows FROM"
        " (SELECT device_id, count(*)::int AS rows FROM g GROUP BY 1) s"
        " WHERE d.device_id = s.device_id RETURNING d.device_id, d.next_direct_no - s.rows AS base),"
        " i AS MATERIALIZED (SELECT g.*, (-(d.base + g.k))::int AS lead_no FROM g JOIN d"
        " USING (device_id)),"
        " c AS (INSERT INTO direct(device_id, lead_no, phone, accepted_at, expires_at, key, text)"
        " SELECT device_id, lead_no, phone, now(), expires_at, key, text FROM i),"
        " e AS (INSERT INTO enrollment(device_id, source_id, lead_no, due_at)"
        " SELECT device_id, 0, lead_no, now() FROM i),"
        " p AS (UPDATE progress SET audience = audience + s.rows, enrolled = enrolled + s.rows"
        " FROM (SELECT count(*) AS rows FROM i) s WHERE source_id = 0)"
        " SELECT v.n, CASE WHEN v.verdict <> 0 THEN v.verdict WHEN b.lead_no IS NULL THEN 7"
        " WHEN v.twin > 1 THEN CASE WHEN b.phone = v.phone AND b.text = v.text THEN 3 ELSE 13 END"
        " ELSE 0 END, coalesce(v.known_no, b.lead_no), now()"
        " FROM v LEFT JOIN i b ON b.device_id = v.device_id AND b.key = v.key"},

    /*
     * Enrols leads by hand: by $2 n device, phone, source, first step, revision, delay; $8 again.
     * Shared lock. The end of who goes through again is deleted with the same commit; that he begins
     * anew is kept beside the uses of triggers, as a trigger without a name. Verdicts as
     * of send, and 8 cancelled, 9 has been through it, 10 no such lead. Crash before: nothing;
     * after: known.
     */
    [STORE_LEAD_ENROL] = {"lead_enrol",
        "WITH v AS MATERIALIZED (SELECT a.*, l.lead_no, x.place,"
        " row_number() OVER (PARTITION BY a.device_id, a.source_id, a.phone ORDER BY a.n) AS twin,"
        " CASE WHEN l.lead_no IS NULL THEN 10 WHEN d.residence <> 0 THEN 2"
        " WHEN e.device_id IS NOT NULL THEN 3 WHEN o.phone IS NOT NULL THEN 4"
        " WHEN s.state IS NULL OR s.state = 2 THEN 8"
        " WHEN x.device_id IS NOT NULL AND NOT a.again THEN 9 ELSE 0 END AS verdict"
        " FROM unnest($2::int[], $3::int[], $4::bigint[], $5::int[], $6::smallint[],"
        " $7::smallint[], $8::bigint[], $9::bool[])"
        " a(n, device_id, phone, source_id, step, revision, delay, again)"
        " LEFT JOIN LATERAL (SELECT device_id, lead_no FROM lead WHERE phone = a.phone"
        " AND device_id = a.device_id" BY_KEY "l ON true LEFT JOIN LATERAL (SELECT account, residence"
        " FROM device WHERE device_id = l.device_id" BY_KEY "d ON true LEFT JOIN LATERAL (SELECT phone"
        " FROM optout WHERE account = d.account AND phone = a.phone" BY_KEY "o ON true"
        " LEFT JOIN LATERAL (SELECT state FROM source WHERE source_id = a.source_id" BY_KEY
        "s ON true LEFT JOIN LATERAL (SELECT device_id, state FROM enrollment WHERE device_id = l.device_id"
        " AND source_id = a.source_id AND lead_no = l.lead_no" BY_KEY "e ON true"
        " LEFT JOIN LATERAL (SELECT device_id, ctid AS place FROM enrollment_end"
        " WHERE device_id = l.device_id AND source_id = a.source_id AND lead_no = l.lead_no" BY_KEY
        "x ON true WHERE" EPOCH_IS_MINE "),"
        " gone AS (DELETE FROM enrollment_end WHERE ctid = ANY(ARRAY(SELECT place FROM v"
        " WHERE verdict = 0 AND place IS NOT NULL))),"
        " i AS (INSERT INTO enrollment(device_id, source_id, lead_no, step, revision, due_at)"
        " SELECT device_id, source_id, lead_no, step, revision,"
        " now() + delay * interval '1 microsecond' FROM v WHERE verdict = 0 AND twin = 1"
        " ON CONFLICT DO NOTHING RETURNING *),"
        " t AS (INSERT INTO trigger_use(at, device_id, lead_no, source_id, trigger)"
        " SELECT now(), device_id, lead_no, source_id, '' FROM i ON CONFLICT DO NOTHING),"
        " p AS (UPDATE progress p SET audience = p.audience + g.rows, enrolled = p.enrolled + g.rows"
        " FROM (SELECT source_id, count(*) AS rows FROM i GROUP BY 1) g"
        " WHERE p.source_id = g.source_id)"
        " SELECT v.n, CASE WHEN v.verdict = 0 AND (v.twin > 1 OR i.lead_no IS NULL) THEN 3"
        " ELSE v.verdict END, v.lead_no, i.due_at FROM v LEFT JOIN i"
        " ON i.device_id = v.device_id AND i.source_id = v.source_id AND i.lead_no = v.lead_no"},
    /*
     * Takes leads out of a source: by $2 n device, phone, source. Shared lock; the row's own lock
     * keeps it from a claim, and a claim that was first is on the wire (11: ask again). A row that
     * stands as unknown goes, its message stays unknown. Verdicts as before, and 12 not in it.
     */
    [STORE_LEAD_REMOVE] = {"lead_remove",
        "WITH v AS MATERIALIZED (SELECT a.*, l.lead_no, CASE WHEN l.lead_no IS NULL THEN 10"
        " WHEN d.residence <> 0 THEN 2 WHEN e.state = 1 THEN 11 WHEN e.device_id IS NOT NULL THEN 0"
        " WHEN x.device_id IS NOT NULL THEN 3 ELSE 12 END AS verdict"
        " FROM unnest($2::int[], $3::int[], $4::bigint[], $5::int[])"
        " a(n, device_id, phone, source_id)"
        " LEFT JOIN LATERAL (SELECT device_id, lead_no FROM lead WHERE phone = a.phone"
        " AND device_id = a.device_id" BY_KEY "l ON true LEFT JOIN LATERAL (SELECT account, residence"
        " FROM device WHERE device_id = l.device_id" BY_KEY "d ON true LEFT JOIN LATERAL (SELECT device_id, state FROM enrollment WHERE device_id = l.device_id"
        " AND source_id = a.source_id AND lead_no = l.lead_no" BY_KEY "e ON true"
        " LEFT JOIN LATERAL (SELECT device_id, ctid AS place FROM enrollment_end"
        " WHERE device_id = l.device_id AND source_id = a.source_id AND lead_no = l.lead_no" BY_KEY
        "x ON true WHERE" EPOCH_IS_MINE "),"
        " gone AS (DELETE FROM enrollment e USING v WHERE v.verdict = 0"
        " AND e.device_id = v.device_id AND e.source_id = v.source_id AND e.lead_no = v.lead_no"
        " AND e.state <> 1 RETURNING e.*),"
        " i AS (INSERT INTO enrollment_end(device_id, source_id, lead_no, step, reason, ended_at)"
        " SELECT device_id, source_id, lead_no, step, 16, now() FROM gone WHERE step > 0"
        " ON CONFLICT DO NOTHING),"
        " m AS (INSERT INTO message(claimed_at, settled_at, epoch, text_hash, token, device_id,"
        " source_id, lead_no, step, attempt, state, reason) SELECT now(), now(), $1::bigint, 0,"
        " uuid_v7(now()), device_id, source_id, lead_no, step, attempt, 6, 16 FROM gone"
        " WHERE state = 0),"
        " p AS (UPDATE progress p SET cancelled = p.cancelled + g.rows FROM"
        " (SELECT source_id, count(*) AS rows FROM gone WHERE state = 0 GROUP BY 1) g"
        " WHERE p.source_id = g.source_id)"
        " SELECT v.n, CASE WHEN v.verdict = 0 AND g.lead_no IS NULL THEN 11 ELSE v.verdict END,"
        " v.lead_no FROM v LEFT JOIN gone g ON g.device_id = v.device_id"
        " AND g.source_id = v.source_id AND g.lead_no = v.lead_no"},

    /* Exclusive: a claim that waits sees it. By $2 n device, until, because; answers n, whether
     * the device is here. */
    [STORE_DEVICE_PAUSE] = {"device_pause",
        "WITH u AS MATERIALIZED (SELECT * FROM unnest($2::int[], $3::int[], $4::timestamptz[],"
        " $5::text[]) u(n, device_id, until, because) WHERE" EPOCH_IS_MINE "),"
        " d AS (UPDATE device d SET paused_until = u.until, paused_because = u.because FROM u"
        " WHERE d.device_id = u.device_id AND d.residence = 0 RETURNING u.n)"
        " SELECT u.n, EXISTS (SELECT FROM d WHERE d.n = u.n), x.residence FROM u"
        " LEFT JOIN device x USING (device_id)"},

    /* ---- retention, on the lane of questions. Repeatable; a crash leaves what the next driver
     * finds. The first two are functions of the schema's owner and give up a lock after 50 ms. ---- */
    [STORE_DAY_DROP] = {"day_drop", "SELECT message_day_drop($1::int)"},
    [STORE_DAY_INDEX] = {"day_index", "SELECT message_day_index()"},
    /* Rows of days that are gone, at most $3 a transaction, behind the shared lock; $2 days are
     * kept. Receipts by their token's time. */
    [STORE_OLD_RECEIPTS] = {"old_receipts",
        "DELETE FROM receipt WHERE ctid = ANY(ARRAY(SELECT ctid FROM receipt WHERE token <"
        " uuid_v7_floor(date_trunc('day', now()) - $2::int * interval '1 day')"
        " ORDER BY token LIMIT $3::int)) AND" EPOCH_IS_MINE},
    [STORE_OLD_TRIGGERS] = {"old_triggers",
        "DELETE FROM trigger_use WHERE ctid = ANY(ARRAY(SELECT ctid FROM trigger_use"
        " WHERE at < date_trunc('day', now()) - $2::int * interval '1 day' LIMIT $3::int))"
        " AND" EPOCH_IS_MINE},
    /* Not while the message waits, is claimed or in doubt: its text and phone are needed. */
    [STORE_OLD_DIRECT] = {"old_direct",
        "DELETE FROM direct WHERE ctid = ANY(ARRAY(SELECT ctid FROM direct c"
        " WHERE accepted_at < now() - $2::int * interval '1 day'"
        " AND NOT EXISTS (SELECT FROM enrollment e WHERE e.device_id = c.device_id"
        " AND e.source_id = 0 AND e.lead_no = c.lead_no) LIMIT $3::int)) AND" EPOCH_IS_MINE},

    /* ---- intake and answers add theirs below this line ---- */

    /*
     * Intake. Read-only probes need no lock: what they saw is judged again by the write, whose
     * unique key refuses what came between. Writes follow STORE_LOCK_SHARED and STORE_EPOCH.
     */
    /* $1 zone names -> ordinals of those that PostgreSQL does not know */
    [STORE_INTAKE_ZONES] = {"intake_zones",
        "SELECT z.ord::int FROM unnest($1::text[]) WITH ORDINALITY z(name, ord)"
        " WHERE NOT EXISTS (SELECT FROM pg_timezone_names t"
        " WHERE t.name = z.name) ORDER BY z.ord"},
    /* $1 epoch, arrays -> the ids that were open and are updated now */
    [STORE_INTAKE_DEVICE_UPDATE] = {"intake_device_update",
        "UPDATE device d SET min_delay_ms = u.min_delay_ms, max_delay_ms = u.max_delay_ms,"
        " name = u.name, token = u.token, zone = u.zone, account = u.account, scope = u.scope,"
        " url = u.url," SAID_LIMITS("d.quiet", "d.daily_cap", "d.hourly_cap", "d.warm_from")
        " FROM unnest($2::int[], $3::int[], $4::int[], $5::text[], $6::bytea[],"
        " $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::int[], $13::int[],"
        " $14::text[]) u(device_id, min_delay_ms, max_delay_ms, name, token, zone, account, scope,"
        " url, quiet, daily_cap, hourly_cap, age)"
        " WHERE d.device_id = u.device_id AND d.residence = 0"
        " AND" EPOCH_IS_MINE "RETURNING d.device_id"},
    /* $1 epoch, arrays -> the ids that are new. Content up to now concerned other devices: a new
       one begins behind it, as the audience of a started campaign is frozen; that of a sequence is
       open, also to the devices that come later. */
    [STORE_INTAKE_DEVICE_INSERT] = {"intake_device_insert",
        "WITH d AS (INSERT INTO device (device_id, min_delay_ms, max_delay_ms, name, token, zone,"
        " account, scope, url, transport, address, content_version, quiet, daily_cap, hourly_cap,"
        " warm_from)"
        " SELECT u.device_id, min_delay_ms, max_delay_ms, name, token, zone, account, scope, url,"
        " transport, address, o.content_applied, " SAID_QUIET("''") ", " SAID_CAP("daily_cap", "0")
        ", " SAID_CAP("hourly_cap", "0") ", " SAID_WARM_FROM("'infinity'::date")
        " FROM owner o, unnest($2::int[], $3::int[], $4::int[], $5::text[], $6::bytea[],"
        " $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::int[], $13::int[],"
        " $14::text[], $15::text[], $16::text[]) u(device_id, min_delay_ms, max_delay_ms, name,"
        " token, zone, account, scope, url, quiet, daily_cap, hourly_cap, age, transport, address)"
        " WHERE o.epoch = $1::bigint ON CONFLICT DO NOTHING"
        " RETURNING device_id, content_version),"
        " a AS (INSERT INTO audience(device_id, source_id, priority, cursor, upto)"
        " SELECT d.device_id, s.source_id, s.priority, 0, " OPEN_END " FROM d JOIN source s"
        " ON s.kind = 2 AND s.state <> 2 AND s.trigger <> ''"
        " AND s.started_version BETWEEN 1 AND d.content_version"
        " AND d.device_id <@ s.devices ORDER BY 1, 2 ON CONFLICT DO NOTHING)"
        " SELECT device_id FROM d"},
    /* $1 ids -> those that exist: residence, account as a number within this answer, last lead */
    [STORE_INTAKE_LEAD_DEVICES] = {"intake_lead_devices",
        "SELECT device_id, residence, dense_rank() OVER (ORDER BY"
        " account)::int, next_lead_no FROM device WHERE device_id = ANY ($1::int[])"
        " ORDER BY device_id"},
    /* $1 phones, $2 devices -> ordinal, known here, known to another device of the account. One
       look into lead_phone per row; a new file finds nothing and joins nothing. */
    [STORE_INTAKE_LEAD_PROBE] = {"intake_lead_probe",
        "SELECT u.ord::int, bool_or(l.device_id = u.device_id), bool_or(l.device_id <>"
        " u.device_id AND (SELECT account FROM device a WHERE a.device_id = u.device_id) ="
        " (SELECT account FROM device b WHERE b.device_id = l.device_id))"
        " FROM unnest($1::bigint[], $2::int[]) WITH ORDINALITY u(phone, device_id, ord)"
        " JOIN lead l ON l.phone = u.phone GROUP BY u.ord"},
    /* $1 devices, $2 hashes -> ordinals of people who were erased on that device's account */
    [STORE_INTAKE_FORGOTTEN] = {"intake_forgotten",
        "SELECT u.ord::int FROM unnest($1::int[], $2::bytea[]) WITH ORDINALITY"
        " u(device_id, hash, ord) CROSS JOIN LATERAL (SELECT account FROM device"
        " WHERE device_id = u.device_id" BY_KEY "d CROSS JOIN LATERAL (SELECT FROM forgotten f"
        " WHERE f.account = ANY(ARRAY[d.account, '']) AND f.hash = u.hash" BY_KEY "f"
        " WHERE EXISTS (SELECT FROM forgotten)"},
    /* $1 epoch, $2 attributes of rows that have a column which this node has not seen yet. */
    [STORE_INTAKE_COLUMNS] = {"intake_columns",
        "INSERT INTO lead_column(name) SELECT DISTINCT k FROM unnest($2::text[]) a(attributes),"
        " jsonb_object_keys(a.attributes::jsonb) k WHERE" EPOCH_IS_MINE "ORDER BY k"
        " ON CONFLICT DO NOTHING"},
    /*
     * $1 epoch, $2 devices ascending, $3 new rows of each; then per row: the place of its device
     * in $2, rows of the device that follow it, phone, name, trigger, attributes, hash -> how many
     * devices were numbered: all, or none when one of them is not open, or one of the people was
     * erased since the probe. Numbers have no hole: the
     * device's row lock holds until the commit. A look by subscript spares a join per row. No ON
     * CONFLICT: it costs a third of the speed; a row that came between fails with 23505, and the
     * batch is probed again.
     */
    [STORE_INTAKE_LEAD_INSERT] = {"intake_lead_insert",
        "WITH d AS (UPDATE device d SET next_lead_no = next_lead_no + n.rows"
        " FROM unnest($2::int[], $3::int[]) n(device_id, rows) WHERE d.device_id = n.device_id"
        " AND (SELECT count(*) FROM device WHERE device_id = ANY($2::int[]) AND residence = 0)"
        " = cardinality($2::int[]) AND (NOT EXISTS (SELECT FROM forgotten) OR NOT EXISTS"
        " (SELECT FROM unnest($4::int[], $10::bytea[]) h(at, hash) CROSS JOIN LATERAL (SELECT account"
        " FROM device WHERE device_id = ($2::int[])[h.at]" BY_KEY "b CROSS JOIN LATERAL"
        " (SELECT FROM forgotten f WHERE f.account = ANY(ARRAY[b.account, ''])"
        " AND f.hash = h.hash" BY_KEY "f))"
        " AND" EPOCH_IS_MINE "RETURNING d.device_id, d.next_lead_no),"
        " n AS MATERIALIZED (SELECT array_agg(device_id ORDER BY device_id) AS ids,"
        " array_agg(next_lead_no ORDER BY device_id) AS last FROM d),"
        " i AS (INSERT INTO lead(device_id, lead_no, phone, name, trigger, attributes)"
        " SELECT n.ids[u.at], n.last[u.at] - u.behind, u.phone, u.name, u.trigger,"
        " u.attributes::jsonb FROM n, unnest($4::int[], $5::int[], $6::bigint[], $7::text[],"
        " $8::text[], $9::text[]) u(at, behind, phone, name, trigger, attributes)"
        " WHERE n.ids IS NOT NULL) SELECT count(*) FROM d"},
    /* $1 epoch, arrays -> ordinals of the rows that were changed */
    [STORE_INTAKE_LEAD_UPDATE] = {"intake_lead_update",
        "UPDATE lead l SET name = u.name, trigger = u.trigger, attributes = u.attributes::jsonb"
        " FROM unnest($2::int[], $3::bigint[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY"
        " u(device_id, phone, name, trigger, attributes, ord) JOIN device d USING (device_id)"
        " WHERE l.phone = u.phone AND l.device_id = u.device_id AND d.residence = 0"
        " AND" EPOCH_IS_MINE "RETURNING u.ord::int"},

    /*
     * Answers. Reads only, in key order behind a cursor: $1 (and $2) the cursor, then the page's
     * size, then arguments.
     */
    [STORE_ANSWER_DEVICES] = {"answer_devices",
        "SELECT " SHOWN_DEVICE " FROM device d WHERE device_id >"
        " $1::bigint ORDER BY device_id LIMIT $2::int"},
    [STORE_ANSWER_DEVICE] = {"answer_device",
        "SELECT " SHOWN_DEVICE
        " FROM device d WHERE device_id = $1::bigint"},
    [STORE_ANSWER_LEADS] = {"answer_leads",
        "SELECT lead_no, device_id, phone, name, trigger, attributes::text"
        " FROM lead WHERE device_id = $3::bigint AND lead_no > $1::bigint"
        " ORDER BY lead_no LIMIT $2::int"},
    /* By token, which is by time: a merge of the days' only index. The cursor's time only spares
       older days (a second wide, as the token has milliseconds). $4 since. */
    [STORE_ANSWER_MESSAGES] = {"answer_messages",
        "SELECT m.device_id, coalesce(l.phone, c.phone), coalesce(s.name, 'direct'), m.step,"
        " coalesce(r.state, m.state), coalesce(r.reason, m.reason), m.token,"
        " coalesce(nullif(r.provider_id, ''), m.provider_id), m.claimed_at, m.settled_at,"
        " m.text_hash, m.attempt, m.epoch FROM message m"
        " LEFT JOIN lead l USING (device_id, lead_no)"
        " LEFT JOIN direct c USING (device_id, lead_no)"
        " LEFT JOIN source s USING (source_id)"
        " LEFT JOIN LATERAL (SELECT state, reason, provider_id FROM receipt WHERE token = m.token"
        " ORDER BY at DESC LIMIT 1) r ON true"
        " WHERE m.token > $2::uuid AND m.claimed_at >= greatest($1::timestamptz - interval '1 s',"
        " $4::timestamptz) ORDER BY m.token LIMIT $3::int"},
    [STORE_ANSWER_PROGRESS] = {"answer_progress",
        "SELECT s.source_id, s.name, s.state, coalesce(p.audience, 0), coalesce(p.enrolled, 0),"
        " coalesce(p.sent, 0), coalesce(p.audience - p.not_in_audience - p.sent - p.failed"
        " - p.unknown - p.expired - p.skipped - p.cancelled, 0), coalesce(p.unknown, 0),"
        " coalesce(p.failed, 0), coalesce(p.skipped, 0), coalesce(p.expired, 0),"
        " coalesce(p.cancelled, 0), coalesce(p.not_in_audience, 0), coalesce(p.messages, 0)"
        " FROM source s LEFT JOIN progress p USING (source_id)"
        " WHERE s.source_id > $1::bigint ORDER BY s.source_id LIMIT $2::int"},
    /* rows_about: the planner's own count, as three million rows are not counted for a look */
    [STORE_ANSWER_PARTITION] = {"answer_partition",
        "SELECT partition, epoch, driver, incarnation::text, gate, reason, beat, clean,"
        " content_applied, (SELECT count(*) FROM device), (SELECT greatest(reltuples, 0)::bigint"
        " FROM pg_class WHERE oid = 'lead'::regclass), (SELECT greatest(reltuples, 0)::bigint"
        " FROM pg_class WHERE oid = 'enrollment'::regclass),"
        " pg_database_size(current_database()) FROM owner"},
    [STORE_ANSWER_EPOCHS] = {"answer_epochs",
        "SELECT epoch, driver, incarnation::text, taken_at, how"
        " FROM epoch_history WHERE epoch > $1::bigint ORDER BY epoch"
        " LIMIT $2::int"},
    [STORE_ANSWER_OPTOUTS] = {"answer_optouts",
        "SELECT number, account, phone, reason, at, (SELECT count(*) FROM forgotten) FROM optout"
        " WHERE number > $1::bigint ORDER BY number LIMIT $2::int"},
    [STORE_ANSWER_LOCATE] = {"answer_locate",
        "SELECT d.device_id, o.partition, d.residence, d.moved_to, o.driver,"
        " o.epoch FROM device d, owner o WHERE d.device_id = $1::bigint"},

    /*
     * Explain: the database's part, in one statement and so in one snapshot; memory adds the gates.
     */
    /* $1 device -> one row: name, transport, address, residence; per kind (direct, campaign,
     * sequence) how many wait and when the first is due; claimed, unknown, behind cursors, id. */
    [STORE_EXPLAIN_DEVICE] = {"explain_device",
        "SELECT d.name, d.transport, d.address, d.residence::int, w.*,"
        " coalesce((SELECT sum(a.upto - a.cursor) FROM audience a JOIN source s USING (source_id)"
        " WHERE a.device_id = d.device_id AND s.kind = 1 AND s.state <> 2 AND a.cursor < a.upto),"
        " 0)::bigint, d.device_id FROM device d CROSS JOIN LATERAL"
        " (SELECT count(*) FILTER (WHERE e.state = 0 AND s.kind = 0),"
        " min(e.due_at) FILTER (WHERE e.state = 0 AND s.kind = 0),"
        " count(*) FILTER (WHERE e.state = 0 AND s.kind = 1),"
        " min(e.due_at) FILTER (WHERE e.state = 0 AND s.kind = 1),"
        " count(*) FILTER (WHERE e.state = 0 AND s.kind = 2),"
        " min(e.due_at) FILTER (WHERE e.state = 0 AND s.kind = 2),"
        " count(*) FILTER (WHERE e.state = 1), count(*) FILTER (WHERE e.state = 2)"
        " FROM enrollment e JOIN source s USING (source_id) WHERE e.device_id = d.device_id) w"
        " WHERE d.device_id = $1::bigint"},
    /* $1 phone -> its rows: 0 waiting, 1 claimed, 2 unknown, 3 through, 4 behind the cursor, 5 the
     * cursor has passed and nothing waits. */
    [STORE_EXPLAIN_LEAD] = {"explain_lead",
        "WITH l AS MATERIALIZED (SELECT device_id, lead_no FROM lead WHERE phone = $1::bigint),"
        " x AS (SELECT l.device_id, l.lead_no, s.source_id, e.revision::int, e.step::int,"
        " e.state::int, e.due_at AS due, e.attempt::int, 0 AS reason FROM l CROSS JOIN source s"
        " JOIN enrollment e USING (device_id, source_id, lead_no)"
        " UNION ALL SELECT c.device_id, c.lead_no, 0, e.revision, e.step, e.state, e.due_at,"
        " e.attempt, 0 FROM direct c JOIN enrollment e ON e.device_id = c.device_id"
        " AND e.source_id = 0 AND e.lead_no = c.lead_no WHERE c.phone = $1::bigint"
        " UNION ALL SELECT l.device_id, l.lead_no, s.source_id, s.revision, n.step, 3, n.ended_at,"
        " 0, n.reason FROM l CROSS JOIN source s JOIN enrollment_end n"
        " USING (device_id, source_id, lead_no)"
        " UNION ALL SELECT l.device_id, l.lead_no, s.source_id, s.revision, 0,"
        " CASE WHEN l.lead_no > a.cursor THEN 4 ELSE 5 END, 'infinity', 0, 0 FROM l"
        " JOIN audience a USING (device_id) JOIN source s USING (source_id)"
        " WHERE s.kind = 1 AND l.lead_no <= a.upto AND NOT EXISTS (SELECT FROM enrollment e"
        " WHERE e.device_id = l.device_id AND e.source_id = a.source_id"
        " AND e.lead_no = l.lead_no))"
        " SELECT x.device_id, x.lead_no, s.name, s.kind, x.revision, x.step, x.state, x.due,"
        " x.source_id, x.attempt, EXISTS (SELECT FROM optout o WHERE o.account = d.account"
        " AND o.phone = $1::bigint), x.reason FROM x JOIN source s USING (source_id)"
        " JOIN device d USING (device_id) ORDER BY x.device_id, x.state, x.due, x.source_id"
        " LIMIT 500"},
    /* $1 device, $2 token -> what happened to it in order: 0 enrolled, 1 claimed, 2 settled,
     * 3 receipt, 4 now. While it is claimed there is no message row yet: the token has the time. */
    [STORE_EXPLAIN_MESSAGE] = {"explain_message",
        "WITH m AS MATERIALIZED (SELECT * FROM message WHERE token = $2::uuid),"
        " e AS MATERIALIZED (SELECT e.* FROM enrollment e WHERE e.device_id = $1::bigint"
        " AND (e.token = $2::uuid OR EXISTS (SELECT FROM m WHERE m.source_id = e.source_id"
        " AND m.lead_no = e.lead_no))),"
        " w AS (SELECT source_id, lead_no FROM m UNION SELECT source_id, lead_no FROM e)"
        " SELECT t.at, 0, 0, 0, t.trigger, 0, 0, 0::bigint FROM w JOIN trigger_use t"
        " ON t.device_id = $1::bigint AND t.lead_no = w.lead_no AND t.source_id = w.source_id"
        " UNION ALL SELECT claimed_at, 1, 0, 0, coalesce((SELECT driver FROM epoch_history h"
        " WHERE h.epoch = m.epoch), ''), step, attempt, epoch FROM m"
        " UNION ALL SELECT to_timestamp(('x' || substr(replace(token::text, '-', ''), 1, 12))"
        "::bit(48)::bigint / 1000.0), 1, 0, 0, coalesce((SELECT driver FROM epoch_history h"
        " WHERE h.epoch = e.epoch), ''), step, attempt, epoch FROM e"
        " WHERE state = 1 AND token = $2::uuid"
        " UNION ALL SELECT settled_at, 2, state, reason, provider_id, 0, 0, 0 FROM m"
        " UNION ALL SELECT at, 3, state, reason, provider_id, 0, 0, 0 FROM receipt"
        " WHERE token = $2::uuid"
        " UNION ALL SELECT now(), 4, state, 0, '', step, attempt, epoch FROM e"
        " UNION ALL SELECT n.ended_at, 4, 3, n.reason, '', n.step, 0, 0 FROM w"
        " JOIN enrollment_end n ON n.device_id = $1::bigint AND n.source_id = w.source_id"
        " AND n.lead_no = w.lead_no ORDER BY 1, 2 LIMIT 500"},
    /* $1 name -> its counts, then live rows by device, revision and step: due, later, claimed. */
    [STORE_EXPLAIN_SOURCE] = {"explain_source",
        "WITH s AS MATERIALIZED (SELECT source_id, state FROM source WHERE name = $1::text"
        " AND source_id > 0)"
        " SELECT coalesce(p.audience, 0), coalesce(p.not_in_audience, 0), coalesce(p.sent, 0),"
        " coalesce(p.failed, 0), coalesce(p.unknown, 0), coalesce(p.expired, 0),"
        " coalesce(p.skipped, 0), coalesce(p.cancelled, 0), s.state::bigint, s.source_id::bigint,"
        " NULL::timestamptz, 0 FROM s LEFT JOIN progress p USING (source_id)"
        " UNION ALL SELECT d.device_id, x.revision, x.step, x.due, x.later, x.claimed, 0, 0, 0, 0,"
        " x.first_due, 1 FROM s CROSS JOIN device d CROSS JOIN LATERAL (SELECT revision, step,"
        " count(*) FILTER (WHERE e.state = 0 AND e.due_at <= now()) AS due,"
        " count(*) FILTER (WHERE e.state = 0 AND e.due_at > now()) AS later,"
        " count(*) FILTER (WHERE e.state = 1) AS claimed,"
        " min(e.due_at) FILTER (WHERE e.state = 0 AND e.due_at > now()) AS first_due"
        " FROM enrollment e WHERE e.device_id = d.device_id AND e.source_id = s.source_id"
        " AND e.state <> 2 GROUP BY 1, 2) x ORDER BY 12"},
    /* $1 name -> which it is; how many of its sends are on the wire, memory knows */
    [STORE_EXPLAIN_ON_WIRE] = {"explain_on_wire",
        "SELECT source_id FROM source WHERE name = $1::text AND source_id > 0"},
    /*
     * $1 name, '' = all that are active -> by device, source, revision and step (-1: not begun) how
     * many rows are still to be sent: live, behind the cursor, a draft's leads, leads whose trigger
     * waits.
     */
    [STORE_EXPLAIN_CAPACITY] = {"explain_capacity",
        "WITH s AS MATERIALIZED (SELECT source_id, kind, state, revision, devices, filter, trigger"
        " FROM source WHERE kind IN (1, 2) AND CASE $1::text WHEN '' THEN state = 0"
        " ELSE name = $1::text END)"
        " SELECT d.device_id, s.source_id, x.revision, x.step, x.n FROM device d CROSS JOIN s"
        " CROSS JOIN LATERAL (SELECT revision, step, count(*) AS n FROM enrollment e"
        " WHERE e.device_id = d.device_id AND e.source_id = s.source_id AND e.state <> 2"
        " GROUP BY 1, 2"
        " UNION ALL SELECT s.revision, -1::smallint, a.upto - a.cursor FROM audience a"
        " WHERE a.device_id = d.device_id AND a.source_id = s.source_id AND s.kind = 1"
        " AND a.cursor < a.upto"
        " UNION ALL SELECT s.revision, -1::smallint, CASE WHEN s.filter = '{}' THEN d.next_lead_no"
        " ELSE (SELECT count(*) FROM lead l WHERE l.device_id = d.device_id"
        " AND l.attributes @> s.filter) END"
        " WHERE s.kind = 1 AND s.state = 3 AND d.device_id <@ s.devices"
        " UNION ALL SELECT s.revision, -1::smallint, (SELECT count(*) FROM lead l"
        " WHERE l.device_id = d.device_id AND l.trigger = s.trigger AND l.trigger <> ''"
        " AND l.attributes @> s.filter) WHERE s.kind = 2 AND d.device_id <@ s.devices) x"
        " WHERE d.residence = 0 AND x.n > 0 ORDER BY d.device_id"},
    [STORE_ANSWER_LEADS_BY_PHONE] = {"answer_leads_by_phone",
        "SELECT l.device_id, l.lead_no, l.phone, l.name, l.trigger, l.attributes::text, d.account,"
        " EXISTS (SELECT FROM optout o WHERE o.account = d.account AND o.phone = l.phone)"
        " FROM lead l JOIN device d USING (device_id) WHERE l.phone = $3::bigint"
        " AND l.device_id > $1::bigint ORDER BY l.device_id LIMIT $2::int"},
    /* What is live, then what ended; campaigns keep no ends. */
    [STORE_ANSWER_ENROLLMENTS] = {"answer_enrollments",
        "SELECT s.name, " SOURCE_KIND ", " ENROLLMENT_STATE ", e.revision, e.step, e.attempt,"
        " e.due_at, 0::smallint, NULL::timestamptz FROM source s JOIN enrollment e"
        " ON e.device_id = $1::bigint AND e.source_id = s.source_id AND e.lead_no = $2::bigint"
        " UNION ALL SELECT s.name, " SOURCE_KIND ", 'ended', NULL, x.step, NULL, NULL, x.reason,"
        " x.ended_at FROM source s JOIN enrollment_end x"
        " ON x.device_id = $1::bigint AND x.source_id = s.source_id AND x.lead_no = $2::bigint"
        " ORDER BY 9 NULLS FIRST, 1 LIMIT 500"},
    [STORE_ANSWER_TRIGGERS] = {"answer_triggers",
        "SELECT t.at, t.trigger, coalesce(s.name, '') FROM trigger_use t LEFT JOIN source s"
        " USING (source_id) WHERE t.device_id = $1::bigint AND t.lead_no = $2::bigint"
        " ORDER BY t.at DESC LIMIT 500"},
    [STORE_ANSWER_COLUMNS] = {"answer_columns",
        "SELECT name FROM lead_column ORDER BY name LIMIT 500"},
    /* Goes over all of the source's live rows, device by device. */
    [STORE_ANSWER_POSITIONS] = {"answer_positions",
        "SELECT e.revision, e.step, " ENROLLMENT_STATE ", count(*) FROM source s, device d,"
        " enrollment e WHERE s.name = $1::text AND e.device_id = d.device_id"
        " AND e.source_id = s.source_id GROUP BY 1, 2, 3 ORDER BY 1 DESC, 2, 3 LIMIT 500"},
    [STORE_ANSWER_REVISIONS] = {"answer_revisions",
        "SELECT r.revision, r.item FROM source s JOIN source_revision r USING (source_id)"
        " WHERE s.name = $3::text AND r.revision > $1::bigint ORDER BY r.revision LIMIT $2::int"},

    /* Verify: each is one invariant, seen in one snapshot -> name, holds, offences, an example. */
    [STORE_VERIFY_EPOCHS] = {"verify_epochs",
        VERIFY("epochs rise and one driver took each",
        "SELECT format('epoch %s was taken before epoch %s', epoch, before)"
        " FROM (SELECT epoch, lag(epoch) OVER w AS before,"
        " taken_at < lag(taken_at) OVER w AS falls FROM epoch_history"
        " WINDOW w AS (ORDER BY epoch)) h WHERE falls"
        " UNION ALL SELECT format('the owner row says epoch %s, the history ends at %s',"
        " o.epoch, h.last) FROM owner o,"
        " (SELECT coalesce(max(epoch), 0) AS last FROM epoch_history) h"
        " WHERE o.epoch <> h.last"
        " UNION ALL SELECT format('messages of epoch %s, which nobody took', epoch)"
        " FROM (SELECT DISTINCT epoch FROM message) m"
        " WHERE NOT EXISTS (SELECT FROM epoch_history h WHERE h.epoch = m.epoch)")},
    [STORE_VERIFY_DRIVERS] = {"verify_drivers",
        VERIFY("no device had two drivers",
        "SELECT format('device %s: epoch %s after epoch %s (token %s)', device_id, epoch,"
        " before, token) FROM (SELECT device_id, epoch, token, lag(epoch) OVER"
        " (PARTITION BY device_id ORDER BY token) AS before FROM message) m"
        " WHERE epoch < before")},
    /* Waiting is counted here from the rows, not derived: live ones and those behind the cursor. */
    [STORE_VERIFY_COUNTS] = {"verify_counts",
        VERIFY("counts sum to the audience",
        "SELECT format('source %s: audience %s, accounted for %s', s.name, p.audience,"
        " c.sum) FROM progress p JOIN source s USING (source_id)"
        " LEFT JOIN (SELECT source_id, count(*) AS live FROM enrollment WHERE state <> 2"
        " GROUP BY source_id) e USING (source_id)"
        " LEFT JOIN (SELECT source_id, sum(upto - cursor) AS behind FROM audience"
        " WHERE upto < " OPEN_END " GROUP BY source_id) a USING (source_id) CROSS JOIN LATERAL"
        " (SELECT p.not_in_audience + p.sent + p.failed + p.unknown + p.expired +"
        " p.skipped + p.cancelled + coalesce(e.live, 0) + coalesce(a.behind, 0) AS sum) c"
        " WHERE s.state <> 2 AND p.audience <> c.sum")},
    /* Who began a sequence anew in between got its steps again: each use of a trigger allows one. */
    [STORE_VERIFY_SENT_ONCE] = {"verify_sent_once",
        VERIFY("nothing was sent twice",
        "SELECT format('device %s source %s lead %s step %s: %s times, tokens %s and %s',"
        " device_id, source_id, lead_no, step, times, first, last) FROM"
        " (SELECT device_id, source_id, lead_no, step, count(*) AS times, min(token::text) AS first,"
        " max(token::text) AS last, min(claimed_at) AS since, max(claimed_at) AS until"
        " FROM message m WHERE state = 1 OR EXISTS (SELECT FROM receipt r"
        " WHERE r.token = m.token AND r.state = 1)"
        " GROUP BY device_id, source_id, lead_no, step HAVING count(*) > 1) g"
        " WHERE times - 1 > (SELECT count(*) FROM trigger_use u WHERE u.device_id = g.device_id"
        " AND u.source_id = g.source_id AND u.lead_no = g.lead_no"
        " AND u.at BETWEEN g.since AND g.until)")},
    /* A start is not recorded, but is at most the claim-ahead (250 ms) after its claim when the
       gap allowed it: only what lies below that is proved. Delays are those of now. */
    [STORE_VERIFY_PACE] = {"verify_pace",
        VERIFY("no gap is below its minimum",
        "SELECT format('device %s: token %s was claimed %s ms after the end before it,"
        " least gap %s ms', device_id, m.token, round(extract(epoch FROM claimed_at - before)"
        " * 1000), min_delay_ms) FROM (SELECT device_id, token, claimed_at,"
        " lag(settled_at) OVER (PARTITION BY device_id ORDER BY token) AS before"
        " FROM message WHERE state <= 3) m JOIN device d USING (device_id)"
        " WHERE claimed_at + interval '250 ms' < before + min_delay_ms * interval '1 ms'")},
    [STORE_VERIFY_ORPHANS] = {"verify_orphans",
        VERIFY("every enrollment has its lead, device and source",
        "SELECT format('device %s source %s lead %s', device_id, source_id, lead_no)"
        " FROM enrollment e WHERE NOT EXISTS (SELECT FROM device d WHERE d.device_id ="
        " e.device_id) OR (source_id = 0 AND NOT EXISTS (SELECT FROM direct c"
        " WHERE c.device_id = e.device_id AND c.lead_no = e.lead_no))"
        " OR (source_id <> 0 AND (NOT EXISTS (SELECT FROM lead l"
        " WHERE l.device_id = e.device_id AND l.lead_no = e.lead_no) OR NOT EXISTS"
        " (SELECT FROM source s WHERE s.source_id = e.source_id)))")},
    /* Who was written to by a sequence is in it or has been through it, unless he was erased. */
    [STORE_VERIFY_PLACES] = {"verify_places",
        VERIFY("every lead of a sequence stands in one place",
        "SELECT format('device %s source %s lead %s: both in it and through it', device_id,"
        " source_id, lead_no) FROM enrollment e JOIN enrollment_end x"
        " USING (device_id, source_id, lead_no)"
        " UNION ALL SELECT format('device %s source %s lead %s: neither in it nor through it',"
        " device_id, source_id, lead_no) FROM (SELECT DISTINCT device_id, source_id, lead_no"
        " FROM message WHERE step > 0) m JOIN lead USING (device_id, lead_no)"
        " WHERE NOT EXISTS (SELECT FROM enrollment e WHERE e.device_id = m.device_id"
        " AND e.source_id = m.source_id AND e.lead_no = m.lead_no)"
        " AND NOT EXISTS (SELECT FROM enrollment_end x WHERE x.device_id = m.device_id"
        " AND x.source_id = m.source_id AND x.lead_no = m.lead_no)")},
    /* A use of a trigger (or an enrolment by hand, which is kept there too) begins anew. */
    [STORE_VERIFY_STEPS] = {"verify_steps",
        VERIFY("steps of a sequence go up",
        "SELECT format('device %s source %s lead %s: step %s after step %s (token %s)', device_id,"
        " source_id, lead_no, step, before, token) FROM (SELECT device_id, source_id, lead_no, step,"
        " token, claimed_at, lag(step) OVER w AS before, lag(claimed_at) OVER w AS since"
        " FROM message WHERE step > 0"
        " WINDOW w AS (PARTITION BY device_id, source_id, lead_no ORDER BY token)) m"
        " WHERE step < before AND NOT EXISTS (SELECT FROM trigger_use u"
        " WHERE u.device_id = m.device_id AND u.source_id = m.source_id AND u.lead_no = m.lead_no"
        " AND u.at BETWEEN m.since AND m.claimed_at)")},
    [STORE_VERIFY_CLAIMS] = {"verify_claims",
        VERIFY("no claim of an older epoch is open",
        "SELECT format('device %s source %s lead %s: claimed in epoch %s', device_id,"
        " source_id, lead_no, e.epoch) FROM enrollment e, owner o"
        " WHERE e.state = 1 AND e.epoch < o.epoch")},
    [STORE_VERIFY_CURSORS] = {"verify_cursors",
        VERIFY("cursors lie within their audiences",
        "SELECT format('device %s source %s: cursor %s, end %s, last lead %s', device_id,"
        " source_id, cursor, upto, next_lead_no) FROM audience a JOIN device d"
        " USING (device_id) WHERE cursor > upto OR (upto > next_lead_no AND upto < " OPEN_END ")"
        " OR (upto = " OPEN_END " AND cursor > next_lead_no AND cursor < upto)"
        " UNION ALL SELECT format('device %s: lead %s is above the last number given, %s',"
        " l.device_id, l.last, d.next_lead_no) FROM (SELECT device_id, max(lead_no) AS last"
        " FROM lead GROUP BY device_id) l JOIN device d USING (device_id)"
        " WHERE l.last > d.next_lead_no")},
};

const char *const store_settings[] = {
    "synchronous_commit", "on",
    "idle_in_transaction_session_timeout", "5s",
    "tcp_user_timeout", "5s",
    "tcp_keepalives_idle", "5",
    "tcp_keepalives_interval", "1",
    "tcp_keepalives_count", "3",
    "client_connection_check_interval", "1s",
    "default_transaction_isolation", "read committed",
    "TimeZone", "UTC",
    /* Plans: several arrays in unnest are estimated at 10 rows, and a table that was empty when its
       statement was prepared keeps that plan for a while. Nested loops over keys are right at every
       size here; reading or hashing a whole table never is. */
    "plan_cache_mode", "force_generic_plan",
    "random_page_cost", "1.1",
    "enable_seqscan", "off",
    "enable_hashjoin", "off",
    "enable_mergejoin", "off",
    "enable_material", "off",
    "jit", "off",
    NULL
};
/* clang-format on */
