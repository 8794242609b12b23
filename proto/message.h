/*
 * message.h - every message as a struct, its encoding, and who may send it.
 *
 * PROTOCOL.md is the contract; this is its letter. A request body is
 * [version, kind, incarnation(16 bytes), request_id, fields]; a reply body is
 * [version, kind, status, reason, fields | nil]. Requests are idempotent by their content. Decoding
 * gives structs whose texts and arrays live in the message's arena: valid until the next decode on
 * the same struct message, whatever becomes of the frame.
 */
#pragma once
#include "proto/limits.h"
#include "proto/rangemap.h"
#include "proto/seal.h"
#include "proto/wire.h"
#include "shared/base.h"
#include "shared/clock.h"
#include "shared/histogram.h"

#define PROTOCOL_VERSION 1u

/* X(NAME, number, roles that may ask, who answers) */
#define MESSAGE_KINDS(X)                                                                           \
    X(REGISTER, 1, ROLE_NODE, COORDINATOR)                                                         \
    X(REPORT, 2, ROLE_NODE, COORDINATOR)                                                           \
    X(MAP, 3, ROLE_NODE | ROLE_ADMIN | ROLE_OBSERVER, COORDINATOR)                                 \
    X(CONTENT, 4, ROLE_NODE | ROLE_ADMIN | ROLE_OBSERVER, COORDINATOR)                             \
    X(NODES, 5, ROLE_ADMIN | ROLE_OBSERVER, COORDINATOR)                                           \
    X(PLACE, 6, ROLE_ADMIN, COORDINATOR)                                                           \
    X(APPLY, 7, ROLE_ADMIN, COORDINATOR)                                                           \
    X(SOURCE, 8, ROLE_ADMIN, COORDINATOR)                                                          \
    X(DEVICES, 20, ROLE_ADMIN, NODE)                                                               \
    X(LEADS, 21, ROLE_ADMIN, NODE)                                                                 \
    X(ASK, 22, ROLE_ADMIN | ROLE_OBSERVER, NODE)                                                   \
    X(ACT, 23, ROLE_ADMIN, NODE)

enum message_kind {
#define X(name, number, roles, who) MESSAGE_##name = number,
    MESSAGE_KINDS(X)
#undef X
};
/* The one dispatch rule, default deny: may `role` ask this here? */
bool message_allowed(enum message_kind kind, unsigned role, bool at_coordinator);
const char *message_kind_name(enum message_kind kind); /* "REPORT"; "?" when unknown */

enum message_status {
    STATUS_OK = 0,
    STATUS_RETRY = 1,   /* not now: ask again later (moving, no driver, busy) */
    STATUS_MOVED = 2,   /* not here: ask the map again */
    STATUS_REFUSED = 3, /* a precondition fails: reason says which */
    STATUS_BAD = 4,     /* the request itself is wrong */
    STATUS_FAILED = 5   /* the database or the process could not */
};

/* ---- REGISTER, REPORT: node -> coordinator ---- */
struct partition_report {
    struct slice name;
    uint64_t epoch;
    uint8_t state;     /* enum partition_state of node/partition.h, shown as text below */
    struct slice gate; /* "open", "closed: durability", "taking", ... for people */
    struct slice reason;
    uint32_t timeline; /* high-water mark */
    uint64_t lsn;
    uint64_t content_applied;
    usec_t beat_age;
    uint64_t devices, live, due; /* enrollments in memory or counted at fill */
    usec_t oldest_due; /* backlog age: of the oldest row that only the gap holds; 0 = none */
    uint64_t sent, failed, unknown; /* since the process started */
    uint64_t doubts_open;
    uint32_t in_flight;
    uint32_t pool_busy, pool_max;
    uint32_t rate_milli;       /* messages per 1,000 s over the last 10 s */
    uint32_t plan_milli;       /* what its devices could send at mean gap */
    struct histogram lateness; /* since the process started; travels as sparse pairs */
};
struct report {
    struct uuid incarnation;
    struct slice name;
    struct slice version; /* of the program */
    struct slice rpc_address, health_address;
    uint32_t weight;
    uint64_t term, map_version, content_version; /* what the node holds now */
    usec_t loop_lag;
    uint32_t disk_used_percent;
    uint32_t partition_count;
    struct partition_report *partitions;
    bool stopping;
};
/* REGISTER is a report whose answer always carries the full state. */
struct map_partition {
    struct slice name;
    struct slice home;   /* node it was installed with */
    struct slice driver; /* node that drives it now; empty = nobody known */
};
struct map_node {
    struct slice name;
    struct slice rpc_address, health_address;
};
struct map { /* full desired state: REPORT / REGISTER / MAP reply */
    uint64_t term, version, content_version;
    bool full; /* false: only the three numbers above */
    uint32_t node_count;
    struct map_node *nodes;
    uint32_t partition_count;
    struct map_partition *partitions; /* index = range.partition */
    struct rangemap ranges;           /* ranges point into the arena: never rangemap_done it */
};

/* ---- CONTENT: pages of items with version > after ---- */
struct content_query {
    uint64_t after;
};
struct content_row {
    uint64_t version;
    uint8_t kind;       /* enum content_kind */
    int32_t id;         /* source id; 0 for a template */
    uint8_t state;      /* enum source_state of a campaign, a sequence, the cluster */
    int64_t started_at; /* unix usec, 0 = not started */
    struct slice json;  /* canonical item */
    uint32_t revision;  /* of a sequence, from 1; enrollments of revisions below all_revision... */
    uint32_t all_revision; /* ...follow the newest, others keep their own */
    int64_t until;         /* paused: it ends by itself then; 0 = by an order only */
    int64_t start_at;      /* draft: it starts by itself then; 0 = by an order only */
    struct slice because;  /* of the last order */
};
struct content_page {
    uint64_t version; /* the catalog's */
    bool more;        /* ask again after the last row's version */
    uint32_t row_count;
    struct content_row *rows; /* by version */
};

/* ---- NODES: the last report of every node, for status ---- */
struct node_row {
    struct slice state; /* ready, degraded, stopping, silent */
    usec_t report_age;
    struct report report;
};
struct nodes_page {
    uint64_t term, map_version, content_version;
    struct slice coordinator;
    uint32_t node_count;
    struct node_row *nodes;
};

/* ---- PLACE: sorted device IDs as runs; new ones become ranges ---- */
struct run {
    int32_t first, last;
};
struct place {
    uint32_t run_count;
    struct run *runs;
};
struct place_reply {
    uint64_t map_version;
    uint64_t placed, known;
};

/* ---- APPLY: content items; SOURCE: start / pause / resume / cancel of a source ---- */
enum apply_mode {
    APPLY_UNSAID,  /* an edit of a sequence that was started is refused */
    APPLY_FOR_NEW, /* who is enrolled keeps the revision that it was enrolled in */
    APPLY_FOR_ALL  /* who is enrolled goes on by the new one */
};
struct apply {
    bool dry_run;
    uint32_t item_count;
    struct slice *items; /* canonical JSON */
    uint8_t mode;        /* enum apply_mode */
};
struct apply_reply {
    uint64_t version;
    uint32_t created, changed, unchanged;
};
struct source_order {
    struct slice name;
    uint8_t state;        /* SOURCE_ACTIVE, SOURCE_PAUSED, SOURCE_CANCELLED */
    struct slice because; /* recorded in the audit log */
    uint8_t kind;         /* enum content_kind; 0 = campaign; the cluster can be paused, resumed */
    int64_t start_at;     /* start: not before then (unix usec); 0 = now */
    int64_t until;        /* pause: ends by itself then; 0 = by an order only */
};
struct source_reply {
    uint64_t version;
    uint32_t applied_count; /* partitions that applied within 10 s */
    uint32_t missing_count;
    struct slice *missing; /* names of those that did not: STATUS_OK all the same */
};

/* ---- DEVICES, LEADS: command -> driver ---- */
struct device_row {
    int32_t device_id;
    struct slice name, transport, address, token, zone, account, scope, url;
    uint32_t min_delay_ms, max_delay_ms;
    /* "" or 0: not said, an update leaves it as it is; "none" or DEVICE_CAP_NONE: no limit */
    struct slice quiet; /* "21:00-08:00", in its zone */
    uint32_t daily_cap, hourly_cap;
    struct slice age; /* for the warm-up: days, or the date of its day 0 */
};
#define DEVICE_CAP_NONE UINT32_MAX
#define DEVICE_CAP_MAX  1000000000u
struct devices {
    struct slice partition;
    bool update;
    uint32_t row_count;
    struct device_row *rows;
};
struct lead_row {
    int32_t device_id;
    uint64_t phone;
    struct slice name, trigger;
    struct slice attributes; /* JSON object text of the other columns; "" = none */
};
struct leads {
    struct slice partition;
    bool update;
    bool refuse_shared; /* a phone that another device of the account has is ROW_REFUSED */
    uint32_t row_count;
    struct lead_row *rows;
};
enum row_verdict {
    ROW_ACCEPTED = 0,
    ROW_DUPLICATE = 1,
    ROW_UPDATED = 2,
    ROW_REFUSED = 3,
    ROW_RETRY = 4
};
struct rows_reply { /* DEVICES and LEADS: one verdict per asked row, in order */
    uint32_t row_count;
    uint8_t *verdicts;
    uint32_t reason_count; /* of the refused ones, in order */
    struct slice *reasons;
    uint64_t shared; /* accepted leads whose phone another device of the account has too */
};

/* ---- ACT: one named action on rows at a driver; the answer has one row (verdict, detail) each */
struct act {
    struct slice partition;
    struct slice action; /* a row of node/acts.c, for example "optout.add" */
    uint32_t column_count;
    uint32_t cell_count; /* a multiple of column_count, at most ACT_ROWS_MAX rows */
    struct slice *cells; /* row-major */
};

/* ---- ASK: one named question to a driver; ANSWER: a page of a table ---- */
struct ask {
    struct slice partition;
    struct slice
        question; /* a row of node/answers.c, for example "devices", "messages", "progress" */
    uint32_t argument_count;
    struct slice arguments[8];
    struct slice cursor; /* "" = from the start; else as the last page gave it */
};
enum cell_kind { CELL_NULL, CELL_INT, CELL_TEXT, CELL_TIME /* unix usec */, CELL_BOOL };
struct cell {
    enum cell_kind kind;
    int64_t number;
    struct slice text;
};
struct answer {
    uint32_t column_count;
    struct slice *columns;
    uint32_t row_count;
    struct cell *cells;  /* row-major */
    struct slice cursor; /* "" = that was all */
};

struct request {
    enum message_kind kind;
    struct uuid incarnation; /* of the asking process */
    uint64_t id;
    union {
        struct report report; /* REGISTER, REPORT */
        struct content_query content;
        struct place place;
        struct apply apply;
        struct source_order source;
        struct devices devices;
        struct leads leads;
        struct ask ask;
        struct act act;
    };
};
struct reply {
    enum message_kind kind;
    enum message_status status;
    struct slice reason; /* for people; "" when OK */
    union {              /* fields travel only with STATUS_OK */
        struct map map;
        struct content_page content;
        struct nodes_page nodes;
        struct place_reply place;
        struct apply_reply apply;
        struct source_reply source;
        struct rows_reply rows;
        struct answer answer;
    };
};

struct message; /* reader, writer and arena; reuse one per purpose */
struct message *message_new(void);
struct message *message_free(struct message *m);
/* Decoded values of the last call live until the next decode on `m`. 0 or -EBADMSG, -EPROTO
 * (unknown version), -ENOMEM; drop the frame then. -ENOTSUP: a request of a kind that only a newer
 * asker knows; ret's kind, incarnation and id are set, answer STATUS_BAD. */
int message_read_request(struct message *m, struct slice body, struct request *ret) _must_check_;
int message_read_reply(struct message *m, struct slice body, struct reply *ret) _must_check_;
/* Encoded body is borrowed until the next write on `m`. 0, -ENOMEM, -E2BIG (does not fit a frame:
 * send less), -EINVAL (a value outside PROTOCOL.md's bounds). Texts for people (reason, gate) are
 * cut to fit instead. */
int message_write_request(struct message *m, const struct request *q,
                          struct slice *ret) _must_check_;
int message_write_reply(struct message *m, const struct reply *r, struct slice *ret) _must_check_;
/* Zeroed room in `m`'s arena for building a reply or request; lives until the next decode. NULL:
 * out of memory. */
void *message_room(struct message *m, size_t bytes);
