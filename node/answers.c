/* answers.c - the table of questions, and how a page of rows becomes cells. */
#include "node/answers.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/explain.h"
#include "node/outcome.h"
#include "node/store.h"
#include "proto/token.h"
#include "shared/content.h"
#include "shared/parse.h"

#define QUERY_TIMEOUT  (60 * USEC_PER_SEC) /* verify reads whole tables */
#define PAGE_BYTES_MAX (BODY_BYTES_MAX - 64u * 1024u)
#define CELL_OVERHEAD  16u /* kind, number and lengths on the wire */
#define ARGS_BYTES     4096u
#define WORD_BYTES     128u /* of a text that is made here: token, hash */

enum column_kind {
    COLUMN_INT,
    COLUMN_TEXT,
    COLUMN_TIME,
    COLUMN_BOOL,
    COLUMN_MESSAGE_STATE,
    COLUMN_REASON,
    COLUMN_SOURCE_STATE,
    COLUMN_RESIDENCE,
    COLUMN_HASH, /* 64 bits as 16 hex digits */
    COLUMN_TOKEN /* the uuid; device_id is column 0, epoch comes hidden behind the last column */
};
struct column {
    const char *name;
    enum column_kind kind;
};

enum paging {
    PAGING_NONE,      /* one page; $1.. arguments */
    PAGING_NUMBER,    /* $1 column 0 of the last row, $2 rows, $3.. arguments */
    PAGING_TOKEN,     /* $1 claimed_at, $2 token of the last row, $3 rows, $4.. arguments */
    PAGING_STATEMENTS /* one page per statement: each may read a whole table */
};

enum argument {
    ARGUMENT_END,
    ARGUMENT_DEVICE,
    ARGUMENT_SINCE, /* may be absent */
    ARGUMENT_PHONE,
    ARGUMENT_NAME,  /* "" too */
    ARGUMENT_TOKEN, /* becomes device and uuid */
    ARGUMENT_LEAD   /* device_id, lead_no */
};

struct question {
    const char *name;
    unsigned statement, statement_count;
    enum paging paging;
    enum argument argument;
    unsigned column_count;
    const struct column *columns;
    explain_fn *explain; /* memory writes the rows; the statement's are its material */
};

#define MESSAGES_TOKEN   6u /* places of the cursor's columns in messages_columns */
#define MESSAGES_CLAIMED 8u

static const struct column device_columns[] = {
    {"device_id", COLUMN_INT},    {"name", COLUMN_TEXT},           {"transport", COLUMN_TEXT},
    {"address", COLUMN_TEXT},     {"residence", COLUMN_RESIDENCE}, {"health", COLUMN_INT},
    {"min_delay_ms", COLUMN_INT}, {"max_delay_ms", COLUMN_INT},    {"zone", COLUMN_TEXT},
    {"account", COLUMN_TEXT},     {"scope", COLUMN_TEXT},          {"url", COLUMN_TEXT},
    {"leads", COLUMN_INT},        {"has_token", COLUMN_BOOL},      {"quiet", COLUMN_TEXT},
    {"daily_cap", COLUMN_INT},    {"hourly_cap", COLUMN_INT},      {"warm_from", COLUMN_TEXT},
    {"paused", COLUMN_TEXT},      {"paused_because", COLUMN_TEXT},
};
static const struct column lead_columns[] = {
    {"lead_no", COLUMN_INT}, {"device_id", COLUMN_INT}, {"phone", COLUMN_INT},
    {"name", COLUMN_TEXT},   {"trigger", COLUMN_TEXT},  {"attributes", COLUMN_TEXT},
};
static const struct column message_columns[] = {
    {"device_id", COLUMN_INT},   {"phone", COLUMN_INT},           {"source", COLUMN_TEXT},
    {"step", COLUMN_INT},        {"state", COLUMN_MESSAGE_STATE}, {"reason", COLUMN_REASON},
    {"token", COLUMN_TOKEN},     {"provider_id", COLUMN_TEXT},    {"claimed_at", COLUMN_TIME},
    {"settled_at", COLUMN_TIME}, {"text_hash", COLUMN_HASH},      {"attempt", COLUMN_INT},
};
static const struct column progress_columns[] = {
    {"source_id", COLUMN_INT},       {"source", COLUMN_TEXT},  {"state", COLUMN_SOURCE_STATE},
    {"audience", COLUMN_INT},        {"enrolled", COLUMN_INT}, {"sent", COLUMN_INT},
    {"waiting", COLUMN_INT},         {"unknown", COLUMN_INT},  {"failed", COLUMN_INT},
    {"skipped", COLUMN_INT},         {"expired", COLUMN_INT},  {"cancelled", COLUMN_INT},
    {"not_in_audience", COLUMN_INT}, {"messages", COLUMN_INT},
};
static const struct column partition_columns[] = {
    {"partition", COLUMN_TEXT},   {"epoch", COLUMN_INT},       {"driver", COLUMN_TEXT},
    {"incarnation", COLUMN_TEXT}, {"gate", COLUMN_TEXT},       {"reason", COLUMN_TEXT},
    {"beat", COLUMN_INT},         {"clean", COLUMN_BOOL},      {"content_applied", COLUMN_INT},
    {"devices", COLUMN_INT},      {"leads_about", COLUMN_INT}, {"enrollments_about", COLUMN_INT},
    {"bytes", COLUMN_INT},
};
static const struct column epoch_columns[] = {
    {"epoch", COLUMN_INT},     {"driver", COLUMN_TEXT}, {"incarnation", COLUMN_TEXT},
    {"taken_at", COLUMN_TIME}, {"how", COLUMN_TEXT},
};
static const struct column optout_columns[] = {
    {"number", COLUMN_INT},  {"account", COLUMN_TEXT}, {"phone", COLUMN_INT},
    {"reason", COLUMN_TEXT}, {"at", COLUMN_TIME},      {"forgotten", COLUMN_INT},
};
static const struct column lead_of_phone_columns[] = {
    {"device_id", COLUMN_INT}, {"lead_no", COLUMN_INT},    {"phone", COLUMN_INT},
    {"name", COLUMN_TEXT},     {"trigger", COLUMN_TEXT},   {"attributes", COLUMN_TEXT},
    {"account", COLUMN_TEXT},  {"opted_out", COLUMN_BOOL},
};
static const struct column enrollment_columns[] = {
    {"source", COLUMN_TEXT},  {"kind", COLUMN_TEXT},     {"state", COLUMN_TEXT},
    {"revision", COLUMN_INT}, {"step", COLUMN_INT},      {"attempt", COLUMN_INT},
    {"due", COLUMN_TIME},     {"reason", COLUMN_REASON}, {"ended_at", COLUMN_TIME},
};
static const struct column trigger_columns[] = {
    {"at", COLUMN_TIME},
    {"trigger", COLUMN_TEXT},
    {"source", COLUMN_TEXT},
};
static const struct column column_columns[] = {{"name", COLUMN_TEXT}};
static const struct column position_columns[] = {
    {"revision", COLUMN_INT},
    {"step", COLUMN_INT},
    {"state", COLUMN_TEXT},
    {"count", COLUMN_INT},
};
static const struct column revision_columns[] = {{"revision", COLUMN_INT}, {"item", COLUMN_TEXT}};
static const struct column locate_columns[] = {
    {"device_id", COLUMN_INT}, {"partition", COLUMN_TEXT}, {"residence", COLUMN_RESIDENCE},
    {"moved_to", COLUMN_TEXT}, {"driver", COLUMN_TEXT},    {"epoch", COLUMN_INT},
};
static const struct column verify_columns[] = {
    {"check", COLUMN_TEXT},
    {"ok", COLUMN_BOOL},
    {"offences", COLUMN_INT},
    {"example", COLUMN_TEXT},
};

static const struct column explain_device_columns[] = {
    {"item", COLUMN_TEXT},
    {"verdict", COLUMN_TEXT},
    {"opens", COLUMN_TIME},
    {"detail", COLUMN_TEXT},
};
static const struct column explain_lead_columns[] = {
    {"device_id", COLUMN_INT}, {"lead_no", COLUMN_INT},  {"source", COLUMN_TEXT},
    {"kind", COLUMN_TEXT},     {"revision", COLUMN_INT}, {"step", COLUMN_INT},
    {"attempt", COLUMN_INT},   {"state", COLUMN_TEXT},   {"due", COLUMN_TIME},
    {"held_by", COLUMN_TEXT},  {"opens", COLUMN_TIME},   {"detail", COLUMN_TEXT},
};
static const struct column explain_message_columns[] = {
    {"at", COLUMN_TIME},
    {"event", COLUMN_TEXT},
    {"detail", COLUMN_TEXT},
};
static const struct column on_wire_columns[] = {{"on_wire", COLUMN_INT}};
static const struct column explain_source_columns[] = {
    {"bucket", COLUMN_TEXT},
    {"count", COLUMN_INT},
    {"detail", COLUMN_TEXT},
};
static const struct column capacity_columns[] = {
    {"devices", COLUMN_INT},    {"leads", COLUMN_INT},  {"rate_milli", COLUMN_INT},
    {"finish_at", COLUMN_TIME}, {"limit", COLUMN_TEXT}, {"devices_never", COLUMN_INT},
};

#define COLUMNS(array)   ARRAY_SIZE(array), array, NULL
#define EXPLAINED(name_) ARRAY_SIZE(name_##_columns), name_##_columns
#define VERIFY_COUNT     (STORE_VERIFY_CURSORS - STORE_VERIFY_EPOCHS + 1u)

static const struct question questions[] = {
    {"devices", STORE_ANSWER_DEVICES, 1, PAGING_NUMBER, ARGUMENT_END, COLUMNS(device_columns)},
    {"device", STORE_ANSWER_DEVICE, 1, PAGING_NONE, ARGUMENT_DEVICE, COLUMNS(device_columns)},
    {"leads", STORE_ANSWER_LEADS, 1, PAGING_NUMBER, ARGUMENT_DEVICE, COLUMNS(lead_columns)},
    {"messages", STORE_ANSWER_MESSAGES, 1, PAGING_TOKEN, ARGUMENT_SINCE, COLUMNS(message_columns)},
    {"progress", STORE_ANSWER_PROGRESS, 1, PAGING_NUMBER, ARGUMENT_END, COLUMNS(progress_columns)},
    {"partition", STORE_ANSWER_PARTITION, 1, PAGING_NONE, ARGUMENT_END, COLUMNS(partition_columns)},
    {"epochs", STORE_ANSWER_EPOCHS, 1, PAGING_NUMBER, ARGUMENT_END, COLUMNS(epoch_columns)},
    {"optouts", STORE_ANSWER_OPTOUTS, 1, PAGING_NUMBER, ARGUMENT_END, COLUMNS(optout_columns)},
    {"leads_by_phone", STORE_ANSWER_LEADS_BY_PHONE, 1, PAGING_NUMBER, ARGUMENT_PHONE,
     COLUMNS(lead_of_phone_columns)},
    {"lead_enrollments", STORE_ANSWER_ENROLLMENTS, 1, PAGING_NONE, ARGUMENT_LEAD,
     COLUMNS(enrollment_columns)},
    {"lead_triggers", STORE_ANSWER_TRIGGERS, 1, PAGING_NONE, ARGUMENT_LEAD,
     COLUMNS(trigger_columns)},
    {"lead_columns", STORE_ANSWER_COLUMNS, 1, PAGING_NONE, ARGUMENT_END, COLUMNS(column_columns)},
    {"sequence_positions", STORE_ANSWER_POSITIONS, 1, PAGING_NONE, ARGUMENT_NAME,
     COLUMNS(position_columns)},
    {"sequence_revisions", STORE_ANSWER_REVISIONS, 1, PAGING_NUMBER, ARGUMENT_NAME,
     COLUMNS(revision_columns)},
    {"locate", STORE_ANSWER_LOCATE, 1, PAGING_NONE, ARGUMENT_DEVICE, COLUMNS(locate_columns)},
    {"verify", STORE_VERIFY_EPOCHS, VERIFY_COUNT, PAGING_STATEMENTS, ARGUMENT_END,
     COLUMNS(verify_columns)},
    {"explain_device", STORE_EXPLAIN_DEVICE, 1, PAGING_NONE, ARGUMENT_DEVICE,
     EXPLAINED(explain_device), explain_device},
    {"explain_lead", STORE_EXPLAIN_LEAD, 1, PAGING_NONE, ARGUMENT_PHONE, EXPLAINED(explain_lead),
     explain_lead},
    {"explain_message", STORE_EXPLAIN_MESSAGE, 1, PAGING_NONE, ARGUMENT_TOKEN,
     EXPLAINED(explain_message), explain_message},
    {"explain_source", STORE_EXPLAIN_SOURCE, 1, PAGING_NONE, ARGUMENT_NAME,
     EXPLAINED(explain_source), explain_source},
    {"on_wire", STORE_EXPLAIN_ON_WIRE, 1, PAGING_NONE, ARGUMENT_NAME, EXPLAINED(on_wire),
     explain_on_wire},
    {"capacity", STORE_EXPLAIN_CAPACITY, 1, PAGING_NONE, ARGUMENT_NAME, EXPLAINED(capacity),
     explain_capacity},
};

struct answers {
    const struct replies *replies;
    struct db_args args;
    struct asked *asked[ANSWERS_WAITING_MAX]; /* NULL = free */
    unsigned waiting;
};

struct asked { /* a question that the database is answering */
    struct answers *answers;
    struct partition *partition;
    struct rpc_ticket ticket;
    struct uuid incarnation; /* of the asker; with its request id it names the request */
    uint64_t request_id;
    const struct question *question;
    unsigned at; /* PAGING_STATEMENTS: which of them */
};

int
answers_new(struct answers **ret, const struct replies *replies)
{
    struct answers *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    a->replies = replies;
    int err = db_args_init(&a->args, ARGS_BYTES);
    if (err < 0)
        free(a);
    else
        *ret = a;
    return err;
}

struct answers *
answers_free(struct answers *a)
{
    if (!a)
        return NULL;
    assert(a->waiting == 0);
    db_args_done(&a->args);
    free(a);
    return NULL;
}

/* ---- the question: cursor and arguments become parameters ---- */

static bool
put_number(struct db_args *args, struct slice text, uint64_t max)
{
    uint64_t number;
    if (parse_u64(text.data, text.bytes, 0, max, &number) < 0)
        return false;
    db_put_int8(args, (int64_t) number);
    return true;
}

/* "MICROSECONDS:UUID" of the last row */
static bool
put_token_cursor(struct db_args *args, struct slice cursor)
{
    struct uuid token = {{0}};
    uint64_t time = 0;
    const char *colon = cursor.bytes > 0 ? memchr(cursor.data, ':', cursor.bytes) : NULL;

    if (cursor.bytes > 0) {
        if (!colon)
            return false;
        size_t bytes = (size_t) (colon - cursor.data);
        struct slice id = {colon + 1, cursor.bytes - bytes - 1};
        if (parse_u64(cursor.data, bytes, 0, INT64_MAX, &time) < 0 ||
            token_uuid_parse(&token, id) < 0)
            return false;
    }
    db_put_time(args, (int64_t) time);
    db_put_uuid(args, &token);
    return true;
}

/* Unix microseconds, or 2026-11-24T14:00:00Z; "" = from the start. */
static bool
put_since(struct db_args *args, struct slice text)
{
    uint64_t usec = 0;
    char copy[32] = "";
    struct tm tm = {0};

    if (text.bytes > 0 && parse_u64(text.data, text.bytes, 0, INT64_MAX, &usec) < 0) {
        if (text.bytes >= sizeof(copy))
            return false;
        memcpy(copy, text.data, text.bytes);
        const char *end = strptime(copy, "%Y-%m-%dT%H:%M:%SZ", &tm);
        if (!end || *end)
            return false;
        usec = (uint64_t) timegm(&tm) * USEC_PER_SEC;
    }
    db_put_time(args, (int64_t) usec);
    return true;
}

static bool
put_cursor(struct db_args *args, struct asked *asked, struct slice cursor)
{
    uint32_t at = 0;
    switch (asked->question->paging) {
    case PAGING_NONE: return cursor.bytes == 0;
    case PAGING_NUMBER:
        if (!put_number(args, cursor.bytes > 0 ? cursor : (struct slice){"0", 1}, INT64_MAX))
            return false;
        break;
    case PAGING_TOKEN:
        if (!put_token_cursor(args, cursor))
            return false;
        break;
    case PAGING_STATEMENTS:
        if (cursor.bytes > 0 &&
            parse_u32(cursor.data, cursor.bytes, 1, asked->question->statement_count - 1, &at) < 0)
            return false;
        asked->at = at;
        return true;
    }
    db_put_int4(args, (int32_t) ROWS_PER_PAGE_MAX);
    return true;
}

static bool
put_token(struct db_args *args, struct slice text)
{
    struct token token;

    if (token_parse(&token, text) < 0)
        return false;
    db_put_int8(args, token.device_id);
    db_put_uuid(args, &token.id);
    return true;
}

static bool
put_arguments(struct db_args *args, enum argument kind, const struct ask *ask)
{
    struct slice first = ask->argument_count > 0 ? ask->arguments[0] : (struct slice){"", 0};
    switch (kind) {
    case ARGUMENT_END: return ask->argument_count == 0;
    case ARGUMENT_DEVICE: return ask->argument_count == 1 && put_number(args, first, DEVICE_ID_MAX);
    case ARGUMENT_SINCE: return ask->argument_count <= 1 && put_since(args, first);
    case ARGUMENT_PHONE: return ask->argument_count == 1 && put_number(args, first, INT64_MAX);
    case ARGUMENT_NAME:
        db_put_text(args, first);
        return ask->argument_count == 1 && first.bytes <= CONTENT_NAME_MAX;
    case ARGUMENT_TOKEN: return ask->argument_count == 1 && put_token(args, first);
    case ARGUMENT_LEAD:
        return ask->argument_count == 2 && put_number(args, first, DEVICE_ID_MAX) &&
               put_number(args, ask->arguments[1], INT32_MAX);
    }
    return false;
}

/* ---- the answer: a row's values become cells ---- */

struct page {
    struct cell *cells;
    char *words; /* room of the texts that are made here, WORD_BYTES each */
    size_t words_used, bytes;
    uint32_t rows;
    char cursor[64];
};

static const char *
residence_name(int64_t residence)
{
    static const char *const names[] = {"open", "frozen", "gone"};
    return residence >= 0 && residence < 3 ? names[residence] : "?";
}

static const char *
source_state_name(int64_t state)
{
    static const char *const names[] = {"active", "paused", "cancelled", "draft"};
    return state >= 0 && state < 4 ? names[state] : "?";
}

static struct cell
words(const char *text)
{
    return (struct cell){.kind = CELL_TEXT, .text = {text, strlen(text)}};
}

static struct cell
token_cell(const struct asked *asked, const struct db_reply *reply, unsigned row, unsigned column,
           char *room)
{
    struct token token = {
        .epoch = (uint64_t) db_get_int(reply, 0, row, asked->question->column_count),
        .device_id = (int32_t) db_get_int(reply, 0, row, 0),
        .id = db_get_uuid(reply, 0, row, column),
    };
    static_assert(WORD_BYTES > TOKEN_BYTES_MAX, "a token fits a word");
    snprintf(token.partition, sizeof(token.partition), "%s", partition_name(asked->partition));
    return (struct cell){.kind = CELL_TEXT, .text = {room, token_write(room, &token)}};
}

static struct cell
make_cell(const struct asked *asked, const struct db_reply *reply, unsigned row, unsigned column,
          struct page *page)
{
    enum column_kind kind = asked->question->columns[column].kind;
    char *room = page->words + page->words_used;

    if (db_is_null(reply, 0, row, column))
        return (struct cell){.kind = CELL_NULL};
    switch (kind) {
    case COLUMN_TEXT:
        return (struct cell){.kind = CELL_TEXT, .text = db_get_text(reply, 0, row, column)};
    case COLUMN_TIME:
        return (struct cell){.kind = CELL_TIME, .number = db_get_time(reply, 0, row, column)};
    case COLUMN_BOOL:
        return (struct cell){.kind = CELL_BOOL, .number = db_get_bool(reply, 0, row, column)};
    case COLUMN_TOKEN:
        page->words_used += WORD_BYTES;
        return token_cell(asked, reply, row, column, room);
    case COLUMN_HASH:
        page->words_used += WORD_BYTES;
        snprintf(room, WORD_BYTES, "%016" PRIx64, (uint64_t) db_get_int(reply, 0, row, column));
        return words(room);
    case COLUMN_INT:
        return (struct cell){.kind = CELL_INT, .number = db_get_int(reply, 0, row, column)};
    case COLUMN_MESSAGE_STATE:
        return words(message_state_name((int) db_get_int(reply, 0, row, column)));
    case COLUMN_REASON: return words(reason_name((int) db_get_int(reply, 0, row, column)));
    case COLUMN_SOURCE_STATE: return words(source_state_name(db_get_int(reply, 0, row, column)));
    case COLUMN_RESIDENCE: return words(residence_name(db_get_int(reply, 0, row, column)));
    }
    return (struct cell){.kind = CELL_NULL};
}

/* The cursor behind the page's last row. */
static void
make_cursor(const struct asked *asked, const struct db_reply *reply, struct page *page)
{
    unsigned last = page->rows - 1;
    char id[37];

    if (asked->question->paging == PAGING_NUMBER) {
        snprintf(page->cursor, sizeof(page->cursor), "%" PRId64, db_get_int(reply, 0, last, 0));
    } else if (asked->question->paging == PAGING_TOKEN) {
        struct uuid token = db_get_uuid(reply, 0, last, MESSAGES_TOKEN);
        token_uuid_write(id, &token);
        snprintf(page->cursor, sizeof(page->cursor), "%" PRId64 ":%s",
                 db_get_time(reply, 0, last, MESSAGES_CLAIMED), id);
    }
}

static bool
make_page(const struct asked *asked, const struct db_reply *reply, struct page *page)
{
    const struct question *question = asked->question;
    unsigned rows = db_rows(reply, 0);
    assert(rows <= ROWS_PER_PAGE_MAX && db_columns(reply, 0) >= question->column_count);

    *page = (struct page){
        .cells = calloc((size_t) rows * question->column_count + 1, sizeof(*page->cells)),
        .words = malloc((size_t) rows * 2 * WORD_BYTES + 1),
    };
    if (!page->cells || !page->words)
        return false;
    for (; page->rows < rows; page->rows++) {
        struct cell *cells = page->cells + (size_t) page->rows * question->column_count;
        size_t bytes = 0;
        for (unsigned c = 0; c < question->column_count; c++) {
            cells[c] = make_cell(asked, reply, page->rows, c, page);
            bytes += cells[c].text.bytes + CELL_OVERHEAD;
        }
        if (page->rows > 0 && page->bytes + bytes > PAGE_BYTES_MAX)
            break;
        page->bytes += bytes;
    }
    if (question->paging == PAGING_STATEMENTS) {
        if (asked->at + 1 < question->statement_count)
            snprintf(page->cursor, sizeof(page->cursor), "%u", asked->at + 1);
    } else if (page->rows < rows || rows == ROWS_PER_PAGE_MAX) {
        make_cursor(asked, reply, page);
    }
    return true;
}

static void
send_rows(const struct asked *asked, struct cell *cells, uint32_t rows, const char *cursor)
{
    const struct question *question = asked->question;
    struct slice names[COLUMNS_MAX];
    struct reply r = {.kind = MESSAGE_ASK,
                      .status = STATUS_OK,
                      .answer = {.column_count = question->column_count,
                                 .columns = names,
                                 .row_count = rows,
                                 .cells = cells,
                                 .cursor = {cursor, strlen(cursor)}}};

    for (unsigned c = 0; c < question->column_count; c++)
        names[c] = (struct slice){question->columns[c].name, strlen(question->columns[c].name)};
    replies_send(asked->answers->replies, asked->ticket, &r);
}

static void
no_memory(const struct asked *asked)
{
    replies_status(asked->answers->replies, asked->ticket, MESSAGE_ASK, STATUS_FAILED,
                   "out of memory");
}

static void
answer_page(const struct asked *asked, const struct db_reply *reply)
{
    struct page page;

    if (make_page(asked, reply, &page))
        send_rows(asked, page.cells, page.rows, page.cursor);
    else
        no_memory(asked);
    free(page.cells);
    free(page.words);
}

static void
answer_explained(const struct asked *asked, const struct db_reply *reply)
{
    struct explain e;

    if (explain_begin(&e, asked->partition, reply, asked->question->column_count) == 0) {
        asked->question->explain(&e);
        send_rows(asked, e.cells, e.row_count, "");
    } else {
        no_memory(asked);
    }
    explain_end(&e);
}

/* The asker heard nothing for a while and asked again on a new session: what the database is
 * working at is answered there, not worked out twice. */
static bool
is_asked_again(struct answers *a, struct rpc_ticket ticket, const struct request *q)
{
    for (unsigned n = 0; n < ANSWERS_WAITING_MAX; n++) {
        struct asked *asked = a->asked[n];
        if (!asked || asked->request_id != q->id ||
            memcmp(&asked->incarnation, &q->incarnation, sizeof(q->incarnation)) != 0)
            continue;
        asked->ticket = ticket;
        return true;
    }
    return false;
}

static void
keep(struct answers *a, struct asked *asked)
{
    unsigned n = 0;
    while (a->asked[n])
        n++;
    assert(n < ANSWERS_WAITING_MAX);
    a->asked[n] = asked;
    a->waiting++;
}

static void
forget(struct answers *a, struct asked *asked)
{
    unsigned n = 0;
    while (a->asked[n] != asked)
        n++;
    a->asked[n] = NULL;
    a->waiting--;
    free(asked);
}

static void
on_answered(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct asked *asked = arg;

    if (outcome == DB_DONE && asked->question->explain)
        answer_explained(asked, reply);
    else if (outcome == DB_DONE)
        answer_page(asked, reply);
    else if (outcome == DB_REFUSED)
        replies_status(asked->answers->replies, asked->ticket, MESSAGE_ASK, STATUS_FAILED,
                       db_message(reply));
    else
        replies_status(asked->answers->replies, asked->ticket, MESSAGE_ASK, STATUS_RETRY,
                       "the connection to the database was lost");
    forget(asked->answers, asked);
}

static const struct question *
find_question(struct slice name)
{
    for (size_t n = 0; n < ARRAY_SIZE(questions); n++)
        if (strlen(questions[n].name) == name.bytes &&
            memcmp(questions[n].name, name.data, name.bytes) == 0)
            return &questions[n];
    return NULL;
}

static void
submit(struct answers *a, struct asked *asked)
{
    struct dbpool *pool = partition_pool(asked->partition);
    const struct db_call call = {asked->question->statement + asked->at, &a->args};
    int err = -ENOTCONN;

    if (pool)
        err = db_submit(dbpool_lane(pool, LANE_QUERY), &call, 1, QUERY_TIMEOUT, on_answered, asked);
    if (err == 0) {
        keep(a, asked);
        return;
    }
    replies_status(a->replies, asked->ticket, MESSAGE_ASK, STATUS_RETRY,
                   err == -EAGAIN ? "busy" : "no database");
    free(asked);
}

void
answers_take(struct answers *a, struct partition *p, struct rpc_ticket ticket,
             const struct request *q)
{
    assert(q->kind == MESSAGE_ASK);
    if (is_asked_again(a, ticket, q))
        return;
    const struct question *question = find_question(q->ask.question);
    if (!question) {
        replies_status(a->replies, ticket, MESSAGE_ASK, STATUS_BAD, "no such question");
        return;
    }
    if (a->waiting == ANSWERS_WAITING_MAX) {
        replies_status(a->replies, ticket, MESSAGE_ASK, STATUS_RETRY, "too many questions wait");
        return;
    }
    struct asked *asked = calloc(1, sizeof(*asked));
    if (!asked) {
        replies_status(a->replies, ticket, MESSAGE_ASK, STATUS_FAILED, "out of memory");
        return;
    }
    *asked = (struct asked){.answers = a,
                            .partition = p,
                            .ticket = ticket,
                            .incarnation = q->incarnation,
                            .request_id = q->id,
                            .question = question};
    db_args_reset(&a->args);
    if (!put_cursor(&a->args, asked, q->ask.cursor) ||
        !put_arguments(&a->args, question->argument, &q->ask)) {
        replies_status(a->replies, ticket, MESSAGE_ASK, STATUS_BAD,
                       "an argument or the cursor is not of this question");
        free(asked);
        return;
    }
    submit(a, asked);
}
