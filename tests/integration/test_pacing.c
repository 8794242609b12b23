/* Gates in a driver on real PostgreSQL: zones against its own clock, caps over crashes and
 * midnights, pauses, quiet hours, and a clock that jumps. */
#include "node/partition_inner.h"
#include "tests/integration/partition_rig.h"

#define MINUTE ((int64_t) 60000000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

/* ---- zones: what we compute from STORE_ZONES is what PostgreSQL says of every minute ---- */

#define DAYS_LOOKED_AT 4
#define MINUTES        (DAYS_LOOKED_AT * 1440)

/* Around changes of clocks and of the date line; the first day is "now". */
static const struct {
    const char *zone, *day;
} places[] = {
    {"UTC", "2026-03-28"},
    {"Asia/Kuala_Lumpur", "2026-03-28"},
    {"Asia/Kolkata", "2026-10-01"},
    {"Asia/Kathmandu", "2026-10-01"},
    {"Europe/Berlin", "2026-03-28"},
    {"Europe/Berlin", "2026-10-24"},
    {"Europe/London", "2026-10-24"},
    {"America/New_York", "2026-03-07"},
    {"America/New_York", "2026-10-31"},
    {"America/Sao_Paulo", "2018-11-03"}, /* 00:00 becomes 01:00 */
    {"America/Sao_Paulo", "2018-02-16"}, /* 24:00 becomes 23:00 */
    {"America/Havana", "2026-10-31"},
    {"America/St_Johns", "2006-10-28"},    /* one minute past midnight */
    {"Australia/Lord_Howe", "2026-04-04"}, /* half an hour */
    {"Australia/Lord_Howe", "2026-10-03"},
    {"Australia/Adelaide", "2026-10-03"},
    {"Pacific/Chatham", "2026-04-04"}, /* 12:45 and 13:45 */
    {"Pacific/Chatham", "2026-09-26"},
    {"Pacific/Apia", "2011-12-29"},       /* the 30th never was */
    {"Pacific/Kiritimati", "1994-12-30"}, /* nor the 31st */
    {"Pacific/Pago_Pago", "2026-01-01"},
    {"Africa/Casablanca", "2026-02-14"},
    {"Asia/Gaza", "2026-03-27"},
    {"Antarctica/Troll", "2026-03-28"},
};

struct local { /* of each minute, as PostgreSQL says it */
    int minute, day, hour;
};
static struct local locals[MINUTES];

static void
append(char *sql, size_t size, const char *text, size_t bytes)
{
    size_t used = strlen(sql);

    ck_assert_uint_lt(used + bytes, size);
    memcpy(sql + used, text, bytes);
    sql[used + bytes] = '\0';
}

/* The driver's own statement, with its arguments and at another "now". */
static void
zones_sql(char *sql, size_t size, const char *zone, const char *day)
{
    char names[80], now[64];
    const char *from[] = {"$1::text[]", "$2::int", "now()"}, *to[] = {names, "15", now};

    snprintf(names, sizeof(names), "'{%s}'::text[]", zone);
    snprintf(now, sizeof(now), "'%s 00:00Z'::timestamptz", day);
    sql[0] = '\0';
    for (const char *in = store_statements[STORE_ZONES].sql; *in;) {
        unsigned n = 0;

        while (n < ARRAY_SIZE(from) && strncmp(in, from[n], strlen(from[n])) != 0)
            n++;
        if (n < ARRAY_SIZE(from))
            append(sql, size, to[n], strlen(to[n]));
        else
            append(sql, size, in, 1);
        in += n < ARRAY_SIZE(from) ? strlen(from[n]) : 1;
    }
}

static struct zone
zone_on(const char *name, const char *day)
{
    char sql[4096], all[4400];
    struct zone z = {0};

    zones_sql(sql, sizeof(sql), name, day);
    snprintf(all, sizeof(all),
             "SELECT extract(epoch FROM since)::bigint, offset_s, extract(epoch FROM until)::bigint"
             " FROM (%s) q",
             sql);
    PGresult *r = PQexec(db_admin, all);
    ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK, "%s", PQerrorMessage(db_admin));
    for (int n = 0; n < PQntuples(r); n++) {
        ck_assert_uint_lt(z.piece_count, ZONE_PIECES_MAX);
        z.until = atoll(PQgetvalue(r, n, 2)) * 1000000;
        z.pieces[z.piece_count++] =
            (struct zone_piece){.from = atoll(PQgetvalue(r, n, 0)) * 1000000,
                                .offset = atoi(PQgetvalue(r, n, 1))};
    }
    PQclear(r);
    ck_assert_msg(z.piece_count > 0, "%s: no zone", name);
    return z;
}

/* Returns the first minute's instant. */
static int64_t
read_locals(const char *zone, const char *day)
{
    char sql[600];

    snprintf(sql, sizeof(sql),
             "SELECT extract(epoch FROM t)::bigint, (extract(hour FROM l) * 60"
             " + extract(minute FROM l))::int, l::date - '1970-01-01'::date,"
             " ((l::date - '1970-01-01'::date) * 24 + extract(hour FROM l))::int"
             " FROM generate_series('%s 00:00Z'::timestamptz, '%s 00:00Z'::timestamptz"
             " + interval '%d minutes', '1 minute') t, LATERAL (SELECT t AT TIME ZONE '%s' AS l) x",
             day, day, MINUTES - 1, zone);
    PGresult *r = PQexec(db_admin, sql);
    ck_assert_msg(PQntuples(r) == MINUTES, "%s", PQerrorMessage(db_admin));
    int64_t first = atoll(PQgetvalue(r, 0, 0)) * 1000000;
    for (int n = 0; n < MINUTES; n++)
        locals[n] = (struct local){atoi(PQgetvalue(r, n, 1)), atoi(PQgetvalue(r, n, 2)),
                                   atoi(PQgetvalue(r, n, 3))};
    PQclear(r);
    return first;
}

static bool
is_inside(struct content_window w, int minute)
{
    return w.from < w.to ? minute >= w.from && minute < w.to : minute >= w.from || minute < w.to;
}

/* Every minute from the end backwards: is it open, and if not, when. */
static void
check_window(const struct zone *z, int64_t first, struct content_window w)
{
    int64_t next = -1;

    for (int n = MINUTES - 1; n >= 0; n--) {
        int64_t at = first + n * MINUTE, opens = 0;
        bool open = zone_window_open(z, w, at, &opens);

        ck_assert_msg(open == is_inside(w, locals[n].minute), "%02d:%02d in %d-%d",
                      locals[n].minute / 60, locals[n].minute % 60, w.from, w.to);
        if (open)
            next = at;
        else if (next >= 0)
            ck_assert_msg(opens == next, "after minute %d of %d-%d: opens %" PRId64 " s too late",
                          n, w.from, w.to, (opens - next) / 1000000);
    }
}

/* The first minute from n on whose number is above that of n; -1: not in these days. */
static int64_t
first_above(int64_t first, int n, bool days)
{
    for (int m = n; m < MINUTES; m++)
        if (days ? locals[m].day > locals[n].day : locals[m].hour > locals[n].hour)
            return first + m * MINUTE;
    return -1;
}

static void
check_numbers(const struct zone *z, int64_t first)
{
    for (int n = 0; n < MINUTES; n++) {
        int64_t at = first + n * MINUTE;
        int64_t day = first_above(first, n, true), hour = first_above(first, n, false);

        ck_assert_int_eq(zone_day(z, at), locals[n].day);
        ck_assert_int_eq(zone_hour(z, at + 30000000), locals[n].hour);
        ck_assert(day < 0 || zone_day_after(z, at, locals[n].day) == day);
        ck_assert(hour < 0 || zone_hour_after(z, at, locals[n].hour) == hour);
    }
}

START_TEST(zones_are_postgresql_s_own)
{
    static const int edges[] = {0, 1, 30, 90, 120, 150, 165, 179, 180, 540, 1080, 1260, 1439};
    struct zone z = zone_on(places[_i].zone, places[_i].day);
    int64_t first = read_locals(places[_i].zone, places[_i].day);

    check_numbers(&z, first);
    for (size_t a = 0; a < ARRAY_SIZE(edges); a++)
        for (size_t b = 0; b < ARRAY_SIZE(edges); b++)
            if (a != b)
                check_window(&z, first,
                             (struct content_window){(int16_t) edges[a], (int16_t) edges[b]});
}
END_TEST

/* All zones that there are, in pages: the driver could ask for any. */
START_TEST(every_zone_can_be_read)
{
    char sql[4096], all[4400];

    zones_sql(sql, sizeof(sql), "UTC", "2026-03-20");
    char *names = strstr(sql, "'{UTC}'::text[]");
    ck_assert_ptr_nonnull(names);
    snprintf(all, sizeof(all),
             "SELECT count(DISTINCT ord) = (SELECT count(*) FROM pg_timezone_names)"
             " AND max(pieces) <= 6 FROM (SELECT ord, count(*) AS pieces FROM (%.*s"
             "(SELECT array_agg(name) FROM pg_timezone_names)%s) q GROUP BY ord) p",
             (int) (names - sql), sql, names + strlen("'{UTC}'::text[]"));
    ck_assert_str_eq("t", pgtemp_text(db_admin, "%s", all));
}
END_TEST

/* ---- caps ---- */

static unsigned wanted;
static bool
so_many_sent(struct rig *r)
{
    unsigned n = 0;

    for (unsigned i = 0; i < wire_count; i++)
        n += wire_log[i].ended != 0;
    return n >= wanted && r->transport.in_flight == 0;
}

static unsigned
sent_now(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < wire_count; i++)
        n += wire_log[i].started != 0;
    return n;
}

static usec_t idle_until;
static bool
idled(struct rig *r)
{
    return clock_boot() >= idle_until;
}

static void
idle(unsigned ms)
{
    idle_until = clock_boot() + ms * USEC_PER_MSEC;
    run_until(idled, ms + 5000);
}

static bool
is_stopped(struct rig *r)
{
    return partition_state_of(r->p) == PARTITION_STOPPED;
}

static struct device *
device_1(void)
{
    return schedule_find(partition_devices(rig.p), 1);
}

static enum gate
held_by(void)
{
    const struct pace_now now = partition_pace_now(rig.p, clock_boot() + 60 * USEC_PER_SEC);

    return pace_decide(device_1(), &now).gate;
}

static bool
cap_holds(struct rig *r)
{
    return device_1()->state == DEVICE_IDLE && device_1()->zone->piece_count > 0 &&
           held_by() == GATE_CAP;
}

START_TEST(never_above_the_cap_over_kills)
{
    fixture_devices(1, 100, 1, 2);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE device SET daily_cap = 40"); /* blocks of 2 */
    for (wanted = 9; wanted < 36; wanted += 9) {
        start_as("n1");
        run_until(so_many_sent, 20000);
        ck_assert_int_le((int64_t) sent_now(),
                         pgtemp_int(db_admin, "SELECT day_reserved FROM device"));
        kill_driver();
    }
    start_as("n1");
    run_until(is_open, 10000);
    run_until(cap_holds, 20000);
    idle(500);
    ck_assert_uint_le(check_once(), 40);
    ck_assert_uint_ge(check_once(), 40 - 3 * 2); /* a block of each crash at most */
    ck_assert_int_eq(40, pgtemp_int(db_admin, "SELECT day_reserved FROM device"));
}
END_TEST

START_TEST(a_clean_stop_gives_back_what_was_not_used)
{
    fixture_devices(1, 100, 1, 2);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE device SET daily_cap = 60, hourly_cap = 60"); /* blocks of 3 */
    for (wanted = 10; wanted < 60; wanted += 20) {
        start_as("n1");
        run_until(so_many_sent, 20000);
        partition_drain(rig.p);
        run_until(is_stopped, 10000);
        ck_assert_int_eq((int64_t) sent_now(),
                         pgtemp_int(db_admin, "SELECT day_reserved FROM device"));
        kill_driver();
    }
    start_as("n1");
    wanted = 60;
    run_until(so_many_sent, 20000);
    idle(500);
    ck_assert_uint_eq(check_once(), 60);
}
END_TEST

/* Starts with the device paused; sets its clock so that its day or hour changes at `change`; lets
 * it go. */
static void
start_before(int64_t change, int64_t unit)
{
    struct zone *utc;

    start_as("n1");
    run_until(is_open, 10000);
    utc = zones_find(rig.p->zones, (struct slice){"UTC", 3});
    while (!zone_known(utc, partition_db_now(rig.p, clock_boot())))
        uv_run(&rig.loop, UV_RUN_ONCE);
    ck_assert_uint_eq(utc->piece_count, 1);
    ck_assert_int_eq(utc->pieces[0].offset, 0);
    utc->pieces[0].offset = (int32_t) ((unit - change % unit) / 1000000);
    device_1()->paused_until = INT64_MIN;
    schedule_put(partition_devices(rig.p), device_1(), clock_boot());
    partition_wake(rig.p);
}

static unsigned
sent_before(int64_t change)
{
    unsigned n = 0;

    for (unsigned i = 0; i < wire_count; i++)
        n += wire_log[i].started != 0 && partition_db_now(rig.p, wire_log[i].started) < change;
    return n;
}

/* Seven before the change, with a kill after four; seven behind it; not one more. */
static void
over_a_change(const char *cap, int64_t unit)
{
    fixture_devices(1, 100, 1, 2);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE device SET %s = 7, paused_until = 'infinity'", cap);
    int64_t change =
        (pgtemp_int(db_admin, "SELECT extract(epoch FROM now())::bigint") + 6) * (int64_t) 1000000;
    rig.transport.latency_ms = 60;
    start_before(change, unit);
    wanted = 4;
    run_until(so_many_sent, 5000);
    kill_driver();
    start_before(change, unit);
    wanted = 6;
    run_until(so_many_sent, 5000);
    while (partition_db_now(rig.p, clock_boot()) < change)
        idle(100);
    unsigned before = sent_before(change);
    ck_assert_uint_le(before, 7);
    ck_assert_uint_ge(before, 6); /* what was on the wire at the kill counts */
    idle(2000);
    ck_assert_uint_eq(check_once(), before + 7);
}

START_TEST(a_new_allowance_at_the_device_s_midnight)
{
    over_a_change("daily_cap", DAY);
}
END_TEST

START_TEST(a_new_allowance_at_the_device_s_hour)
{
    over_a_change("hourly_cap", HOUR);
}
END_TEST

START_TEST(what_never_left_is_given_back)
{
    fixture_devices(1, 100, 1, 2);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE device SET daily_cap = 5;"
                        "UPDATE lead SET attributes = '{}' WHERE lead_no <= 20");
    /* the first 20 have no city: skipped, after they were claimed */
    start_as("n1");
    wanted = 5;
    run_until(so_many_sent, 10000);
    idle(500);
    ck_assert_uint_eq(check_once(), 5);
    ck_assert_int_eq(20, pgtemp_int(db_admin, "SELECT skipped FROM progress"));
    ck_assert_int_eq(5, pgtemp_int(db_admin, "SELECT day_reserved FROM device"));
}
END_TEST

START_TEST(without_caps_nothing_is_written)
{
    fixture_devices(2, 30, 1, 2);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE device SET hourly_cap = 1000 WHERE device_id = 2");
    start_as("n1");
    run_until(all_done, 20000);
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT day_reserved + hour_reserved FROM device"
                                             " WHERE device_id = 1"));
    /* 30 sends, one block of 50: one write */
    ck_assert_int_eq(50, pgtemp_int(db_admin, "SELECT hour_reserved FROM device"
                                              " WHERE device_id = 2"));
}
END_TEST

START_TEST(the_warm_up_holds_a_new_device)
{
    const char *why;

    ck_assert_int_eq(warmup_parse(&rig_warmup, "0:3,4:6,31:0", &why), 0);
    fixture_devices(3, 20, 1, 2);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE device SET warm_from = (now() AT TIME ZONE 'UTC')::date"
                        " - (device_id - 1) * 4"); /* ages 0, 4, 8; 3 has a cap too */
    pgtemp_do(db_admin, "UPDATE device SET daily_cap = 5 WHERE device_id = 3");
    start_as("n1");
    wanted = 3 + 6 + 5;
    run_until(so_many_sent, 20000);
    idle(500);
    ck_assert_uint_eq(check_once(), 3 + 6 + 5);
    ck_assert_int_eq(held_by(), GATE_WARMUP);
    rig_warmup = (struct warmup){0};
}
END_TEST

/* ---- pauses, quiet hours ---- */

START_TEST(a_paused_device_goes_on_by_itself)
{
    fixture_devices(2, 10, 1, 2);
    fixture_campaign();
    pgtemp_do(db_admin, "UPDATE device SET paused_until = now() + interval '3 s'"
                        " WHERE device_id = 1");
    int64_t until = pgtemp_int(db_admin, "SELECT (extract(epoch FROM paused_until) * 1000000)"
                                         "::bigint FROM device WHERE device_id = 1");
    start_as("n1");
    run_until(all_done, 20000);
    for (unsigned i = 0; i < wire_count; i++)
        if (wire_log[i].device_id == 1)
            ck_assert_int_ge(partition_db_now(rig.p, wire_log[i].started), until - 5000);
    ck_assert_uint_eq(check_once(), 20);
}
END_TEST

/* In the middle of its sends: what is claimed is refused by the guard, nothing is lost. */
START_TEST(the_guard_sees_a_pause)
{
    fixture_devices(1, 50, 20, 20);
    fixture_campaign();
    start_as("n1");
    wanted = 5;
    run_until(so_many_sent, 20000);
    device_1()->paused_until = INT64_MAX;
    unsigned sent = sent_now();
    idle(500);
    ck_assert_uint_eq(sent_now(), sent);
    fixture_sums();
    device_1()->paused_until = INT64_MIN;
    schedule_put(partition_devices(rig.p), device_1(), clock_boot());
    partition_wake(rig.p);
    run_until(all_done, 20000);
    ck_assert_uint_eq(check_once(), 50);
}
END_TEST

/* The row was read before a pause was acknowledged and arrives after it. */
START_TEST(an_older_row_takes_no_pause_back)
{
    fixture_devices(1, 50, 20, 20);
    fixture_campaign();
    start_as("n1");
    wanted = 5;
    run_until(so_many_sent, 20000);
    ck_assert_int_eq(partition_device_changed(rig.p, 1), 0);
    load_tick(rig.p->load);
    while (pgtemp_int(db_admin, "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle' AND"
                                " strpos(query, 'device_id = ANY($1::int[]) AND residence = 0') > 0"
                                " AND pid <> pg_backend_pid()") == 0)
        ;
    pgtemp_do(db_admin, "UPDATE device SET paused_until = 'infinity'");
    device_1()->paused_until = INT64_MAX;
    ck_assert_int_eq(partition_device_changed(rig.p, 1), 0);
    unsigned sent = sent_now();
    idle(500);
    ck_assert_int_eq(device_1()->paused_until, INT64_MAX);
    ck_assert_uint_le(sent_now(), sent + 1); /* one was on the wire */
}
END_TEST

/* The database holds what memory would send, for a while, of a long list whose rows are due. */
START_TEST(what_the_database_holds_is_asked_for_again)
{
    fixture_devices(1, 300, 1, 2);
    fixture_campaign();
    pgtemp_do(db_admin,
              "INSERT INTO enrollment(device_id, source_id, lead_no, due_at) SELECT device_id, 1,"
              " lead_no, now() - interval '1 h' FROM lead; UPDATE audience SET cursor = upto;"
              "UPDATE progress SET enrolled = 300; INSERT INTO source(source_id, kind, state,"
              " content_version, name, item) VALUES (-1, 4, 0, 0, '(cluster)', '{}')");
    start_as("n1");
    wanted = 20;
    run_until(so_many_sent, 20000);
    pgtemp_do(db_admin, "UPDATE source SET state = 1, paused_until = now() + interval '1 s'"
                        " WHERE source_id = -1");
    run_until(all_done, 20000);
    ck_assert_uint_eq(check_once(), 300);
}
END_TEST

static const char *
quiet_for_now(void)
{
    return "to_char(now() AT TIME ZONE zone - interval '5 min', 'HH24:MI') || '-' ||"
           " to_char(now() AT TIME ZONE zone + interval '30 min', 'HH24:MI')";
}

START_TEST(quiet_hours_in_the_device_s_zone)
{
    fixture_devices(4, 10, 1, 2);
    fixture_campaign();
    pgtemp_do(db_admin,
              "UPDATE device SET zone = (ARRAY['Asia/Kathmandu', 'Pacific/Kiritimati',"
              " 'Pacific/Pago_Pago', 'Moon/Base'])[device_id], quiet = '03:00-03:01';"
              "UPDATE device SET quiet = %s WHERE device_id = 1",
              quiet_for_now());
    start_as("n1");
    wanted = 20;
    run_until(so_many_sent, 20000);
    idle(500);
    ck_assert_uint_eq(check_once(), 20); /* not 1; nor 4, whose zone nobody knows */
    for (unsigned i = 0; i < wire_count; i++)
        ck_assert(wire_log[i].device_id == 2 || wire_log[i].device_id == 3);
    ck_assert_int_eq(held_by(), GATE_QUIET);
    pgtemp_do(db_admin, "UPDATE device SET quiet = '', zone = 'UTC'");
    for (int id = 1; id <= 4; id++)
        ck_assert_int_eq(partition_device_changed(rig.p, id), 0);
    run_until(all_done, 20000);
    ck_assert_uint_eq(check_once(), 40);
}
END_TEST

/* The window of a campaign holds its rows; the device sends another's. */
START_TEST(a_window_holds_the_row_only)
{
    fixture_devices(1, 10, 1, 2);
    fixture_campaign();
    pgtemp_do(db_admin, "INSERT INTO source(source_id, kind, state, priority, content_version,"
                        " started_version, started_at, name, item) SELECT 2, 1, 0, 5, 1, 1, now(),"
                        " 'later', '{\"kind\":\"campaign\",\"name\":\"later\",\"template\":"
                        "\"hello\",\"window\":\"' || to_char(now() AT TIME ZONE 'UTC' + interval"
                        " '2 h', 'HH24:MI') || '-' || to_char(now() AT TIME ZONE 'UTC' +"
                        " interval '3 h', 'HH24:MI') || '\"}';"
                        "INSERT INTO audience(device_id, source_id, priority, upto)"
                        " VALUES (1, 2, 5, 10);"
                        "INSERT INTO progress(source_id, audience) VALUES (2, 10)");
    start_as("n1");
    wanted = 10;
    run_until(so_many_sent, 20000);
    idle(500);
    ck_assert_uint_eq(check_once(), 10);
    ck_assert_int_eq(10, pgtemp_int(db_admin, "SELECT sent FROM progress WHERE source_id = 1"));
    fixture_sums();
}
END_TEST

/* ---- the clock ---- */

static bool
clock_is_off(struct rig *r)
{
    return r->p->clock_off;
}

static bool
clock_is_back(struct rig *r)
{
    return !r->p->clock_off;
}

/* As if the database's clock had jumped: ours is what is moved. */
static void
over_a_jump(int64_t jump, bool off)
{
    fixture_devices(1, 500, 10, 10);
    fixture_campaign();
    start_as("n1");
    wanted = 5;
    run_until(so_many_sent, 20000);
    rig.p->db_offset -= jump;
    if (off) /* by the database's clock all of it is over, from this instant on */
        pgtemp_do(db_admin, "UPDATE source SET not_after = now()");
    if (!off) {
        idle(1500);
        ck_assert(!rig.p->clock_off);
        return;
    }
    run_until(clock_is_off, 3000);
    ck_assert_ptr_nonnull(strstr(partition_reason(rig.p), "clock: the database's jumped by"));
    idle(300); /* what was claimed is refused or ends */
    unsigned sent = sent_now();
    int64_t enrolled = pgtemp_int(db_admin, "SELECT enrolled FROM progress");
    idle(1500);
    ck_assert_uint_eq(sent_now(), sent);
    ck_assert_int_eq(enrolled, pgtemp_int(db_admin, "SELECT enrolled FROM progress"));
    ck_assert_int_eq(0, pgtemp_int(db_admin, "SELECT expired FROM progress"));
    pgtemp_do(db_admin, "UPDATE source SET not_after = 'infinity'");
    rig.p->db_offset += jump;
    run_until(clock_is_back, 3000);
    ck_assert_str_eq(partition_reason(rig.p), "");
    wanted = sent + 20;
    run_until(so_many_sent, 10000);
    check_once();
}

START_TEST(a_clock_that_jumps_ahead)
{
    over_a_jump(3 * 1000000, true);
}
END_TEST

START_TEST(a_clock_that_jumps_back)
{
    over_a_jump(-3600 * (int64_t) 1000000, true);
}
END_TEST

START_TEST(a_clock_that_is_slewed)
{
    over_a_jump(1500000, false);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("pacing");
    TCase *zones = tcase_create("zones"), *driver = tcase_create("driver");

    tcase_add_unchecked_fixture(zones, fixture_start, NULL);
    tcase_add_checked_fixture(zones, fixture_open, fixture_close);
    tcase_set_timeout(zones, 60);
    tcase_add_loop_test(zones, zones_are_postgresql_s_own, 0, (int) ARRAY_SIZE(places));
    tcase_add_test(zones, every_zone_can_be_read);
    tcase_add_checked_fixture(driver, open_rig, close_rig);
    tcase_set_timeout(driver, 120);
    tcase_add_test(driver, never_above_the_cap_over_kills);
    tcase_add_test(driver, a_clean_stop_gives_back_what_was_not_used);
    tcase_add_test(driver, a_new_allowance_at_the_device_s_midnight);
    tcase_add_test(driver, a_new_allowance_at_the_device_s_hour);
    tcase_add_test(driver, what_never_left_is_given_back);
    tcase_add_test(driver, without_caps_nothing_is_written);
    tcase_add_test(driver, the_warm_up_holds_a_new_device);
    tcase_add_test(driver, a_paused_device_goes_on_by_itself);
    tcase_add_test(driver, the_guard_sees_a_pause);
    tcase_add_test(driver, an_older_row_takes_no_pause_back);
    tcase_add_test(driver, what_the_database_holds_is_asked_for_again);
    tcase_add_test(driver, quiet_hours_in_the_device_s_zone);
    tcase_add_test(driver, a_window_holds_the_row_only);
    tcase_add_test(driver, a_clock_that_jumps_ahead);
    tcase_add_test(driver, a_clock_that_jumps_back);
    tcase_add_test(driver, a_clock_that_is_slewed);
    suite_add_tcase(suite, zones);
    suite_add_tcase(suite, driver);
    return fixture_run(suite);
}
