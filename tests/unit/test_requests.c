/*
 * Who may ask what, and what the answer is. The socket and the catalog are doubles here: requests
 * come in as bytes, transactions end when the test says so.
 */
#include "coordinator/requests.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/orders.h"

/* ---- double of proto/rpc: the last answer, decoded ---- */

static rpc_request_fn *ask_server;
static void *server_arg;
static unsigned answer_count;
static struct rpc_ticket answered;
static struct message *answer_message;
static struct reply reply;
static uint64_t drops[SEAL_DROP_COUNT];

int
rpc_server_start(struct rpc_server **ret, uv_loop_t *loop, const char *url,
                 const struct identity *identity, const struct peers *peers,
                 rpc_request_fn *on_request, void *arg)
{
    ask_server = on_request;
    server_arg = arg;
    *ret = NULL;
    return 0;
}

int
rpc_reply(struct rpc_server *s, struct rpc_ticket ticket, struct slice body)
{
    answer_count++;
    answered = ticket;
    ck_assert_int_eq(message_read_reply(answer_message, body, &reply), 0);
    return 0;
}

const uint64_t *
rpc_server_drops(const struct rpc_server *s)
{
    return drops;
}

void
rpc_server_stop(struct rpc_server *s)
{
}

struct rpc_server *
rpc_server_free(struct rpc_server *s)
{
    return NULL;
}

/* ---- double of the ledger: one transaction at most, ended by finish() ---- */

static struct {
    bool held;
    uint64_t term, map_version;
    int64_t ahead; /* of our clock */
    unsigned place_count, content_count;
    ledger_map_fn *map;
    ledger_content_fn *content;
    void *arg;
    char audit_what[256], audit_who[64], audit_because[64];
} book;

static void
keep_audit(const struct ledger_audit *a)
{
    snprintf(book.audit_who, sizeof book.audit_who, "%.*s", (int) a->who.bytes, a->who.data);
    snprintf(book.audit_what, sizeof book.audit_what, "%.*s", (int) a->what.bytes, a->what.data);
    snprintf(book.audit_because, sizeof book.audit_because, "%.*s", (int) a->because.bytes,
             a->because.data);
}

int
ledger_place(struct ledger *l, const struct rangemap *from, const struct rangemap *to,
             const struct slice *names, const struct ledger_audit *audit, ledger_map_fn *done,
             void *arg)
{
    ck_assert_ptr_null(book.map);
    ck_assert_ptr_null(book.content);
    book.place_count++;
    book.map = done;
    book.arg = arg;
    keep_audit(audit);
    return 0;
}

int
ledger_content(struct ledger *l, const struct sources_change *change,
               const struct ledger_audit *audit, ledger_content_fn *done, void *arg)
{
    ck_assert_ptr_null(book.map);
    ck_assert_ptr_null(book.content);
    ck_assert_uint_eq(change->old_version + change->count, change->version);
    book.content_count++;
    book.content = done;
    book.arg = arg;
    keep_audit(audit);
    return 0;
}

static void
finish(enum ledger_outcome outcome)
{
    int64_t started[CONTENT_ITEMS_MAX];
    for (size_t i = 0; i < CONTENT_ITEMS_MAX; i++)
        started[i] = 1234567;
    ledger_map_fn *map = book.map;
    ledger_content_fn *content = book.content;
    book.map = NULL;
    book.content = NULL;
    ck_assert(map || content);
    if (map)
        map(book.arg, outcome, ++book.map_version);
    else
        content(book.arg, outcome, outcome == LEDGER_DONE ? started : NULL);
}

bool
ledger_held(const struct ledger *l)
{
    return book.held;
}

int64_t
ledger_db_now(const struct ledger *l, usec_t now)
{
    return (int64_t) now + book.ahead;
}

uint64_t
ledger_term(const struct ledger *l)
{
    return book.term;
}

const char *
ledger_error(const struct ledger *l)
{
    return "disk full";
}

/* ---- double of the holder ---- */

static unsigned fenced_count;

void
holder_fenced(struct holder *h)
{
    fenced_count++;
}

/* ---- fixture ---- */

static struct requests *r;
static struct fleet *fleet;
static struct sources *sources;
static struct message *ask_message;
static unsigned changed_count;
static struct peer node = {"n1", ROLE_NODE, {0}}, admin = {"ops", ROLE_ADMIN, {0}},
                   observer = {"eye", ROLE_OBSERVER, {0}}, twin = {"c2", ROLE_COORDINATOR, {0}};

static void
on_changed(void *arg)
{
    changed_count++;
}

static void
setup(void)
{
    memset(&book, 0, sizeof book);
    book.held = true;
    book.term = 3;
    answer_count = changed_count = fenced_count = 0;
    fleet = fleet_new(3 * USEC_PER_SEC);
    sources = sources_new();
    ask_message = message_new();
    answer_message = message_new();
    struct requests_config c = {.name = "c1",
                                .url = "tcp://127.0.0.1:1",
                                .fleet = fleet,
                                .sources = sources,
                                .changed = on_changed};
    ck_assert_int_eq(requests_start(&r, NULL, &c), 0);
}

static void
teardown(void)
{
    requests_stop(r);
    requests_free(r);
    sources_free(sources);
    fleet_free(fleet);
    message_free(ask_message);
    message_free(answer_message);
}

static struct slice
s(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static bool
is(struct slice text, const char *expected)
{
    return text.bytes == strlen(expected) && memcmp(text.data, expected, text.bytes) == 0;
}

#define ck_assert_text(slice_, expected)                                                           \
    ck_assert_msg(is(slice_, expected), "\"%.*s\" is not \"%s\"", (int) (slice_).bytes,            \
                  (slice_).data, expected)

static void
ask_as(const struct peer *who, struct request *q, uint32_t ticket)
{
    struct slice body;
    ck_assert_int_eq(message_write_request(ask_message, q, &body), 0);
    ask_server(server_arg, (struct rpc_ticket){.request = ticket}, who, body);
}

/* A request that is answered at once. */
static void
ask(const struct peer *who, struct request *q)
{
    unsigned before = answer_count;
    ask_as(who, q, 1);
    ck_assert_uint_eq(answer_count, before + 1);
    ck_assert_int_eq((int) reply.kind, (int) q->kind);
}

static void
check_refused(enum message_status status, const char *why)
{
    ck_assert_int_eq((int) reply.status, (int) status);
    ck_assert_text(reply.reason, why);
}

/* Node n1 drives p1, at home there, open; the catalog knows it. */
static void
join(uint64_t content_applied)
{
    struct partition_report p = {.name = s("p1"),
                                 .epoch = 1,
                                 .gate = s("open"),
                                 .content_applied = content_applied};
    struct request q = {.kind = MESSAGE_REGISTER,
                        .report = {.incarnation = {{7}},
                                   .name = s("n1"),
                                   .version = s("0.1"),
                                   .rpc_address = s("tcp://127.0.0.1:7410"),
                                   .health_address = s("127.0.0.1:7411"),
                                   .weight = 1,
                                   .partition_count = 1,
                                   .partitions = &p}};
    ask(&node, &q);
    ck_assert_int_eq((int) reply.status, STATUS_OK);
    static struct fleet_changes c;
    if (fleet_changes(fleet, &c, 1))
        fleet_changes_saved(fleet, &c, 1);
    book.map_version = fleet->map_version;
}

static const char hello[] = "{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"Hi {{name}}\"}";
static const char spring[] = "{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}";

static void
apply_as(const struct peer *who, bool dry_run, uint64_t id, unsigned count, const char *const *json)
{
    struct slice items[8];
    for (unsigned i = 0; i < count; i++)
        items[i] = s(json[i]);
    struct request q = {.kind = MESSAGE_APPLY,
                        .id = id,
                        .apply = {.dry_run = dry_run, .item_count = count, .items = items}};
    ask_as(who, &q, 1);
}

static void
apply(unsigned count, const char *const *json)
{
    unsigned writes = book.content_count;
    apply_as(&admin, false, 1, count, json);
    if (book.content_count > writes)
        finish(LEDGER_DONE);
}

static void
order_ticket(enum source_state state, uint64_t id, uint32_t ticket)
{
    struct request q = {.kind = MESSAGE_SOURCE,
                        .id = id,
                        .source = {.name = s("spring"),
                                   .state = (uint8_t) state,
                                   .because = s("asked for")}};
    ask_as(&admin, &q, ticket);
}

static void
order(enum source_state state)
{
    unsigned writes = book.content_count;
    order_ticket(state, 5, 1);
    if (book.content_count > writes)
        finish(LEDGER_DONE);
}

/* ---- who may ask ---- */

START_TEST(roles)
{
    static const struct {
        enum message_kind kind;
        unsigned allowed;
    } table[] = {
        {MESSAGE_REGISTER, ROLE_NODE},
        {MESSAGE_REPORT, ROLE_NODE},
        {MESSAGE_MAP, ROLE_NODE | ROLE_ADMIN | ROLE_OBSERVER},
        {MESSAGE_CONTENT, ROLE_NODE | ROLE_ADMIN | ROLE_OBSERVER},
        {MESSAGE_NODES, ROLE_ADMIN | ROLE_OBSERVER},
        {MESSAGE_PLACE, ROLE_ADMIN},
        {MESSAGE_APPLY, ROLE_ADMIN},
        {MESSAGE_SOURCE, ROLE_ADMIN},
        {MESSAGE_DEVICES, 0},
        {MESSAGE_LEADS, 0},
        {MESSAGE_ASK, 0},
        {MESSAGE_ACT, 0},
    };
    const struct peer *const peers[] = {&node, &admin, &observer, &twin};
    const struct partition_report p = {.name = s("p1"), .gate = s("open")};
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(peers); j++) {
            struct request q = {.kind = table[i].kind, .id = 100 * i + j};
            if (q.kind == MESSAGE_REGISTER || q.kind == MESSAGE_REPORT)
                q.report = (struct report){.name = s("n1"),
                                           .partition_count = 1,
                                           .partitions = (struct partition_report *) &p};
            if (q.kind == MESSAGE_SOURCE)
                q.source.name = s("spring");
            if (q.kind == MESSAGE_DEVICES)
                q.devices.partition = s("p1");
            if (q.kind == MESSAGE_LEADS)
                q.leads.partition = s("p1");
            if (q.kind == MESSAGE_ASK)
                q.ask = (struct ask){.partition = s("p1"), .question = s("devices")};
            if (q.kind == MESSAGE_ACT)
                q.act = (struct act){.partition = s("p1"), .action = s("send")};
            ask(peers[j], &q);
            char denied[128];
            snprintf(denied, sizeof denied, "role %s may not ask %s of the coordinator",
                     role_name(peers[j]->role), message_kind_name(q.kind));
            bool refused = is(reply.reason, denied);
            ck_assert_msg(refused == !(table[i].allowed & peers[j]->role), "%s: %.*s", denied,
                          (int) reply.reason.bytes, reply.reason.data);
            if (refused)
                ck_assert_int_eq((int) reply.status, STATUS_REFUSED);
        }
    }
    ck_assert_uint_eq(book.place_count + book.content_count, 0);
}
END_TEST

START_TEST(garbage_is_counted_and_not_answered)
{
    ask_server(server_arg, (struct rpc_ticket){0}, &admin, s("hello"));
    ask_server(server_arg, (struct rpc_ticket){0}, &admin, (struct slice){NULL, 0});
    struct request q = {.kind = MESSAGE_MAP};
    struct slice body;
    ck_assert_int_eq(message_write_request(ask_message, &q, &body), 0);
    ask_server(server_arg, (struct rpc_ticket){0}, &admin,
               (struct slice){body.data, body.bytes - 1});
    ck_assert_uint_eq(answer_count, 0);
    ck_assert_uint_eq(requests_bad_bodies(r), 3);
}
END_TEST

/* ---- reports ---- */

START_TEST(a_report_under_another_name)
{
    struct request q = {.kind = MESSAGE_REPORT, .report = {.name = s("n2")}};
    ask(&node, &q);
    check_refused(STATUS_REFUSED, "the key of n1 cannot report for node n2");
    ck_assert_uint_eq(fleet->node_count, 0);
    ck_assert_uint_eq(changed_count, 0);
}
END_TEST

START_TEST(a_living_twin)
{
    struct request q = {.kind = MESSAGE_REPORT, .report = {.incarnation = {{1}}, .name = s("n1")}};
    ask(&node, &q);
    ck_assert_int_eq((int) reply.status, STATUS_OK);
    q.report.incarnation.bytes[0] = 2;
    ask(&node, &q);
    check_refused(STATUS_REFUSED, "node n1 is already registered by another living process");
}
END_TEST

START_TEST(full_map_only_when_needed)
{
    join(0);
    ck_assert(reply.map.full);
    ck_assert_uint_eq(reply.map.term, 3);
    struct request q = {.kind = MESSAGE_REPORT,
                        .report = {.incarnation = {{7}},
                                   .name = s("n1"),
                                   .rpc_address = s("tcp://127.0.0.1:7410"),
                                   .term = 3,
                                   .map_version = 1}};
    ask(&node, &q);
    ck_assert(!reply.map.full);
    ck_assert_uint_eq(reply.map.version, 1);
    q.report.map_version = 0;
    ask(&node, &q);
    ck_assert(reply.map.full);
    q.report.map_version = 1;
    q.report.content_version = 9;
    ask(&node, &q);
    ck_assert(reply.map.full);
    q.report.content_version = 0;
    q.report.term = 2;
    ask(&node, &q);
    ck_assert(reply.map.full);
    ck_assert_uint_eq(reply.map.partition_count, 1);
    ck_assert_text(reply.map.partitions[0].driver, "n1");
    ck_assert_text(reply.map.nodes[0].rpc_address, "tcp://127.0.0.1:7410");
    q.report.term = 3;
    q.kind = MESSAGE_REGISTER;
    ask(&node, &q);
    ck_assert(reply.map.full);
}
END_TEST

START_TEST(reads_go_on_without_the_catalog)
{
    join(0);
    book.held = false;
    struct request q = {.kind = MESSAGE_MAP};
    ask(&observer, &q);
    ck_assert_int_eq((int) reply.status, STATUS_OK);
    ck_assert_uint_eq(reply.map.term, 3);
    q.kind = MESSAGE_NODES;
    ask(&observer, &q);
    ck_assert_uint_eq(reply.nodes.node_count, 1);
    ck_assert_text(reply.nodes.coordinator, "c1");
    ck_assert_text(reply.nodes.nodes[0].state, "ready");
    ck_assert_text(reply.nodes.nodes[0].report.partitions[0].gate, "open");
    struct run run = {1, 3};
    q = (struct request){.kind = MESSAGE_PLACE, .place = {1, &run}};
    ask(&admin, &q);
    check_refused(STATUS_RETRY, "the catalog cannot be reached now");
}
END_TEST

/* ---- PLACE ---- */

static void
place(int32_t first, int32_t last, uint64_t id, uint32_t ticket)
{
    struct run run = {first, last};
    struct request q = {.kind = MESSAGE_PLACE, .id = id, .place = {1, &run}};
    ask_as(&admin, &q, ticket);
}

START_TEST(place_needs_an_open_partition)
{
    place(1, 10, 1, 1);
    ck_assert_uint_eq(book.place_count, 0);
    ck_assert_int_eq((int) reply.status, STATUS_REFUSED);
}
END_TEST

START_TEST(place_is_answered_after_its_commit)
{
    join(0);
    answer_count = 0;
    place(1, 10, 1, 11);
    ck_assert_uint_eq(answer_count, 0);
    ck_assert_uint_eq(fleet->ranges.count, 0);
    ck_assert_str_eq(book.audit_who, "ops");
    ck_assert_str_eq(book.audit_what, "place 10 devices");
    finish(LEDGER_DONE);
    ck_assert_uint_eq(answer_count, 1);
    ck_assert_int_eq((int) reply.status, STATUS_OK);
    ck_assert_uint_eq(reply.place.placed, 10);
    ck_assert_uint_eq(reply.place.map_version, 2);
    ck_assert_uint_eq(fleet->ranges.count, 1);
    ck_assert_uint_eq(fleet->map_version, 2);
    place(1, 10, 2, 12); /* again: all known, nothing written */
    ck_assert_uint_eq(answer_count, 2);
    ck_assert_uint_eq(reply.place.known, 10);
    ck_assert_uint_eq(book.place_count, 1);
}
END_TEST

START_TEST(place_that_is_not_committed)
{
    join(0);
    place(1, 10, 1, 1);
    finish(LEDGER_DOUBT);
    check_refused(STATUS_RETRY, "the catalog's connection was lost in the middle: ask again");
    place(1, 10, 2, 1);
    finish(LEDGER_REFUSED);
    check_refused(STATUS_FAILED, "the catalog refused: disk full");
    ck_assert_uint_eq(fleet->ranges.count, 0);
    place(1, 10, 3, 1);
    finish(LEDGER_FENCED);
    ck_assert_uint_eq(fenced_count, 1);
    ck_assert_int_eq((int) reply.status, STATUS_FAILED);
}
END_TEST

START_TEST(places_run_one_after_the_other)
{
    join(0);
    answer_count = 0;
    place(1, 10, 1, 11);
    place(1, 20, 2, 12);
    place(21, 30, 3, 13);
    place(1, 20, 2, 22); /* the second once more, on a newer session */
    place(1, 10, 1, 21); /* and the one that is on its way */
    ck_assert_uint_eq(book.place_count, 1);
    finish(LEDGER_DONE);
    ck_assert_uint_eq(answer_count, 1);
    ck_assert_uint_eq(answered.request, 21);
    ck_assert_uint_eq(book.place_count, 2);
    finish(LEDGER_DONE);
    ck_assert_uint_eq(answer_count, 2);
    ck_assert_uint_eq(answered.request, 22);
    ck_assert_uint_eq(reply.place.placed, 10);
    ck_assert_uint_eq(reply.place.known, 10);
    finish(LEDGER_DONE);
    ck_assert_uint_eq(answered.request, 13);
    ck_assert_uint_eq(answer_count, 3);
    ck_assert_uint_eq(fleet->ranges.count, 1);
}
END_TEST

START_TEST(the_queue_is_bounded)
{
    join(0);
    answer_count = 0;
    for (unsigned i = 0; i <= ORDERS_QUEUED_MAX; i++)
        place(1, 10 + (int32_t) i, i + 1, i);
    ck_assert_uint_eq(answer_count, 0);
    place(1, 99, 99, 99);
    ck_assert_uint_eq(answer_count, 1);
    check_refused(STATUS_RETRY, "too many orders wait");
    /* what waits at the stop is neither answered nor leaked */
    requests_stop(r);
    finish(LEDGER_DOUBT);
    ck_assert_uint_eq(answer_count, 1);
}
END_TEST

/* ---- APPLY ---- */

START_TEST(apply_judges_all_or_nothing)
{
    static const struct {
        unsigned count;
        const char *items[3];
        enum message_status status;
        const char *why;
    } table[] = {
        {2, {hello, "{\"kind\":\"template\",\"name\":\"b\"}"}, STATUS_BAD, NULL},
        {2, {hello, "nonsense"}, STATUS_BAD, NULL},
        {1,
         {spring},
         STATUS_REFUSED,
         "campaign \"spring\" names template \"hello\", which does not exist"},
        {2, {hello, hello}, STATUS_BAD, "template \"hello\" is in the request twice"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        apply(table[i].count, table[i].items);
        ck_assert_int_eq((int) reply.status, (int) table[i].status);
        if (table[i].why)
            ck_assert_text(reply.reason, table[i].why);
        else
            ck_assert_int_eq(strncmp(reply.reason.data, "item 2: ", 8), 0);
    }
    ck_assert_uint_eq(book.content_count, 0);
    ck_assert_uint_eq(sources->count, 0);
}
END_TEST

START_TEST(apply_dry_run_writes_nothing)
{
    const char *items[] = {spring, hello};
    apply_as(&admin, true, 1, 2, items);
    ck_assert_int_eq((int) reply.status, STATUS_OK);
    ck_assert_uint_eq(reply.apply.created, 2);
    ck_assert_uint_eq(reply.apply.version, 0);
    ck_assert_uint_eq(book.content_count, 0);
    ck_assert_uint_eq(sources->count, 0);
}
END_TEST

START_TEST(apply_gives_versions_and_ids)
{
    const char *items[] = {spring, hello};
    apply(2, items);
    ck_assert_int_eq((int) reply.status, STATUS_OK);
    ck_assert_uint_eq(reply.apply.created, 2);
    ck_assert_uint_eq(reply.apply.version, 2);
    ck_assert_str_eq(book.audit_what, "apply-content hello spring");
    ck_assert_uint_eq(sources_find(sources, CONTENT_CAMPAIGN, "spring")->row.id, 1);
    ck_assert_uint_eq(sources_find(sources, CONTENT_TEMPLATE, "hello")->row.id, 0);
    apply(2, items); /* the same again */
    ck_assert_uint_eq(reply.apply.unchanged, 2);
    ck_assert_uint_eq(reply.apply.version, 2);
    ck_assert_uint_eq(book.content_count, 1);
    const char *second[] = {
        "{\"kind\":\"campaign\",\"name\":\"autumn\",\"template\":\"hello\"}", hello,
        "{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\",\"priority\":4}"};
    apply(3, second);
    ck_assert_uint_eq(reply.apply.created, 1);
    ck_assert_uint_eq(reply.apply.changed, 1);
    ck_assert_uint_eq(reply.apply.unchanged, 1);
    ck_assert_uint_eq(reply.apply.version, 4);
    ck_assert_uint_eq(sources_find(sources, CONTENT_CAMPAIGN, "autumn")->row.id, 2);
    ck_assert_uint_eq(sources_find(sources, CONTENT_CAMPAIGN, "spring")->row.id, 1);
    ck_assert_uint_eq(sources->count, 3);
}
END_TEST

START_TEST(a_started_campaign_keeps_audience_and_template)
{
    const char *items[] = {spring, hello};
    apply(2, items);
    order(SOURCE_ACTIVE);
    const char *other[] = {"{\"kind\":\"template\",\"name\":\"bye\",\"text\":\"Bye\"}",
                           "{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"bye\"}"};
    apply(2, other);
    check_refused(STATUS_REFUSED,
                  "campaign \"spring\" is active: its template cannot be changed any more");
    const char *audience[] = {"{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\","
                              "\"audience\":{\"where\":{\"city\":\"KL\"}}}"};
    apply(1, audience);
    check_refused(STATUS_REFUSED,
                  "campaign \"spring\" is active: its audience cannot be changed any more");
    const char *priority[] = {
        "{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\",\"priority\":4}"};
    apply(1, priority);
    ck_assert_int_eq((int) reply.status, STATUS_OK);
    ck_assert_uint_eq(reply.apply.changed, 1);
    const struct sources_item *now = sources_find(sources, CONTENT_CAMPAIGN, "spring");
    ck_assert_uint_eq(now->row.state, SOURCE_ACTIVE);
    ck_assert_int_eq(now->row.started_at, 1234567);
}
END_TEST

/* ---- SOURCE ---- */

START_TEST(every_order_in_every_state)
{
    /* "" = done; NULL = unchanged */
    static const char *const expected[4][3] = {
        [SOURCE_DRAFT] = {"", "campaign \"spring\" was not started yet: there is nothing to pause",
                          ""},
        [SOURCE_ACTIVE] = {NULL, "", ""},
        [SOURCE_PAUSED] = {"", NULL, ""},
        [SOURCE_CANCELLED] = {"campaign \"spring\" is cancelled, which is for ever",
                              "campaign \"spring\" is cancelled, which is for ever", NULL}};
    for (uint8_t from = 0; from < 4; from++) {
        for (uint8_t to = SOURCE_ACTIVE; to <= SOURCE_CANCELLED; to++) {
            struct sources_record records[] = {
                {s("hello"), {.version = 1, .kind = CONTENT_TEMPLATE, .json = s(hello)}},
                {s("spring"),
                 {.version = 2,
                  .kind = CONTENT_CAMPAIGN,
                  .id = 1,
                  .state = from,
                  .json = s(spring)}}};
            ck_assert_int_eq(sources_restore(sources, 2, records, 2), 0);
            unsigned writes = book.content_count;
            order((enum source_state) to);
            const char *want = expected[from][to];
            if (want && want[0] != '\0') {
                check_refused(STATUS_REFUSED, want);
                continue;
            }
            ck_assert_int_eq((int) reply.status, STATUS_OK);
            ck_assert_uint_eq(book.content_count, want ? writes + 1 : writes);
            ck_assert_uint_eq(reply.source.version, want ? 3 : 2);
        }
    }
}
END_TEST

START_TEST(an_unknown_campaign)
{
    order(SOURCE_ACTIVE);
    check_refused(STATUS_REFUSED, "there is no campaign \"spring\"");
}
END_TEST

START_TEST(source_waits_until_all_have_applied)
{
    join(0);
    const char *items[] = {spring, hello};
    apply(2, items);
    answer_count = 0;
    order_ticket(SOURCE_ACTIVE, 5, 51);
    finish(LEDGER_DONE);
    ck_assert_uint_eq(answer_count, 0);
    ck_assert_str_eq(book.audit_what, "campaign active spring");
    ck_assert_str_eq(book.audit_because, "asked for");
    order_ticket(SOURCE_ACTIVE, 5, 52); /* the asker lost patience: same request, newer session */
    ck_assert_uint_eq(answer_count, 0);
    requests_tick(r, clock_boot());
    ck_assert_uint_eq(answer_count, 0);
    struct partition_report p = {.name = s("p1"),
                                 .epoch = 1,
                                 .gate = s("open"),
                                 .content_applied = 3};
    struct request q = {
        .kind = MESSAGE_REPORT,
        .report = {.incarnation = {{7}}, .name = s("n1"), .partition_count = 1, .partitions = &p}};
    ask_as(&node, &q, 99); /* answers the report, then the order */
    ck_assert_uint_eq(answer_count, 2);
    ck_assert_int_eq((int) reply.kind, MESSAGE_SOURCE);
    ck_assert_uint_eq(answered.request, 52);
    ck_assert_uint_eq(reply.source.version, 3);
    ck_assert_uint_eq(reply.source.applied_count, 1);
    ck_assert_uint_eq(reply.source.missing_count, 0);
}
END_TEST

START_TEST(source_names_who_is_missing)
{
    join(0);
    const char *items[] = {spring, hello};
    apply(2, items);
    answer_count = 0;
    order_ticket(SOURCE_ACTIVE, 5, 51);
    finish(LEDGER_DONE);
    requests_tick(r, clock_boot() + ORDERS_WAIT - USEC_PER_SEC);
    ck_assert_uint_eq(answer_count, 0);
    requests_tick(r, clock_boot() + ORDERS_WAIT);
    ck_assert_uint_eq(answer_count, 1);
    ck_assert_uint_eq(answered.request, 51);
    ck_assert_int_eq((int) reply.status, STATUS_OK);
    ck_assert_uint_eq(reply.source.version, 3);
    ck_assert_uint_eq(reply.source.applied_count, 0);
    ck_assert_uint_eq(reply.source.missing_count, 1);
    ck_assert_text(reply.source.missing[0], "p1");
    requests_tick(r, clock_boot() + 2 * ORDERS_WAIT); /* once */
    ck_assert_uint_eq(answer_count, 1);
}
END_TEST

static int64_t
db_now(void)
{
    return ledger_db_now(NULL, clock_boot());
}

static void
order_at(const char *name, enum source_state state, int64_t start_at, int64_t until, uint64_t id)
{
    struct request q = {.kind = MESSAGE_SOURCE,
                        .id = id,
                        .source = {.name = s(name),
                                   .state = (uint8_t) state,
                                   .because = s("asked for"),
                                   .start_at = start_at,
                                   .until = until}};
    ask_as(&admin, &q, 1);
    finish(LEDGER_DONE);
}

static uint8_t
state_of(const char *name)
{
    return sources_find(sources, CONTENT_CAMPAIGN, name)->row.state;
}

#define HOUR (3600 * USEC_PER_SEC)

START_TEST(time_gives_orders_too)
{
    const char *items[] = {hello, spring,
                           "{\"kind\":\"campaign\",\"name\":\"autumn\",\"template\":\"hello\"}"};
    apply(3, items);
    order_at("spring", SOURCE_ACTIVE, db_now() + (int64_t) HOUR, 0, 5);
    ck_assert_str_eq(book.audit_what, "campaign scheduled spring");
    order_at("autumn", SOURCE_ACTIVE, db_now() + (int64_t) HOUR, 0, 6);
    unsigned writes = book.content_count, answers = answer_count;
    requests_tick(r, clock_boot() + HOUR - USEC_PER_SEC);
    ck_assert_uint_eq(book.content_count, writes);
    book.ahead = (int64_t) (2 * HOUR);
    requests_tick(r, clock_boot());
    ck_assert_uint_eq(book.content_count, ++writes);
    ck_assert_str_eq(book.audit_who, "coordinator");
    ck_assert_str_eq(book.audit_what, "campaign active spring");
    ck_assert_str_eq(book.audit_because, "its time came");
    ck_assert_uint_eq(state_of("spring"), SOURCE_DRAFT); /* not before the commit */
    finish(LEDGER_DONE);                                 /* the second one follows at once */
    ck_assert_uint_eq(state_of("spring"), SOURCE_ACTIVE);
    ck_assert_uint_eq(book.content_count, ++writes);
    finish(LEDGER_REFUSED); /* and is asked again, but not at once */
    requests_tick(r, clock_boot());
    ck_assert_uint_eq(book.content_count, writes);
    requests_tick(r, clock_boot() + 2 * USEC_PER_SEC);
    ck_assert_uint_eq(book.content_count, ++writes);
    finish(LEDGER_DONE);
    ck_assert_uint_eq(state_of("autumn"), SOURCE_ACTIVE);
    requests_tick(r, clock_boot() + 9 * USEC_PER_SEC);
    ck_assert_uint_eq(book.content_count, writes);
    ck_assert_uint_eq(answer_count, answers); /* nobody had asked */
}
END_TEST

START_TEST(a_pause_ends_by_time)
{
    const char *items[] = {hello, spring};
    apply(2, items);
    order(SOURCE_ACTIVE);
    order_at("spring", SOURCE_PAUSED, 0, db_now() + (int64_t) HOUR, 6);
    unsigned writes = book.content_count;
    book.ahead = (int64_t) (2 * HOUR);
    book.held = false; /* without the catalog nothing is ordered */
    requests_tick(r, clock_boot());
    ck_assert_uint_eq(book.content_count, writes);
    book.held = true;
    requests_tick(r, clock_boot());
    struct request q = {.kind =
                            MESSAGE_SOURCE, /* as if from nobody: the one in work is no answer */
                        .source = {.name = s("spring"), .state = SOURCE_CANCELLED}};
    ask_as(&admin, &q, 77);
    ck_assert_uint_eq(book.content_count, writes + 1);
    finish(LEDGER_DONE);
    ck_assert_uint_eq(state_of("spring"), SOURCE_ACTIVE);
    ck_assert_str_eq(book.audit_what, "campaign cancelled spring"); /* people come after time */
    finish(LEDGER_DONE);
    ck_assert_uint_eq(answered.request, 77);
    ck_assert_uint_eq(state_of("spring"), SOURCE_CANCELLED);
}
END_TEST

/* ---- CONTENT ---- */

START_TEST(content_in_pages)
{
    struct sources_record records[40];
    for (unsigned i = 0; i < ARRAY_SIZE(records); i++) {
        static char names[40][16];
        snprintf(names[i], sizeof names[i], "t%u", i);
        records[i] = (struct sources_record){
            s(names[i]), {.version = 10 + i, .kind = CONTENT_TEMPLATE, .json = s(hello)}};
    }
    ck_assert_int_eq(sources_restore(sources, 60, records, ARRAY_SIZE(records)), 0);
    struct request q = {.kind = MESSAGE_CONTENT};
    unsigned seen = 0, pages = 0;
    do {
        ask(&node, &q);
        ck_assert_uint_eq(reply.content.version, 60);
        ck_assert_uint_le(reply.content.row_count, CONTENT_PER_PAGE_MAX);
        for (uint32_t i = 0; i < reply.content.row_count; i++)
            ck_assert_uint_eq(reply.content.rows[i].version, 10 + seen++);
        q.content.after = reply.content.rows[reply.content.row_count - 1].version;
        pages++;
    } while (reply.content.more);
    ck_assert_uint_eq(seen, 40);
    ck_assert_uint_eq(pages, 3);
    ask(&node, &q);
    ck_assert_uint_eq(reply.content.row_count, 0);
    ck_assert(!reply.content.more);
}
END_TEST

START_TEST(large_content_fits_its_frames)
{
    char *json = malloc(CONTENT_ITEM_BYTES_MAX);
    memset(json, 'x', CONTENT_ITEM_BYTES_MAX);
    struct sources_record records[CONTENT_PER_PAGE_MAX];
    for (unsigned i = 0; i < ARRAY_SIZE(records); i++)
        records[i] = (struct sources_record){s("a"),
                                             {.version = i + 1,
                                              .kind = CONTENT_TEMPLATE,
                                              .json = {json, CONTENT_ITEM_BYTES_MAX}}};
    ck_assert_int_eq(sources_restore(sources, 16, records, ARRAY_SIZE(records)), 0);
    struct request q = {.kind = MESSAGE_CONTENT};
    ask(&admin, &q);
    ck_assert_int_eq((int) reply.status, STATUS_OK);
    ck_assert_uint_eq(reply.content.row_count, 15);
    ck_assert(reply.content.more);
    free(json);
}
END_TEST

START_TEST(content_that_does_not_restore)
{
    struct sources_record falling[] = {
        {s("a"), {.version = 2, .kind = CONTENT_TEMPLATE, .json = s(hello)}},
        {s("b"), {.version = 2, .kind = CONTENT_TEMPLATE, .json = s(hello)}}};
    ck_assert_int_eq(sources_restore(sources, 9, falling, 2), -EINVAL);
    struct sources_record ahead = {s("a"),
                                   {.version = 10, .kind = CONTENT_TEMPLATE, .json = s(hello)}};
    ck_assert_int_eq(sources_restore(sources, 9, &ahead, 1), -EINVAL);
    struct sources_record kind = {s("a"), {.version = 1, .kind = 9, .json = s(hello)}};
    ck_assert_int_eq(sources_restore(sources, 9, &kind, 1), -EINVAL);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("requests");
    TCase *t = tcase_create("requests");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, roles);
    tcase_add_test(t, garbage_is_counted_and_not_answered);
    tcase_add_test(t, a_report_under_another_name);
    tcase_add_test(t, a_living_twin);
    tcase_add_test(t, full_map_only_when_needed);
    tcase_add_test(t, reads_go_on_without_the_catalog);
    tcase_add_test(t, place_needs_an_open_partition);
    tcase_add_test(t, place_is_answered_after_its_commit);
    tcase_add_test(t, place_that_is_not_committed);
    tcase_add_test(t, places_run_one_after_the_other);
    tcase_add_test(t, the_queue_is_bounded);
    tcase_add_test(t, apply_judges_all_or_nothing);
    tcase_add_test(t, apply_dry_run_writes_nothing);
    tcase_add_test(t, apply_gives_versions_and_ids);
    tcase_add_test(t, a_started_campaign_keeps_audience_and_template);
    tcase_add_test(t, every_order_in_every_state);
    tcase_add_test(t, an_unknown_campaign);
    tcase_add_test(t, source_waits_until_all_have_applied);
    tcase_add_test(t, source_names_who_is_missing);
    tcase_add_test(t, time_gives_orders_too);
    tcase_add_test(t, a_pause_ends_by_time);
    tcase_add_test(t, content_in_pages);
    tcase_add_test(t, large_content_fits_its_frames);
    tcase_add_test(t, content_that_does_not_restore);
    suite_add_tcase(suite, t);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
