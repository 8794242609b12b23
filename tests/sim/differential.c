/*
 * differential [--steps N] [--from SEED]: the model of the store against PostgreSQL.
 *
 * Random transactions of the product's typed statements run on two sessions of a private PostgreSQL
 * (tests/support/pg, the real schema) and on the model; answers and tables must be the same, row by
 * row. One session often takes its lock first, the other one commits meanwhile, and the first goes
 * on: it must see that. Needs FLEETCAST_BUILD and FLEETCAST_SOURCE, as integration tests do.
 */
#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/rng.h"
#include "tests/sim/store.h"
#include "tests/support/pgtemp.h"

#define PARTITION   "p1"
#define DEVICES     6
#define PG_EPOCH    INT64_C(946684800000000)
#define TABLE_EVERY 25u
#define LINES_MAX   4096u

static struct rng rng;
static struct store model;
static PGconn *admin, *sessions[2];
static uint64_t step_number, next_token = 1;
static uint64_t asked[STORE_COUNT], answered[STORE_COUNT]; /* statements, and rows of them */
static int64_t next_version = 10;

static uint64_t
draw(uint64_t low, uint64_t high)
{
    return rng_between(&rng, low, high);
}

static bool
one_in(unsigned n)
{
    return draw(1, n) == 1;
}

/* ---- lines: rows as text, sorted where the statement gives no order ---- */

struct lines {
    unsigned count;
    char *at[LINES_MAX];
};

static void
add_line(struct lines *l, const char *text)
{
    assert(l->count < LINES_MAX);
    l->at[l->count++] = strdup(text);
}

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

static void
done_lines(struct lines *l)
{
    for (unsigned i = 0; i < l->count; i++)
        free(l->at[i]);
    l->count = 0;
}

static void
compare_lines(const char *what, struct lines *ours, struct lines *theirs, bool ordered)
{
    if (!ordered) {
        qsort(ours->at, ours->count, sizeof(char *), by_text);
        qsort(theirs->at, theirs->count, sizeof(char *), by_text);
    }
    for (unsigned i = 0; i < MAX_OF(ours->count, theirs->count); i++) {
        const char *a = i < ours->count ? ours->at[i] : "(no row)";
        const char *b = i < theirs->count ? theirs->at[i] : "(no row)";

        if (strcmp(a, b) == 0)
            continue;
        printf("\nstep %" PRIu64 ", %s, row %u:\n  model       %s\n  PostgreSQL  %s\n", step_number,
               what, i, a, b);
        exit(1);
    }
    done_lines(ours);
    done_lines(theirs);
}

/* ---- cells ---- */

static int64_t
number_of(const char *p, int bytes)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;

    switch (bytes) {
    case 1: return *p;
    case 2: memcpy(&two, p, 2); return (int16_t) be16toh(two);
    case 4: memcpy(&four, p, 4); return (int32_t) be32toh(four);
    default: memcpy(&eight, p, 8); return (int64_t) be64toh(eight);
    }
}

static size_t
write_hex(char *out, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sprintf(out + i * 2, "%02x", bytes[i]);
    return count * 2;
}

enum {
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_TIME = 1184,
    OID_UUID = 2950
};

static bool
is_number(Oid type)
{
    return type == OID_BOOL || type == OID_INT8 || type == OID_INT2 || type == OID_INT4 ||
           type == OID_TIME;
}

static size_t
write_theirs(char *out, const PGresult *r, int row, int column)
{
    const char *p = PQgetvalue(r, row, column);
    int bytes = PQgetlength(r, row, column);
    Oid type = PQftype(r, column);

    if (PQgetisnull(r, row, column) || bytes == 0)
        return (size_t) sprintf(out, "|");
    if (type == OID_UUID)
        return write_hex(out, (const uint8_t *) p, 16) + (size_t) sprintf(out + 32, "|");
    if (is_number(type)) {
        int64_t n = number_of(p, bytes);

        if (type == OID_TIME && n != INT64_MAX && n != INT64_MIN)
            n += PG_EPOCH;
        return (size_t) sprintf(out, "%" PRId64 "|", n);
    }
    return (size_t) sprintf(out, "%.*s|", bytes, p);
}

static size_t
write_ours(char *out, const struct db_reply *r, unsigned call, unsigned row, unsigned column,
           Oid type)
{
    if (db_is_null(r, call, row, column))
        return (size_t) sprintf(out, "|");
    if (type == OID_UUID) {
        struct uuid u = db_get_uuid(r, call, row, column);
        return write_hex(out, u.bytes, 16) + (size_t) sprintf(out + 32, "|");
    }
    if (is_number(type))
        return (size_t) sprintf(out, "%" PRId64 "|", db_get_int(r, call, row, column));
    struct slice text = db_get_text(r, call, row, column);
    return (size_t) sprintf(out, "%.*s|", (int) text.bytes, text.data);
}

/* ---- one statement on both sides ---- */

static bool
is_ordered(unsigned statement)
{
    return statement == STORE_FILL || statement == STORE_LOAD_DEVICES ||
           statement == STORE_LOAD_SOURCES || statement == STORE_LOAD_OPTOUTS ||
           statement == STORE_LOAD_REVISIONS;
}

/* Clocks that run, and positions in the WAL, are theirs alone. */
static bool
is_theirs(unsigned statement, int column)
{
    return (statement == STORE_EPOCH && column == 3) || (statement == STORE_BEAT && column > 0);
}

static PGresult *
ask(PGconn *c, unsigned statement, const struct db_args *args)
{
    int formats[24];

    for (unsigned i = 0; i < 24; i++)
        formats[i] = 1;
    PGresult *r = PQexecPrepared(c, store_statements[statement].name, (int) args->count,
                                 args->values, args->lengths, formats, 1);
    ExecStatusType status = PQresultStatus(r);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        printf("\nstep %" PRIu64 ", %s: %s\n", step_number, store_statements[statement].name,
               PQerrorMessage(c));
        exit(1);
    }
    return r;
}

static void
both(PGconn *c, unsigned statement, const struct db_args *args, int64_t now)
{
    static struct lines ours, theirs;
    struct values in;
    struct db_reply reply = {0};
    char line[16384];

    values_copy(&in, args);
    PGresult *r = ask(c, statement, args);
    reply_call(&reply);
    store_functions[statement](
        &(struct call){.s = &model, .in = &in, .out = &reply, .now = now, .clock = now});
    for (int row = 0; row < PQntuples(r); row++) {
        size_t used = 0;

        line[0] = '\0';
        for (int column = 0; column < PQnfields(r); column++)
            if (!is_theirs(statement, column))
                used += write_theirs(line + used, r, row, column);
        add_line(&theirs, line);
    }
    for (unsigned row = 0; row < db_rows(&reply, 0); row++) {
        size_t used = 0;

        line[0] = '\0';
        for (int column = 0; column < PQnfields(r); column++)
            if (!is_theirs(statement, column))
                used +=
                    write_ours(line + used, &reply, 0, row, (unsigned) column, PQftype(r, column));
        add_line(&ours, line);
    }
    asked[statement]++;
    answered[statement] += theirs.count;
    compare_lines(store_statements[statement].name, &ours, &theirs, is_ordered(statement));
    PQclear(r);
    reply_done(&reply);
    values_done(&in);
}

/* ---- tables ---- */

static void
compare_table(const char *what, struct lines *ours, const char *sql)
{
    static struct lines theirs;
    PGresult *r = PQexec(admin, sql);
    char line[16384];

    if (PQresultStatus(r) != PGRES_TUPLES_OK) {
        printf("%s: %s\n", what, PQerrorMessage(admin));
        exit(1);
    }
    for (int row = 0; row < PQntuples(r); row++) {
        snprintf(line, sizeof(line), "%s", PQgetvalue(r, row, 0));
        add_line(&theirs, line);
    }
    PQclear(r);
    compare_lines(what, ours, &theirs, false);
}

#define USEC(column) "(extract(epoch FROM " column ") * 1000000)::bigint"

static void
compare_device_tables(void)
{
    static struct lines rows, ends, audience, leads;
    char line[1024], token[33];

    for (unsigned i = 0; i < model.devices.count; i++) {
        const struct device_rec *d = &model.devices.at[i];

        for (unsigned k = 0; k < d->rows.count; k++) {
            const struct enrollment *e = &d->rows.at[k];

            write_hex(token, e->token.bytes, 16);
            sprintf(line, "%d %d %d %d %d %d %d %" PRId64 " %" PRId64 " %s", d->device_id,
                    e->source_id, e->lead_no, e->step, e->attempt, e->state, e->revision, e->due_at,
                    e->epoch, token);
            add_line(&rows, line);
        }
        for (unsigned k = 0; k < d->ends.count; k++) {
            const struct end_row *e = &d->ends.at[k];

            sprintf(line, "%d %d %d %d %d %" PRId64, d->device_id, e->source_id, e->lead_no,
                    e->step, e->reason, e->ended_at);
            add_line(&ends, line);
        }
        for (unsigned k = 0; k < d->audience.count; k++) {
            const struct audience_row *y = &d->audience.at[k];

            sprintf(line, "%d %d %d %d %d", d->device_id, y->source_id, y->priority, y->cursor,
                    y->upto);
            add_line(&audience, line);
        }
        for (unsigned k = 0; k < d->leads.count; k++) {
            const struct lead *l = &d->leads.at[k];

            sprintf(line, "%d %d %" PRId64 " %s", d->device_id, l->lead_no, l->phone, l->trigger);
            add_line(&leads, line);
        }
    }
    compare_table("table enrollment", &rows,
                  "SELECT format('%s %s %s %s %s %s %s %s %s %s', device_id, source_id, lead_no,"
                  " step, attempt, state, revision, " USEC(
                      "due_at") ", epoch,"
                                " replace(token::text, '-', '')) FROM enrollment");
    compare_table(
        "table enrollment_end", &ends,
        "SELECT format('%s %s %s %s %s %s', device_id, source_id, lead_no, step, reason, " USEC(
            "ended_at") ") FROM enrollment_end");
    compare_table("table audience", &audience,
                  "SELECT format('%s %s %s %s %s', device_id, source_id, priority, cursor, upto)"
                  " FROM audience");
    compare_table("table lead", &leads,
                  "SELECT format('%s %s %s %s', device_id, lead_no, phone, trigger) FROM lead");
}

static void
compare_source_tables(void)
{
    static struct lines progress, sources, messages, devices;
    char line[1024];

    for (unsigned i = 0; i < model.sources.count; i++) {
        const struct source_rec *s = &model.sources.at[i];
        const struct progress *p = &s->progress;

        sprintf(line, "%d %d %d %d %d %" PRId64 " %" PRId64, s->source_id, s->kind, s->state,
                s->revision, s->all_revision, s->content_version, s->started_version);
        add_line(&sources, line);
        if (!p->there)
            continue;
        sprintf(line,
                "%d %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64
                " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64,
                s->source_id, p->audience, p->not_in_audience, p->enrolled, p->sent, p->failed,
                p->unknown, p->expired, p->skipped, p->cancelled, p->messages);
        add_line(&progress, line);
    }
    for (unsigned i = 0; i < model.messages.count; i++) {
        const struct message_row *m = &model.messages.at[i];

        sprintf(line, "%d %d %d %d %d %d %d %" PRId64 " %" PRId64, m->device_id, m->source_id,
                m->lead_no, m->step, m->attempt, m->state, m->reason, m->epoch, m->settled_at);
        add_line(&messages, line);
    }
    for (unsigned i = 0; i < model.devices.count; i++) {
        const struct device_rec *d = &model.devices.at[i];

        sprintf(line, "%d %d %d %" PRId64 " %d %d %d", d->device_id, d->next_lead_no,
                d->next_direct_no, d->content_version, d->day, d->day_reserved, d->hour_reserved);
        add_line(&devices, line);
    }
    compare_table("table source", &sources,
                  "SELECT format('%s %s %s %s %s %s %s', source_id, kind, state, revision,"
                  " all_revision, content_version, started_version) FROM source");
    compare_table("table progress", &progress,
                  "SELECT format('%s %s %s %s %s %s %s %s %s %s %s', source_id, audience,"
                  " not_in_audience, enrolled, sent, failed, unknown, expired, skipped, cancelled,"
                  " messages) FROM progress");
    compare_table("table message", &messages,
                  "SELECT format('%s %s %s %s %s %s %s %s %s', device_id, source_id, lead_no, step,"
                  " attempt, state, reason, epoch, " USEC("settled_at") ") FROM message");
    compare_table("table device", &devices,
                  "SELECT format('%s %s %s %s %s %s %s', device_id, next_lead_no, next_direct_no,"
                  " content_version, day - date '1970-01-01', day_reserved, hour_reserved)"
                  " FROM device");
}

/* ---- parameters ---- */

static struct db_args args;

static int64_t
epoch(void)
{
    return one_in(20) ? model.epoch + 1 : model.epoch;
}

static struct device_rec *
any_device(void)
{
    return &model.devices.at[draw(0, model.devices.count - 1)];
}

static struct source_rec *
any_source(void)
{
    return &model.sources.at[draw(0, model.sources.count - 1)];
}

/* A row of that state, or NULL. */
static struct enrollment *
any_row(int state, int32_t *ret_device)
{
    for (unsigned tries = 0; tries < 12; tries++) {
        struct device_rec *d = any_device();
        struct enrollment *e = d->rows.count ? &d->rows.at[draw(0, d->rows.count - 1)] : NULL;

        if (!e || e->state != state)
            continue;
        *ret_device = d->device_id;
        return e;
    }
    return NULL;
}

static struct uuid
fresh_token(int64_t now)
{
    struct uuid u = {{0}};
    uint64_t ms = htobe64((uint64_t) (now / 1000) << 16), number = htobe64(next_token++);

    memcpy(u.bytes, &ms, 6);
    memcpy(u.bytes + 8, &number, 8);
    u.bytes[6] = 0x70;
    u.bytes[8] |= 0x80;
    return u;
}

/* Rows that wait, and now and then ones that do not. */
static unsigned
put_asked(int64_t now, bool direct)
{
    int32_t n[8], device[8], source[8], lead[8];
    int16_t step[8], attempt[8];
    struct uuid token[8];
    unsigned count = 0;

    for (unsigned i = 0; i < 8; i++) {
        struct enrollment *e = any_row(one_in(10) ? 1 : 0, &device[count]);
        bool twice = false;

        if (!e || (e->lead_no < 0) != direct)
            continue;
        for (unsigned k = 0; k < count; k++)
            twice |=
                device[k] == device[count] && source[k] == e->source_id && lead[k] == e->lead_no;
        if (twice)
            continue;
        n[count] = (int32_t) count;
        source[count] = e->source_id;
        lead[count] = e->lead_no;
        step[count] = (int16_t) (e->step + one_in(15));
        attempt[count] = (int16_t) (e->attempt + one_in(15));
        token[count++] = fresh_token(now);
    }
    db_put_int8(&args, epoch());
    db_put_int4s(&args, n, count);
    db_put_int4s(&args, device, count);
    db_put_int4s(&args, source, count);
    db_put_int4s(&args, lead, count);
    db_put_int2s(&args, step, count);
    db_put_int2s(&args, attempt, count);
    db_put_uuids(&args, token, count);
    return count;
}

static unsigned
put_facts(unsigned statement, int64_t now)
{
    int32_t n[8], device[8], source[8], lead[8], next_source[8];
    int16_t goal[8], to_step[8], zero[8], one[8], state[8], reason[8], step[8], ends_as[8];
    int64_t due[8], at[8], hash[8];
    struct uuid token[8];
    struct slice id[8];
    unsigned count = 0;

    for (unsigned i = 0; i < 8; i++) {
        struct enrollment *e = any_row(statement == STORE_EVIDENCE ? 2 : 1, &device[count]);
        bool twice = false;

        for (unsigned k = 0; e && k < count; k++)
            twice |=
                device[k] == device[count] && source[k] == e->source_id && lead[k] == e->lead_no;
        if (!e || twice)
            continue;
        bool ends = statement == STORE_FINISH || (statement == STORE_EVIDENCE && one_in(2));

        n[count] = (int32_t) count;
        source[count] = e->source_id;
        lead[count] = e->lead_no;
        token[count] = one_in(10) ? fresh_token(now) : e->token;
        goal[count] = ends ? 3 : statement == STORE_ADVANCE && one_in(3) ? 2 : 0;
        to_step[count] = (int16_t) (e->step + (e->step > 0));
        zero[count] = 0;
        one[count] = 1;
        state[count] = (int16_t) (goal[count] == 2              ? 3
                                  : statement == STORE_EVIDENCE ? draw(1, 2)
                                                                : draw(0, 2));
        reason[count] = (int16_t) (state[count] == 1 ? 0 : 41);
        ends_as[count] = (int16_t) (statement == STORE_EVIDENCE ? state[count] : (int) draw(1, 6));
        if (ends_as[count] == 3)
            ends_as[count] = 1;
        step[count] = e->step;
        due[count] = now + (int64_t) draw(0, 5000000);
        at[count] = now;
        hash[count] = (int64_t) i;
        next_source[count] = ends && e->step > 0 && one_in(2) ? (int32_t) draw(2, 4) : 0;
        if (next_source[count] == e->source_id)
            next_source[count] = 0;
        id[count++] = (struct slice){"wamid", 5};
    }
    db_put_int4s(&args, n, count);
    db_put_int4s(&args, device, count);
    db_put_int4s(&args, source, count);
    db_put_int4s(&args, lead, count);
    db_put_uuids(&args, token, count);
    db_put_int2s(&args, goal, count);
    db_put_int2s(&args, to_step, count);
    db_put_int2s(&args, zero, count);
    db_put_int2s(&args, one, count);
    db_put_times(&args, due, count);
    db_put_int2s(&args, state, count);
    db_put_int2s(&args, reason, count);
    db_put_texts(&args, id, count);
    db_put_times(&args, at, count);
    db_put_times(&args, at, count);
    db_put_int2s(&args, step, count);
    db_put_int2s(&args, zero, count);
    db_put_int8s(&args, hash, count);
    if (statement == STORE_ADVANCE)
        return count;
    db_put_int2s(&args, ends_as, count);
    db_put_int4s(&args, next_source, count);
    db_put_int2s(&args, one, count);
    db_put_int2s(&args, one, count);
    db_put_times(&args, due, count);
    return count;
}

static unsigned
put_devices(int32_t *ids)
{
    unsigned count = 0;

    for (int32_t id = 1; id <= DEVICES; id++)
        if (one_in(2))
            ids[count++] = id;
    db_put_int4s(&args, ids, count);
    return count;
}

static const int32_t every_source[] = {1, 2, 3, 4};

static void
put_fill(void)
{
    int32_t ids[DEVICES], size[DEVICES], source[DEVICES], lead[DEVICES];
    int64_t due[DEVICES];
    unsigned count = put_devices(ids);

    for (unsigned i = 0; i < count; i++) {
        const struct device_rec *d = store_device(&model, ids[i]);
        const struct enrollment *e = d->rows.count ? &d->rows.at[0] : NULL;

        size[i] = (int32_t) draw(1, 20);
        due[i] = e && one_in(2) ? e->due_at : 0;
        source[i] = due[i] ? e->source_id : INT32_MIN;
        lead[i] = due[i] ? abs(e->lead_no) : 0;
    }
    db_put_int4s(&args, size, count);
    db_put_times(&args, due, count);
    db_put_int4s(&args, source, count);
    db_put_int4s(&args, lead, count);
    db_put_int4s(&args, every_source, draw(1, 4));
}

static void
put_enrol(unsigned statement)
{
    static const int16_t steps[] = {1, 1, 1, 1}, revisions[] = {1, 1, 1, 1};
    static const int64_t delays[] = {0, 0, 1000000, 5};
    int32_t ids[DEVICES];

    db_put_int8(&args, epoch());
    put_devices(ids);
    db_put_int4(&args, (int32_t) draw(1, 6));
    db_put_int4s(&args, every_source, 4);
    if (statement != STORE_ENROL_TRIGGER)
        return;
    db_put_int2s(&args, steps, 4);
    db_put_int2s(&args, revisions, 4);
    db_put_int8s(&args, delays, 4);
}

static void
put_page(int32_t source_id, unsigned rows)
{
    db_put_int8(&args, epoch());
    db_put_int4(&args, source_id);
    db_put_int4(&args, (int32_t) draw(0, DEVICES));
    db_put_int4(&args, (int32_t) draw(1, DEVICES));
    db_put_int4(&args, (int32_t) rows);
}

static struct slice
words(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* One source: 1 a campaign, 2 to 4 sequences, the last one without a trigger. */
static void
put_source(int32_t id, int16_t state, int16_t revision, int16_t all, int64_t now)
{
    static const char *const names[] = {"spring", "cold", "warm", "hot"};
    static const char *const triggers[] = {"", "T2", "T3", ""};
    struct slice name = words(names[id - 1]), devices = words(id == 3 ? "{[1,3],[5,5]}" : "{(,)}");
    struct slice item = words(id == 1 ? "{\"kind\":\"campaign\",\"audience\":{\"where\":{\"city\":"
                                        "\"KL\"}}}"
                                      : "{\"kind\":\"sequence\"}");
    struct slice trigger = words(triggers[id - 1]), because = words("test");
    int16_t kind = id == 1 ? 1 : 2, priority = (int16_t) (id % 3);
    int64_t version = ++next_version, started = state == 3 ? INT64_MAX : now, never = INT64_MAX;

    db_put_int8(&args, epoch());
    db_put_int4s(&args, &id, 1);
    db_put_int2s(&args, &state, 1);
    db_put_int2s(&args, &priority, 1);
    db_put_int8s(&args, &version, 1);
    db_put_times(&args, &started, 1);
    db_put_times(&args, &never, 1);
    db_put_texts(&args, &name, 1);
    db_put_texts(&args, &devices, 1);
    db_put_texts(&args, &item, 1);
    db_put_int2s(&args, &kind, 1);
    db_put_int2s(&args, &revision, 1);
    db_put_int2s(&args, &all, 1);
    db_put_times(&args, &never, 1);
    db_put_texts(&args, &trigger, 1);
    db_put_texts(&args, &because, 1);
}

static void
put_restep(int32_t source_id)
{
    static const int16_t revisions[] = {1, 1, 2}, steps[] = {1, 2, 1}, to[] = {2, 0, 2};
    static const int64_t shifts[] = {1000000, 0, -500000};

    put_page(source_id, 500);
    db_put_int2s(&args, revisions, 3);
    db_put_int2s(&args, steps, 3);
    db_put_int2s(&args, to, 3);
    db_put_int8s(&args, shifts, 3);
    db_put_int4(&args, source_id == 2 ? 3 : 0);
    db_put_int2(&args, 3);
    db_put_int2(&args, 1);
    db_put_int2(&args, 1);
    db_put_int8(&args, 7000);
}

static int64_t
any_phone(const struct device_rec *d)
{
    return one_in(10) ? 99999999 : d->leads.at[draw(0, d->leads.count - 1)].phone;
}

static void
put_people(unsigned statement)
{
    const struct device_rec *d = any_device();
    int32_t n = 5;
    int64_t phone = any_phone(d);
    struct slice account = words("main"), reason = words("asked"), hash = words("0123456789abcdef");

    db_put_int8(&args, epoch());
    if (statement == STORE_OPTOUT_END) {
        db_put_texts(&args, &account, 1);
        db_put_int8s(&args, &phone, 1);
        db_put_int2(&args, 11);
        db_put_bool(&args, one_in(2));
        return;
    }
    db_put_int4s(&args, &n, 1);
    db_put_texts(&args, &account, 1);
    db_put_int8s(&args, &phone, 1);
    if (statement == STORE_OPTOUT_ADD)
        db_put_texts(&args, &reason, 1);
    db_put_byteas(&args, &hash, 1);
}

static void
put_send(int64_t now)
{
    const struct device_rec *d = any_device();
    int32_t n = 3, device = one_in(15) ? 77 : d->device_id;
    int64_t phone = any_phone(d), expires = one_in(10) ? now - 1 : INT64_MAX;
    char text[16];
    struct slice key, hash = words("0123456789abcdef"), body = words("hello");

    snprintf(text, sizeof(text), "k%d", (int) draw(1, 40));
    key = words(text);
    db_put_int8(&args, epoch());
    db_put_int4s(&args, &n, 1);
    db_put_int4s(&args, &device, 1);
    db_put_int8s(&args, &phone, 1);
    db_put_texts(&args, &key, 1);
    db_put_texts(&args, &body, 1);
    db_put_times(&args, &expires, 1);
    db_put_byteas(&args, &hash, 1);
    db_put_int4(&args, 3);
}

static void
put_lead_act(unsigned statement)
{
    const struct device_rec *d = any_device();
    int32_t n = 2, device = d->device_id, source = (int32_t) draw(2, 5);
    int64_t phone = any_phone(d), delay = 1000;
    int16_t one = 1;
    bool again = one_in(2);

    db_put_int8(&args, epoch());
    db_put_int4s(&args, &n, 1);
    db_put_int4s(&args, &device, 1);
    db_put_int8s(&args, &phone, 1);
    db_put_int4s(&args, &source, 1);
    if (statement == STORE_LEAD_REMOVE)
        return;
    db_put_int2s(&args, &one, 1);
    db_put_int2s(&args, &one, 1);
    db_put_int8s(&args, &delay, 1);
    db_put_bools(&args, &again, 1);
}

static void
put_allowance(int64_t now)
{
    int32_t id = any_device()->device_id, day = (int32_t) (now / INT64_C(86400000000)),
            reserved = (int32_t) draw(1, 9);
    int64_t hour = now - now % INT64_C(3600000000);

    db_put_int8(&args, epoch());
    db_put_int4s(&args, &id, 1);
    db_put_int4s(&args, &day, 1);
    db_put_int4s(&args, &reserved, 1);
    db_put_times(&args, &hour, 1);
    db_put_int4s(&args, &reserved, 1);
}

static void
put_pause(void)
{
    int32_t n = 1, id = any_device()->device_id;
    int64_t until = INT64_MAX;
    struct slice because = words("rest");

    db_put_int8(&args, epoch());
    db_put_int4s(&args, &n, 1);
    db_put_int4s(&args, &id, 1);
    db_put_times(&args, &until, 1);
    db_put_texts(&args, &because, 1);
}

static void
put_trigger_back(void)
{
    const struct device_rec *d = any_device();
    int32_t id = d->device_id;
    int64_t phone = any_phone(d);
    struct slice trigger = words(one_in(2) ? "T2" : "T3");

    db_put_int8(&args, epoch());
    db_put_int4s(&args, &id, 1);
    db_put_int8s(&args, &phone, 1);
    db_put_texts(&args, &trigger, 1);
}

static void
put_take(void)
{
    struct uuid incarnation = {{(uint8_t) draw(1, 255)}};

    db_put_int8(&args, epoch());
    db_put_text(&args, words("n1"));
    db_put_uuid(&args, &incarnation);
    db_put_text(&args, words("start"));
}

/* ---- transactions ---- */

static int64_t
begin(PGconn *c, bool exclusive)
{
    static const struct db_args none;

    pgtemp_do(c, "BEGIN");
    PQclear(ask(c, exclusive ? STORE_LOCK_EXCLUSIVE : STORE_LOCK_SHARED, &none));
    PGresult *r = PQexec(c, "SELECT " USEC("now()"));
    int64_t now = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    PQclear(r);
    return now;
}

/* Parameters of a statement by chance; false: there is nothing to do for it now. */
static bool
put(unsigned statement, int64_t now)
{
    int32_t ids[DEVICES];

    db_args_reset(&args);
    switch (statement) {
    case STORE_ADVANCE:
    case STORE_FINISH:
    case STORE_EVIDENCE: return put_facts(statement, now) > 0;
    case STORE_CLAIM:
    case STORE_REFUSE: return put_asked(now, false) > 0;
    case STORE_CLAIM_DIRECT: return put_asked(now, true) > 0;
    case STORE_FILL: put_fill(); return true;
    case STORE_LIVE: put_devices(ids); return true;
    case STORE_ENROL:
    case STORE_ENROL_TRIGGER: put_enrol(statement); return true;
    case STORE_ENROL_LOCK:
        put_devices(ids);
        db_put_int4s(&args, every_source, 4);
        return true;
    case STORE_ENROL_OPEN:
        put_devices(ids);
        db_put_int4s(&args, every_source, 1);
        db_put_int4s(&args, every_source + 1, 3);
        return true;
    case STORE_TRIGGER_BACK: put_trigger_back(); return true;
    case STORE_SWEEP: put_page((int32_t) draw(1, 4), 500); return true;
    case STORE_RESTEP: put_restep((int32_t) draw(2, 4)); return true;
    case STORE_PUT_SOURCES: {
        int32_t id = (int32_t) draw(1, 4);
        const struct source_rec *s = store_source(&model, id);

        put_source(id, (int16_t) (one_in(12) ? 2 : draw(0, 1)), s ? s->revision : 1,
                   s ? s->all_revision : 0, now);
        return true;
    }
    case STORE_AUDIENCE:
        db_put_int8(&args, epoch());
        db_put_int8(&args, next_version);
        db_put_int4(&args, 0);
        db_put_int4(&args, (int32_t) draw(2, DEVICES));
        return true;
    case STORE_APPLIED:
        db_put_int8(&args, epoch());
        db_put_int8(&args, next_version);
        return true;
    case STORE_PAUSE_SOURCE:
        db_put_int8(&args, epoch());
        db_put_int4(&args, any_source()->source_id);
        return true;
    case STORE_OPTOUT_ADD:
    case STORE_OPTOUT_END:
    case STORE_OPTOUT_REMOVE: put_people(statement); return true;
    case STORE_SEND: put_send(now); return true;
    case STORE_LEAD_ENROL:
    case STORE_LEAD_REMOVE: put_lead_act(statement); return true;
    case STORE_DEVICE_PAUSE: put_pause(); return true;
    case STORE_RESERVE:
    case STORE_GIVE_BACK: put_allowance(now); return true;
    case STORE_TAKE: put_take(); return true;
    case STORE_BEAT:
    case STORE_RELEASE: db_put_int8(&args, epoch()); return true;
    case STORE_EPOCH: return true;
    case STORE_LEFT_OVER:
        db_put_int8(&args, model.epoch + 1);
        db_put_uuids(&args, NULL, 0);
        db_put_int4(&args, 100000);
        return true;
    case STORE_LOAD_DEVICES:
    case STORE_LOAD_SOURCES:
        db_put_int4(&args, statement == STORE_LOAD_SOURCES ? -2 : 0);
        db_put_int4(&args, (int32_t) draw(1, 9));
        return true;
    case STORE_LOAD_REVISIONS:
        db_put_int4(&args, 0);
        db_put_int2(&args, 0);
        db_put_int4(&args, 50);
        return true;
    case STORE_LOAD_OPTOUTS:
        db_put_int8(&args, (int64_t) draw(0, 5));
        db_put_int4(&args, 50);
        return true;
    default: return false;
    }
}

static const unsigned statements[] = {
    STORE_CLAIM,        STORE_CLAIM,          STORE_CLAIM,         STORE_ADVANCE,
    STORE_ADVANCE,      STORE_FINISH,         STORE_FINISH,        STORE_EVIDENCE,
    STORE_REFUSE,       STORE_CLAIM_DIRECT,   STORE_FILL,          STORE_LIVE,
    STORE_ENROL,        STORE_ENROL,          STORE_ENROL_TRIGGER, STORE_ENROL_LOCK,
    STORE_ENROL_OPEN,   STORE_TRIGGER_BACK,   STORE_SWEEP,         STORE_RESTEP,
    STORE_PUT_SOURCES,  STORE_AUDIENCE,       STORE_APPLIED,       STORE_PAUSE_SOURCE,
    STORE_OPTOUT_ADD,   STORE_OPTOUT_END,     STORE_OPTOUT_REMOVE, STORE_SEND,
    STORE_SEND,         STORE_LEAD_ENROL,     STORE_LEAD_REMOVE,   STORE_DEVICE_PAUSE,
    STORE_RESERVE,      STORE_GIVE_BACK,      STORE_TAKE,          STORE_BEAT,
    STORE_RELEASE,      STORE_EPOCH,          STORE_LEFT_OVER,     STORE_LOAD_DEVICES,
    STORE_LOAD_SOURCES, STORE_LOAD_REVISIONS, STORE_LOAD_OPTOUTS};

static void
run_some(PGconn *c, int64_t now)
{
    for (unsigned n = (unsigned) draw(1, 4); n > 0; n--) {
        unsigned statement = statements[draw(0, ARRAY_SIZE(statements) - 1)];

        if (!put(statement, now))
            continue;
        step_number++;
        both(c, statement, &args, now);
    }
    pgtemp_do(c, "COMMIT");
}

static void
run_transaction(void)
{
    unsigned first = (unsigned) draw(0, 1);
    bool overtaken = one_in(3);
    int64_t now = begin(sessions[first], !overtaken && one_in(4));

    if (overtaken) /* it stands behind its lock while the other one commits */
        run_some(sessions[1 - first], begin(sessions[1 - first], false));
    run_some(sessions[first], now);
}

/* ---- the start: the same rows on both sides ---- */

static PGconn *
open_session(const struct pgtemp *pg)
{
    PGconn *c = pgtemp_open(pg, PARTITION, "fleetcast_node");

    for (unsigned i = 0; store_settings[i]; i += 2)
        pgtemp_do(c, "SET \"%s\" = '%s'", store_settings[i], store_settings[i + 1]);
    for (unsigned i = 0; i < STORE_COUNT; i++) {
        PGresult *r = PQprepare(c, store_statements[i].name, store_statements[i].sql, 0, NULL);

        if (PQresultStatus(r) != PGRES_COMMAND_OK) {
            printf("%s: %s\n", store_statements[i].name, PQerrorMessage(c));
            exit(1);
        }
        PQclear(r);
    }
    return c;
}

static void
add_lead(struct device_rec *d)
{
    struct lead *l = store_lead_new(d, 10000000 + d->device_id * 1000 + (int64_t) d->next_lead_no);
    const char *city = one_in(3) ? "{\"city\": \"JB\"}" : "{\"city\": \"KL\"}";
    char trigger[8] = "";

    if (one_in(2))
        snprintf(trigger, sizeof(trigger), "T%d", (int) draw(2, 3));
    store_set_text(&l->attributes, city, strlen(city));
    store_set_text(&l->trigger, trigger, strlen(trigger));
    store_set_text(&l->name, "Ann", 3);
    pgtemp_do(admin, "INSERT INTO lead VALUES (%d, %d, %" PRId64 ", 'Ann', '%s', '%s')",
              d->device_id, l->lead_no, l->phone, trigger, city);
}

static void
same_rows(void)
{
    store_open(&model, PARTITION);
    model.epoch = 7;
    snprintf(model.driver, sizeof(model.driver), "n1");
    pgtemp_do(admin, "UPDATE owner SET epoch = 7, driver = 'n1'");
    for (int32_t id = 1; id <= DEVICES; id++) {
        struct device_rec *d = store_device_new(&model, id);

        d->min_delay_ms = 1000;
        d->max_delay_ms = 2000;
        store_set_text(&d->transport, "cloudapi", 8);
        store_set_text(&d->address, "1", 1);
        pgtemp_do(admin,
                  "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, transport,"
                  " address) VALUES (%d, 1000, 2000, 'cloudapi', '1')",
                  id);
        for (unsigned n = (unsigned) draw(4, 30); n > 0; n--)
            add_lead(d);
        pgtemp_do(admin, "UPDATE device SET next_lead_no = %d WHERE device_id = %d",
                  d->next_lead_no, id);
    }
}

static void
start_sources(void)
{
    int64_t now = begin(sessions[0], true);

    for (int32_t id = 1; id <= 4; id++) {
        do {
            db_args_reset(&args);
            put_source(id, 0, 1, 0, now);
            both(sessions[0], STORE_PUT_SOURCES, &args, now);
        } while (!store_source(&model, id));
    }
    pgtemp_do(sessions[0], "COMMIT");
}

static void
run_seed(const struct pgtemp *pg, uint64_t seed, uint64_t steps)
{
    uint64_t until = step_number + steps;

    rng_seed(&rng, seed);
    pgtemp_do(admin,
              "TRUNCATE device, lead, audience, enrollment, enrollment_end, message, receipt,"
              " optout, direct, trigger_use, source_revision, epoch_history;"
              "DELETE FROM source WHERE source_id > 0; DELETE FROM progress WHERE source_id > 0;"
              "UPDATE source SET state = 0, paused_until = 'infinity', content_version = 0;"
              "UPDATE progress SET audience = 0, enrolled = 0, sent = 0, failed = 0,"
              " unknown = 0, expired = 0, skipped = 0, cancelled = 0, messages = 0;"
              "UPDATE owner SET beat = 0, content_applied = 0, optout_number = 0,"
              " clean = true, incarnation = '00000000-0000-0000-0000-000000000000'");
    same_rows();
    start_sources();
    for (unsigned n = 0; step_number < until; n++) {
        run_transaction();
        if (n % TABLE_EVERY == 0) {
            compare_device_tables();
            compare_source_tables();
        }
    }
    compare_device_tables();
    compare_source_tables();
    store_close(&model);
}

static void
make_schema(const struct pgtemp *pg)
{
    const char *build = getenv("FLEETCAST_BUILD"), *source = getenv("FLEETCAST_SOURCE");
    char program[4096], dir[4096], dsn[PGTEMP_DSN_MAX];
    pid_t child;
    int status;

    snprintf(program, sizeof(program), "%s/schema/fleetcast-schema", build ? build : ".");
    snprintf(dir, sizeof(dir), "%s/schema", source ? source : ".");
    const char *argv[] = {
        program, "partition", PARTITION, "--dsn", pgtemp_dsn(pg, PARTITION, NULL, dsn),
        "--dir", dir,         NULL};
    if (posix_spawn(&child, program, NULL, NULL, (char *const *) argv, environ) != 0 ||
        waitpid(child, &status, 0) < 0 || status != 0) {
        printf("%s failed\n", program);
        exit(1);
    }
}

int
main(int argc, char **argv)
{
    const char *const databases[] = {PARTITION, NULL};
    uint64_t steps = 4000, seed = 1, per_seed = 500;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--steps") == 0)
            steps = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--from") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
    }
    struct pgtemp *pg = pgtemp_start(databases);
    make_schema(pg);
    admin = pgtemp_open(pg, PARTITION, NULL);
    sessions[0] = open_session(pg);
    sessions[1] = open_session(pg);
    if (db_args_init(&args, 65536) < 0)
        return 1;
    while (step_number < steps) {
        printf("seed %" PRIu64 ": %" PRIu64 " of %" PRIu64 " steps\n", seed, step_number, steps);
        fflush(stdout);
        run_seed(pg, seed++, MIN_OF(per_seed, steps - step_number));
    }
    for (unsigned i = 0; i < STORE_COUNT; i++)
        if (asked[i] > 0)
            printf("%-16s %6" PRIu64 " times, %7" PRIu64 " rows\n", store_statements[i].name,
                   asked[i], answered[i]);
    printf("%" PRIu64 " statements: the model answered and kept what PostgreSQL did\n",
           step_number);
    db_args_done(&args);
    PQfinish(sessions[0]);
    PQfinish(sessions[1]);
    PQfinish(admin);
    pgtemp_free(pg);
    return 0;
}
