/*
 * store.h - a partition's tables in memory, and node/store.c's statements as functions on them.
 *
 * Modelled: rows, keys, the epoch's predicate, order and limits of answers, counters. Each function
 * stands beside its statement's name in store_functions[]; tests/sim/differential runs the same
 * calls on PostgreSQL and compares answers and tables. A transaction runs at one instant, at its
 * commit: what two of them see of each other half done is PostgreSQL's business, and that of
 * tests/integration/test_locks.c. Not modelled: the days of `message`, texts of zones, sizes,
 * plans.
 */
#pragma once
#include "node/store.h"
#include "tests/sim/values.h"

struct lead {
    int32_t lead_no;
    int64_t phone;
    char *name, *trigger, *attributes;
};
struct audience_row {
    int32_t source_id;
    int16_t priority;
    int32_t cursor, upto;
};
struct enrollment {
    int32_t source_id, lead_no;
    int16_t step, attempt, state, revision;
    int64_t due_at, epoch;
    struct uuid token;
};
struct end_row {
    int32_t source_id, lead_no;
    int16_t step, reason;
    int64_t ended_at;
};
struct direct_row {
    int32_t lead_no;
    int64_t phone, accepted_at, expires_at;
    char *key, *text;
};
#define ROWS(type)                                                                                 \
    struct {                                                                                       \
        type *at;                                                                                  \
        unsigned count, capacity;                                                                  \
    }
struct device_rec {
    int32_t device_id;
    int16_t residence, health;
    int32_t min_delay_ms, max_delay_ms, next_lead_no, next_direct_no;
    int64_t content_version;
    char *account, *scope, *transport, *address, *url, *zone, *name;
    uint8_t *token;
    unsigned token_bytes;
    /* pauses, quiet hours, caps and what of them is reserved */
    int64_t paused_until, hour;
    int32_t day, day_reserved, hour_reserved, warm_from, daily_cap, hourly_cap;
    char *quiet, *paused_because;
    ROWS(struct lead) leads;            /* by number */
    ROWS(struct audience_row) audience; /* by source */
    ROWS(struct enrollment) rows;       /* by source, lead */
    ROWS(struct end_row) ends;          /* by source, lead */
    ROWS(struct direct_row) direct;     /* by number */
};
struct progress {
    bool there;
    int64_t audience, not_in_audience, enrolled, sent, failed, unknown, expired, skipped, cancelled,
        messages;
};
struct source_rec {
    int32_t source_id;
    int16_t kind, state, priority, revision, all_revision;
    int64_t content_version, started_version, not_after, started_at, paused_until;
    char *name, *filter, *devices, *item, *trigger, *because;
    struct progress progress;
};
struct template_row {
    char *name, *item;
    int64_t content_version;
};
struct revision_row {
    int32_t source_id;
    int16_t revision;
    char *item;
};
struct optout_row {
    char *account;
    int64_t phone, number;
    char *reason;
};
struct message_row {
    int64_t claimed_at, settled_at, epoch, text_hash;
    struct uuid token;
    int32_t device_id, source_id, lead_no;
    int16_t step, attempt, state, reason;
};
struct receipt_row {
    int64_t at;
    struct uuid token;
    int16_t state, reason;
};
struct trigger_use_row {
    int64_t at;
    int32_t device_id, lead_no, source_id;
    char *trigger;
};
struct store {
    char partition[25];
    int64_t epoch, beat, content_applied, optout_number;
    char driver[25];
    struct uuid incarnation;
    bool clean;
    int64_t lsn;
    ROWS(struct device_rec) devices;     /* by id */
    ROWS(struct source_rec) sources;     /* by id */
    ROWS(struct template_row) templates; /* by name */
    ROWS(struct revision_row) revisions; /* by source, revision */
    ROWS(struct optout_row) optouts;     /* by account, phone */
    ROWS(struct message_row) messages;
    ROWS(struct receipt_row) receipts;
    ROWS(struct trigger_use_row) uses;
};

struct call {
    struct store *s;
    const struct values *in;
    struct db_reply *out;
    int64_t now;   /* of the transaction's start */
    int64_t clock; /* clock_timestamp() */
};
typedef void store_function(struct call *c);
extern store_function *const store_functions[STORE_COUNT]; /* NULL: not modelled */

void store_open(struct store *s, const char *partition);
void store_close(struct store *s);

struct device_rec *store_device(const struct store *s, int32_t device_id);
struct device_rec *store_device_new(struct store *s, int32_t device_id);
struct lead *store_lead(const struct device_rec *d, int32_t lead_no);
struct lead *store_lead_new(struct device_rec *d, int64_t phone); /* gets the next number */
struct source_rec *store_source(const struct store *s, int32_t source_id);
struct enrollment *store_row(const struct device_rec *d, int32_t source_id, int32_t lead_no);
bool store_opted_out(const struct store *s, const char *account, int64_t phone);
void store_set_text(char **text, const char *data, size_t bytes);

/* ---- between the files of the model ---- */
#define OPEN_END_ INT32_MAX

#define rows_insert(rows, place)                                                                   \
    ({                                                                                             \
        unsigned at_ = (place);                                                                    \
        rows_room((void **) &(rows)->at, &(rows)->count, &(rows)->capacity, sizeof(*(rows)->at),   \
                  at_);                                                                            \
        &(rows)->at[at_];                                                                          \
    })
#define rows_remove(rows, place)                                                                   \
    rows_close((rows)->at, &(rows)->count, sizeof(*(rows)->at), (place))
void rows_room(void **at, unsigned *count, unsigned *capacity, size_t size, unsigned place);
void rows_close(void *at, unsigned *count, size_t size, unsigned place);

bool mine(const struct call *c); /* the epoch in $1 */
bool source_is_open(const struct source_rec *s, int64_t now);
bool cluster_is_open(const struct store *s, int64_t now);
struct enrollment *row_new(struct device_rec *d, int32_t source_id,
                           int32_t lead_no); /* NULL: there */
void row_delete(struct device_rec *d, const struct enrollment *e);
struct end_row *end_find(const struct device_rec *d, int32_t source_id, int32_t lead_no);
void end_put(struct device_rec *d, int32_t source_id, int32_t lead_no, int16_t step, int16_t reason,
             int64_t at); /* nothing when it is there */
struct audience_row *audience_find(const struct device_rec *d, int32_t source_id);
struct direct_row *direct_find(const struct device_rec *d, int32_t lead_no);
bool json_contains(const char *attributes, const char *filter);
bool multirange_has(const char *ranges, int32_t value);
unsigned device_place(const struct store *s,
                      int32_t device_id); /* the first with that id or above */
unsigned lead_place(const struct device_rec *d, int32_t lead_no);
/* Where (source, lead) is or would be. */
unsigned row_place(const struct device_rec *d, int32_t source_id, int32_t lead_no);

/* One function per statement: model_<its name>, listed in statements.c. */
#define DECLARE(name) store_function model_##name
DECLARE(lock_shared);
DECLARE(lock_timed);
DECLARE(lock_exclusive);
DECLARE(epoch);
DECLARE(days);
DECLARE(take);
DECLARE(left_over);
DECLARE(beat);
DECLARE(release);
DECLARE(load_devices);
DECLARE(devices_by_id);
DECLARE(load_sources);
DECLARE(load_revisions);
DECLARE(load_templates);
DECLARE(load_optouts);
DECLARE(advance);
DECLARE(finish);
DECLARE(evidence);
DECLARE(refuse);
DECLARE(claim);
DECLARE(claim_direct);
DECLARE(fill);
DECLARE(live);
DECLARE(enrol);
DECLARE(enrol_lock);
DECLARE(enrol_trigger);
DECLARE(enrol_open);
DECLARE(trigger_back);
DECLARE(sweep);
DECLARE(restep);
DECLARE(put_templates);
DECLARE(put_sources);
DECLARE(audience);
DECLARE(applied);
DECLARE(pause_source);
DECLARE(give_back);
DECLARE(zones);
DECLARE(reserve);
DECLARE(optout_add);
DECLARE(optout_end);
DECLARE(optout_remove);
DECLARE(send);
DECLARE(lead_enrol);
DECLARE(lead_remove);
DECLARE(device_pause);
DECLARE(day_drop);
DECLARE(day_index);
DECLARE(old_receipts);
DECLARE(old_triggers);
DECLARE(old_direct);
#undef DECLARE
