/* message.c - the records of PROTOCOL.md §4 as tables, and the envelopes around them. */
#include "proto/message.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/record.h"
#include "shared/content.h"

/* ---- the words of the tables; S names the struct and is defined before each table ---- */

/* clang-format off */
#define FIELD(form_, member, ...) { .form = (form_), .offset = offsetof(struct S, member), __VA_ARGS__ }
#define COUNTED(count_)           .count_offset = offsetof(struct S, count_)

#define U8(member, most)       FIELD(FORM_U8, member, .max = (most))
#define U16(member, most)      FIELD(FORM_U16, member, .max = (most))
#define U32(member, most)      FIELD(FORM_U32, member, .max = (most))
#define U64(member)            FIELD(FORM_U64, member, .max = INT64_MAX) /* a bigint of the database */
#define ANY_U64(member)        FIELD(FORM_U64, member, .max = UINT64_MAX)
#define SPAN(member)           FIELD(FORM_U64, member, .max = UINT64_MAX) /* USEC_INFINITY too */
#define PHONE(member)          FIELD(FORM_U64, member, .max = 999999999999999)
#define DEVICE(member)         FIELD(FORM_I32, member, .min = 1, .max = DEVICE_ID_MAX)
#define TIME(member)           FIELD(FORM_I64, member, .max = INT64_MAX)
#define I64(member)            FIELD(FORM_I64, member, .min = INT64_MIN, .max = INT64_MAX)
#define BOOL(member)           FIELD(FORM_BOOL, member, .max = 1)
#define UUID(member)           FIELD(FORM_UUID, member, .max = sizeof(struct uuid))
#define NAME(member, least)    FIELD(FORM_NAME, member, .min = (least), .max = NAME_BYTES_MAX)
#define TEXT(member, most)     FIELD(FORM_TEXT, member, .max = (most))
#define WORDS(member)          FIELD(FORM_WORDS, member, .max = REASON_BYTES_MAX)
#define HISTOGRAM(member)      FIELD(FORM_HISTOGRAM, member, .max = HISTOGRAM_BUCKETS)
#define RECORD(member, record_) FIELD(FORM_RECORD, member, .record = &(record_))
#define LIST(member, count, most, record_) \
    FIELD(FORM_LIST, member, COUNTED(count), .max = (most), .record = &(record_))
#define TEXTS(member, count, most, bytes) \
    FIELD(FORM_TEXTS, member, COUNTED(count), .max = (most), .item_max = (bytes))
#define TEXTS_HERE(member, count, most, bytes) \
    FIELD(FORM_TEXTS_HERE, member, COUNTED(count), .max = (most), .item_max = (bytes))
#define CODES(member, count, most, code) \
    FIELD(FORM_CODES, member, COUNTED(count), .max = (most), .item_max = (code))
#define RECORD_OF(fields_) RECORD_SINCE(fields_, ARRAY_SIZE(fields_))
/* The first `required_` fields are as old as the record; a peer of the last release lacks others. */
#define RECORD_SINCE(fields_, required_) \
    { .fields = (fields_), .field_count = ARRAY_SIZE(fields_), .required = (required_), \
      .bytes = sizeof(struct S) }
/* clang-format on */

/* ---- REGISTER, REPORT, MAP ---- */

#define S partition_report
static const struct field partition_report_fields[] = {
    NAME(name, 1),
    U64(epoch),
    U8(state, UINT8_MAX),
    WORDS(gate),
    WORDS(reason),
    U32(timeline, UINT32_MAX),
    ANY_U64(lsn),
    U64(content_applied),
    SPAN(beat_age),
    U64(devices),
    U64(live),
    U64(due),
    SPAN(oldest_due),
    U64(sent),
    U64(failed),
    U64(unknown),
    U64(doubts_open),
    U32(in_flight, UINT32_MAX),
    U32(pool_busy, UINT32_MAX),
    U32(pool_max, UINT32_MAX),
    U32(rate_milli, UINT32_MAX),
    U32(plan_milli, UINT32_MAX),
    HISTOGRAM(lateness),
};
static const struct record partition_report_record = RECORD_OF(partition_report_fields);
#undef S

#define S report
static const struct field report_fields[] = {
    UUID(incarnation),
    NAME(name, 1),
    TEXT(version, NAME_BYTES_MAX),
    TEXT(rpc_address, ADDRESS_BYTES_MAX),
    TEXT(health_address, ADDRESS_BYTES_MAX),
    U32(weight, UINT32_MAX),
    U64(term),
    U64(map_version),
    U64(content_version),
    SPAN(loop_lag),
    U32(disk_used_percent, 100),
    BOOL(stopping),
    LIST(partitions, partition_count, PARTITIONS_DRIVEN_MAX, partition_report_record),
};
static const struct record report_record = RECORD_OF(report_fields);
#undef S

#define S map_node
static const struct field map_node_fields[] = {
    NAME(name, 1),
    TEXT(rpc_address, ADDRESS_BYTES_MAX),
    TEXT(health_address, ADDRESS_BYTES_MAX),
};
static const struct record map_node_record = RECORD_OF(map_node_fields);
#undef S

#define S map_partition
static const struct field map_partition_fields[] = {NAME(name, 1), NAME(home, 0), NAME(driver, 0)};
static const struct record map_partition_record = RECORD_OF(map_partition_fields);
#undef S

#define S range
static const struct field range_fields[] = {DEVICE(first), DEVICE(last),
                                            U16(partition, PARTITIONS_MAX - 1)};
static const struct record range_record = RECORD_OF(range_fields);
#undef S

#define S map
static const struct field map_fields[] = {
    U64(term),
    U64(version),
    U64(content_version),
    BOOL(full),
    LIST(nodes, node_count, NODES_MAX, map_node_record),
    LIST(partitions, partition_count, PARTITIONS_MAX, map_partition_record),
    LIST(ranges.ranges, ranges.count, RANGES_MAX, range_record),
};
static const struct record map_record = RECORD_OF(map_fields);
#undef S

/* ---- CONTENT, NODES ---- */

#define S content_query
static const struct field content_query_fields[] = {U64(after)};
static const struct record content_query_record = RECORD_OF(content_query_fields);
#undef S

#define S content_row
static const struct field content_row_fields[] = {
    U64(version),
    FIELD(FORM_U8, kind, .min = CONTENT_TEMPLATE, .max = CONTENT_CLUSTER),
    FIELD(FORM_I32, id, .min = CONTENT_CLUSTER_ID, .max = INT32_MAX),
    U8(state, SOURCE_DRAFT),
    TIME(started_at),
    TEXT(json, CONTENT_ITEM_BYTES_MAX),
    U32(revision, INT16_MAX),
    U32(all_revision, INT16_MAX),
    TIME(until),
    TIME(start_at),
    TEXT(because, LABEL_BYTES_MAX),
};
static const struct record content_row_record = RECORD_SINCE(content_row_fields, 6);
#undef S

#define S content_page
static const struct field content_page_fields[] = {
    U64(version),
    BOOL(more),
    LIST(rows, row_count, CONTENT_PER_PAGE_MAX, content_row_record),
};
static const struct record content_page_record = RECORD_OF(content_page_fields);
#undef S

#define S node_row
static const struct field node_row_fields[] = {NAME(state, 1), SPAN(report_age),
                                               RECORD(report, report_record)};
static const struct record node_row_record = RECORD_OF(node_row_fields);
#undef S

#define S nodes_page
static const struct field nodes_page_fields[] = {
    U64(term),
    U64(map_version),
    U64(content_version),
    NAME(coordinator, 0),
    LIST(nodes, node_count, NODES_MAX, node_row_record),
};
static const struct record nodes_page_record = RECORD_OF(nodes_page_fields);
#undef S

/* ---- PLACE, APPLY, SOURCE ---- */

#define S run
static const struct field run_fields[] = {DEVICE(first), DEVICE(last)};
static const struct record run_record = RECORD_OF(run_fields);
#undef S

#define S place
static const struct field place_fields[] = {LIST(runs, run_count, RUNS_PER_BATCH_MAX, run_record)};
static const struct record place_record = RECORD_OF(place_fields);
#undef S

#define S place_reply
static const struct field place_reply_fields[] = {U64(map_version), U64(placed), U64(known)};
static const struct record place_reply_record = RECORD_OF(place_reply_fields);
#undef S

#define S apply
static const struct field apply_fields[] = {
    BOOL(dry_run),
    TEXTS(items, item_count, CONTENT_ITEMS_MAX, CONTENT_ITEM_BYTES_MAX),
    U8(mode, APPLY_FOR_ALL),
};
static const struct record apply_record = RECORD_SINCE(apply_fields, 2);
#undef S

#define S apply_reply
static const struct field apply_reply_fields[] = {
    U64(version),
    U32(created, UINT32_MAX),
    U32(changed, UINT32_MAX),
    U32(unchanged, UINT32_MAX),
};
static const struct record apply_reply_record = RECORD_OF(apply_reply_fields);
#undef S

#define S source_order
static const struct field source_order_fields[] = {
    TEXT(name, CONTENT_NAME_MAX),
    U8(state, SOURCE_CANCELLED),
    TEXT(because, LABEL_BYTES_MAX),
    U8(kind, CONTENT_CLUSTER),
    TIME(start_at),
    TIME(until),
};
static const struct record source_order_record = RECORD_SINCE(source_order_fields, 3);
#undef S

#define S source_reply
static const struct field source_reply_fields[] = {
    U64(version),
    U32(applied_count, PARTITIONS_MAX),
    TEXTS(missing, missing_count, PARTITIONS_MAX, NAME_BYTES_MAX),
};
static const struct record source_reply_record = RECORD_OF(source_reply_fields);
#undef S

/* ---- DEVICES, LEADS, ASK ---- */

#define S device_row
static const struct field device_row_fields[] = {
    DEVICE(device_id),
    TEXT(name, LABEL_BYTES_MAX),
    TEXT(transport, NAME_BYTES_MAX),
    TEXT(address, ADDRESS_BYTES_MAX),
    TEXT(token, DEVICE_TOKEN_BYTES_MAX),
    TEXT(zone, LABEL_BYTES_MAX),
    TEXT(account, LABEL_BYTES_MAX),
    TEXT(scope, LABEL_BYTES_MAX),
    TEXT(url, LABEL_BYTES_MAX),
    U32(min_delay_ms, UINT32_MAX),
    U32(max_delay_ms, UINT32_MAX),
    TEXT(quiet, 16),
    U32(daily_cap, DEVICE_CAP_NONE),
    U32(hourly_cap, DEVICE_CAP_NONE),
    TEXT(age, 16),
};
static const struct record device_row_record = RECORD_SINCE(device_row_fields, 11);
#undef S

#define S devices
static const struct field devices_fields[] = {
    NAME(partition, 1),
    BOOL(update),
    LIST(rows, row_count, DEVICES_PER_BATCH_MAX, device_row_record),
};
static const struct record devices_record = RECORD_OF(devices_fields);
#undef S

#define S lead_row
static const struct field lead_row_fields[] = {
    DEVICE(device_id),
    PHONE(phone),
    TEXT(name, ATTRIBUTE_BYTES_MAX),
    TEXT(trigger, ATTRIBUTE_BYTES_MAX),
    TEXT(attributes, LEAD_BYTES_MAX),
};
static const struct record lead_row_record = RECORD_OF(lead_row_fields);
#undef S

#define S leads
static const struct field leads_fields[] = {
    NAME(partition, 1),
    BOOL(update),
    LIST(rows, row_count, LEADS_PER_BATCH_MAX, lead_row_record),
    BOOL(refuse_shared),
};
static const struct record leads_record = RECORD_OF(leads_fields);
#undef S

#define S rows_reply
static const struct field rows_reply_fields[] = {
    CODES(verdicts, row_count, MAX_OF(LEADS_PER_BATCH_MAX, DEVICES_PER_BATCH_MAX), ROW_RETRY),
    TEXTS(reasons, reason_count, MAX_OF(LEADS_PER_BATCH_MAX, DEVICES_PER_BATCH_MAX),
          REASON_BYTES_MAX),
    U64(shared),
};
static const struct record rows_reply_record = RECORD_OF(rows_reply_fields);
#undef S

#define S ask
static const struct field ask_fields[] = {
    NAME(partition, 0),
    TEXT(question, LABEL_BYTES_MAX),
    TEXTS_HERE(arguments, argument_count, ARGUMENTS_MAX, ATTRIBUTE_BYTES_MAX),
    TEXT(cursor, LABEL_BYTES_MAX),
};
static const struct record ask_record = RECORD_OF(ask_fields);
static_assert(ARRAY_SIZE(((struct ask *) NULL)->arguments) == ARGUMENTS_MAX, "room for all");
#undef S

#define S cell
static const struct field cell_fields[] = {
    U32(kind, CELL_BOOL),
    I64(number),
    TEXT(text, CELL_BYTES_MAX),
};
static const struct record cell_record = RECORD_OF(cell_fields);
#undef S

/* An answer as it travels: the cells are one counted list, the rows follow from the columns. */
struct flat_answer {
    uint32_t column_count;
    struct slice *columns;
    uint32_t cell_count;
    struct cell *cells;
    struct slice cursor;
};
#define S flat_answer
static const struct field flat_answer_fields[] = {
    TEXTS(columns, column_count, COLUMNS_MAX, LABEL_BYTES_MAX),
    LIST(cells, cell_count, COLUMNS_MAX *ROWS_PER_PAGE_MAX, cell_record),
    TEXT(cursor, LABEL_BYTES_MAX),
};
static const struct record flat_answer_record = RECORD_OF(flat_answer_fields);
#undef S

#define S act
static const struct field act_fields[] = {
    NAME(partition, 0),
    TEXT(action, LABEL_BYTES_MAX),
    U32(column_count, ARGUMENTS_MAX),
    TEXTS(cells, cell_count, ARGUMENTS_MAX *ACT_ROWS_MAX, CONTENT_TEXT_BYTES_MAX),
};
static const struct record act_record = RECORD_OF(act_fields);
#undef S

static const struct record no_fields = {.fields = NULL, .field_count = 0, .bytes = 0};

/* ---- one row per kind: who may ask (MESSAGE_KINDS), and where its fields lie ---- */

enum answerer { COORDINATOR, NODE };

#define ASKED(member, record_) .asked = &(record_), .asked_at = offsetof(struct request, member)
#define ANSWERED(member, record_)                                                                  \
    .answered = &(record_), .answered_at = offsetof(struct reply, member)

static const struct {
    const struct record *asked, *answered;
    size_t asked_at, answered_at;
} bodies[] = {
    [MESSAGE_REGISTER] = {ASKED(report, report_record), ANSWERED(map, map_record)},
    [MESSAGE_REPORT] = {ASKED(report, report_record), ANSWERED(map, map_record)},
    [MESSAGE_MAP] = {ASKED(report, no_fields), ANSWERED(map, map_record)},
    [MESSAGE_CONTENT] = {ASKED(content, content_query_record),
                         ANSWERED(content, content_page_record)},
    [MESSAGE_NODES] = {ASKED(report, no_fields), ANSWERED(nodes, nodes_page_record)},
    [MESSAGE_PLACE] = {ASKED(place, place_record), ANSWERED(place, place_reply_record)},
    [MESSAGE_APPLY] = {ASKED(apply, apply_record), ANSWERED(apply, apply_reply_record)},
    [MESSAGE_SOURCE] = {ASKED(source, source_order_record), ANSWERED(source, source_reply_record)},
    [MESSAGE_DEVICES] = {ASKED(devices, devices_record), ANSWERED(rows, rows_reply_record)},
    [MESSAGE_LEADS] = {ASKED(leads, leads_record), ANSWERED(rows, rows_reply_record)},
    [MESSAGE_ASK] = {ASKED(ask, ask_record), ANSWERED(answer, flat_answer_record)},
    [MESSAGE_ACT] = {ASKED(act, act_record), ANSWERED(answer, flat_answer_record)},
};

static const struct {
    const char *name;
    unsigned roles;
    enum answerer answerer;
} kinds[] = {
#define X(name_, number, roles_, who) [number] = {#name_, (roles_), who},
    MESSAGE_KINDS(X)
#undef X
};
static_assert(ARRAY_SIZE(kinds) == ARRAY_SIZE(bodies), "every kind has its records");

#define KIND_MAX 255u /* numbers that may travel, known or not */

static bool
is_kind(unsigned number)
{
    return number < ARRAY_SIZE(kinds) && kinds[number].name;
}

const char *
message_kind_name(enum message_kind kind)
{
    return is_kind(kind) ? kinds[kind].name : "?";
}

bool
message_allowed(enum message_kind kind, unsigned role, bool at_coordinator)
{
    return is_kind(kind) && (kinds[kind].roles & role) != 0 &&
           (kinds[kind].answerer == COORDINATOR) == at_coordinator;
}

/* ---- arena: what a decoded message points into ---- */

#define CHUNK_BYTES_MIN  16384u
#define CHUNK_BYTES_KEPT (4u * 1024u * 1024u)

struct chunk {
    struct chunk *below;
    size_t used, room;
    max_align_t data[];
};

struct message {
    struct wire_reader *reader;
    struct wire_writer *writer;
    struct chunk *top;
};

struct message *
message_new(void)
{
    struct message *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->reader = wire_reader_new();
    m->writer = wire_writer_new();
    return m->reader && m->writer ? m : message_free(m);
}

static void
drop_chunks(struct chunk *c)
{
    while (c) {
        struct chunk *below = c->below;

        free(c);
        c = below;
    }
}

struct message *
message_free(struct message *m)
{
    if (!m)
        return NULL;
    wire_reader_free(m->reader);
    wire_writer_free(m->writer);
    drop_chunks(m->top);
    free(m);
    return NULL;
}

/* Keeps the top chunk, the largest, for the next message. */
static void
forget(struct message *m)
{
    struct chunk *keep = m->top;

    if (!keep)
        return;
    if (keep->room > CHUNK_BYTES_KEPT) {
        drop_chunks(keep);
        m->top = NULL;
        return;
    }
    drop_chunks(keep->below);
    keep->below = NULL;
    keep->used = 0;
}

void *
message_room(struct message *m, size_t bytes)
{
    size_t rounded = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    void *room;

    if (!m->top || rounded > m->top->room - m->top->used) {
        size_t least = m->top ? m->top->room * 2 : CHUNK_BYTES_MIN;
        size_t capacity = MAX_OF(least, rounded);
        struct chunk *c = malloc(sizeof(*c) + capacity);

        if (!c)
            return NULL;
        *c = (struct chunk){.below = m->top, .room = capacity};
        m->top = c;
    }
    room = (char *) m->top->data + m->top->used;
    m->top->used += rounded;
    memset(room, 0, rounded);
    return room;
}

static void *
room_for_record(void *m, size_t bytes)
{
    return message_room(m, bytes);
}

/* ---- answers: rows <-> one list of cells ---- */

static int
answer_flatten(const struct answer *a, struct flat_answer *ret)
{
    if (a->row_count > ROWS_PER_PAGE_MAX || a->column_count > COLUMNS_MAX ||
        (a->row_count > 0 && a->column_count == 0))
        return -EINVAL;
    *ret = (struct flat_answer){.column_count = a->column_count,
                                .columns = a->columns,
                                .cell_count = a->column_count * a->row_count,
                                .cells = a->cells,
                                .cursor = a->cursor};
    return 0;
}

static int
answer_shape(const struct flat_answer *flat, struct answer *ret)
{
    uint32_t columns = flat->column_count;
    uint32_t rows = columns ? flat->cell_count / columns : 0;

    if (rows * columns != flat->cell_count || rows > ROWS_PER_PAGE_MAX)
        return -EBADMSG;
    *ret = (struct answer){.column_count = columns,
                           .columns = flat->columns,
                           .row_count = rows,
                           .cells = flat->cells,
                           .cursor = flat->cursor};
    return 0;
}

/* ---- reading ---- */

/* Opens a copy of the body, so that texts live as long as the arena does, and reads the first two
 * elements. */
static int
read_start(struct message *m, struct slice body, unsigned *ret_kind)
{
    char *copy;
    uint64_t version;

    if (body.bytes > BODY_BYTES_MAX)
        return -EBADMSG;
    forget(m);
    copy = message_room(m, body.bytes);
    if (!copy)
        return -ENOMEM;
    if (body.bytes > 0)
        memcpy(copy, body.data, body.bytes);
    if (wire_read_open(m->reader, (struct slice){copy, body.bytes}) < 0)
        return -EBADMSG;
    (void) wire_read_record(m->reader, 5, 5);
    version = wire_read_u64(m->reader, UINT32_MAX);
    if (version != PROTOCOL_VERSION)
        return version == 0 ? -EBADMSG : -EPROTO;
    *ret_kind = (unsigned) wire_read_u64(m->reader, KIND_MAX);
    return 0;
}

int
message_read_request(struct message *m, struct slice body, struct request *ret)
{
    struct request q = {0};
    unsigned kind = 0;
    bool no_room = false;
    struct slice incarnation;
    int r;

    r = read_start(m, body, &kind);
    if (r < 0)
        return r;
    q.kind = kind;
    incarnation = wire_read_bytes(m->reader, sizeof(q.incarnation), sizeof(q.incarnation));
    if (incarnation.data)
        memcpy(&q.incarnation, incarnation.data, sizeof(q.incarnation));
    q.id = wire_read_u64(m->reader, UINT64_MAX);
    record_read(m->reader, is_kind(kind) ? bodies[kind].asked : &no_fields,
                (char *) &q + (is_kind(kind) ? bodies[kind].asked_at : 0), room_for_record, m,
                &no_room);
    if (wire_read_close(m->reader) < 0)
        return no_room ? -ENOMEM : -EBADMSG;
    *ret = q;
    return is_kind(kind) ? 0 : -ENOTSUP;
}

/* What the tables cannot say: relations between the fields of one answer. */
static bool
content_rises(const struct content_page *page)
{
    for (uint32_t i = 1; i < page->row_count; i++)
        if (page->rows[i - 1].version >= page->rows[i].version)
            return false;
    return true;
}

static bool
reasons_match(const struct rows_reply *rows)
{
    uint32_t refused = 0;

    for (uint32_t i = 0; i < rows->row_count; i++)
        refused += rows->verdicts[i] == ROW_REFUSED;
    return refused == rows->reason_count;
}

static bool
is_coherent(const struct reply *p)
{
    uint32_t at;

    if (bodies[p->kind].answered == &map_record)
        return rangemap_check(&p->map.ranges, p->map.partition_count, &at) == 0;
    if (bodies[p->kind].answered == &content_page_record)
        return content_rises(&p->content);
    if (bodies[p->kind].answered == &rows_reply_record)
        return reasons_match(&p->rows);
    return true;
}

static int
read_answered(struct message *m, unsigned kind, struct reply *p)
{
    struct flat_answer flat = {0};
    bool is_answer = kind == MESSAGE_ASK || kind == MESSAGE_ACT, no_room = false;

    if (!is_kind(kind))
        return -EBADMSG;
    record_read(m->reader, bodies[kind].answered,
                is_answer ? (void *) &flat : (char *) p + bodies[kind].answered_at, room_for_record,
                m, &no_room);
    if (wire_read_close(m->reader) < 0)
        return no_room ? -ENOMEM : -EBADMSG;
    if (is_answer)
        return answer_shape(&flat, &p->answer);
    return is_coherent(p) ? 0 : -EBADMSG;
}

int
message_read_reply(struct message *m, struct slice body, struct reply *ret)
{
    struct reply p = {0};
    unsigned kind = 0;
    int r;

    r = read_start(m, body, &kind);
    if (r < 0)
        return r;
    p.kind = kind;
    p.status = (enum message_status) wire_read_u64(m->reader, STATUS_FAILED);
    p.reason = wire_read_text(m->reader, REASON_BYTES_MAX);
    if (p.status == STATUS_OK) {
        r = read_answered(m, kind, &p);
    } else {
        if (!wire_read_nil(m->reader))
            wire_read_fail(m->reader);
        r = wire_read_close(m->reader);
    }
    if (r < 0)
        return r;
    *ret = p;
    return 0;
}

/* ---- writing ---- */

int
message_write_request(struct message *m, const struct request *q, struct slice *ret)
{
    struct wire_writer *w = m->writer;

    if (!is_kind(q->kind))
        return -EINVAL;
    wire_writer_reset(w);
    wire_array(w, 5);
    wire_u64(w, PROTOCOL_VERSION);
    wire_u64(w, q->kind);
    wire_bytes(w, &q->incarnation, sizeof(q->incarnation));
    wire_u64(w, q->id);
    record_write(w, bodies[q->kind].asked, (const char *) q + bodies[q->kind].asked_at);
    return wire_writer_done(w, ret);
}

static int
write_answered(struct wire_writer *w, const struct reply *p)
{
    struct flat_answer flat;
    const void *value = (const char *) p + bodies[p->kind].answered_at;

    if (p->kind == MESSAGE_ASK || p->kind == MESSAGE_ACT) {
        int r = answer_flatten(&p->answer, &flat);

        if (r < 0)
            return r;
        value = &flat;
    } else if (!is_coherent(p)) {
        return -EINVAL;
    }
    record_write(w, bodies[p->kind].answered, value);
    return 0;
}

int
message_write_reply(struct message *m, const struct reply *p, struct slice *ret)
{
    struct wire_writer *w = m->writer;
    int r;

    if (p->kind > KIND_MAX || p->status > STATUS_FAILED ||
        (p->status == STATUS_OK && !is_kind(p->kind)))
        return -EINVAL;
    wire_writer_reset(w);
    wire_array(w, 5);
    wire_u64(w, PROTOCOL_VERSION);
    wire_u64(w, p->kind);
    wire_u64(w, p->status);
    record_write_words(w, p->reason, REASON_BYTES_MAX);
    if (p->status == STATUS_OK) {
        r = write_answered(w, p);
        if (r < 0)
            return r;
    } else {
        wire_nil(w);
    }
    return wire_writer_done(w, ret);
}
