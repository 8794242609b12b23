/*
 * partition_inner.h - what the files of one partition's driver share: partition.c, take.c, load.c,
 * sender.c, settle.c, claim.c, audience.c, apply.c.
 *
 * Nobody else includes it. Order of calls: events go to partition_event (the state table); each
 * flow has a tick that does what is due and answers when it wants to be called again; after any
 * change that may let something start, partition_wake.
 */
#pragma once
#include <stdarg.h>

#include "node/book.h"
#include "node/highwater.h"
#include "node/pace.h"
#include "node/partition.h"
#include "node/store.h"

#define CLAIM_AHEAD  (100 * USEC_PER_MSEC) /* a device is claimed so long before its start */
#define READ_TIMEOUT (30 * USEC_PER_SEC)   /* fills and loads hold no lock */
#define LOAD_PAGE    1000
#define LOOK_AGAIN   USEC_PER_SEC /* closed: look again so often */

enum partition_event {
    EVENT_UP,         /* the tick lane is ready */
    EVENT_LOST,       /* its connection ended: what was not confirmed is in doubt */
    EVENT_AGAIN,      /* time to look again */
    EVENT_FIT,        /* every check passed: we may take */
    EVENT_UNFIT,      /* one did not; partition_reason tells */
    EVENT_CLEARED,    /* other sessions were told to end */
    EVENT_TAKEN,      /* epoch + 1 is ours */
    EVENT_OVERTAKEN,  /* somebody else was quicker */
    EVENT_RESTED,     /* the quarantine is over */
    EVENT_LOADED,     /* memory holds what is needed to send */
    EVENT_HIGHER,     /* the row names a higher epoch than ours */
    EVENT_DRAIN,      /* the owner wants us to end */
    EVENT_WIRE_EMPTY, /* nothing on the wire, every fact confirmed */
    EVENT_WIRE_OVER,  /* or it took too long */
    EVENT_RELEASED    /* the row says clean, or cannot be asked */
};

struct sender;
struct audience;
struct retention;
struct content_apply;
struct load;
struct zonedata;

struct partition {
    uv_loop_t *loop;
    struct partition_config config;
    struct transport *transport;
    struct rng *rng;
    partition_news_fn *on_news;
    void *news_arg;

    enum partition_state state;
    char reason[REASON_BYTES_MAX];
    uint64_t epoch;         /* the last one that was ours; 0 = never */
    bool clone;             /* fenced by our own name in another process */
    bool news_told;         /* of being fenced, once */
    uint64_t settled_epoch; /* older claims were settled in it: it may be released as clean */
    bool release_asked;
    const char *taken_how;
    uint64_t epoch_seen; /* by the check: the take compares with it */
    usec_t asked_at;     /* of the last take or beat */

    struct dbpool *pool;
    struct db_config pool_config;
    char application_name[64];
    uv_timer_t state_timer; /* retry, quarantine, bound of a stop */
    uv_timer_t beat_timer;
    uv_timer_t step_timer;
    usec_t step_due;
    unsigned timers_open;
    bool stopped;

    struct db_args timed_args;
    struct db_args args; /* of take and beat: borrowed for one submit */
    usec_t taken_at;     /* BOOTTIME of the take's commit */
    bool rest;           /* the take must wait Q */
    int64_t db_offset;   /* database time - BOOTTIME, by the sample with the shortest way */
    usec_t offset_error, offset_at;
    usec_t beat_at; /* last confirmed */
    bool beat_asked, days_asked;
    usec_t days_due;
    struct highwater mark;
    usec_t mark_written;

    struct schedule *devices;
    struct book *book;
    struct meter meter;
    struct sender *sender;
    struct audience *audience;
    struct retention *retention;
    struct content_apply *apply;
    struct load *load;
    struct zones *zones;
    struct zonedata *zonedata;
    bool clock_off; /* the database's clock jumped: nothing may be claimed, nothing expires */
    uint64_t content_applied;

    uint64_t doubts;     /* rows that stand as unknown */
    uint64_t live;       /* enrollments known, summed over devices */
    uint64_t plan_milli; /* what the devices could send at mean gap, per 1,000 s */
    uint64_t due;        /* last count of due entries, and the oldest */
    usec_t oldest_due, due_counted;
};

/* ---- partition.c ---- */
void partition_event(struct partition *p, enum partition_event event);
/* NULL: nothing is wrong any more. */
void partition_because(struct partition *p, const char *format, ...) _printf_(2, 3);
void partition_wake(struct partition *p);
void partition_arm_state(struct partition *p, usec_t in);
bool partition_may_claim(const struct partition *p);
/* What the gates of all devices share, for a send that would start at `at`. */
struct pace_now partition_pace_now(const struct partition *p, usec_t at);
/* STORE_LOCK_TIMED, for what claims, enrols or expires; and was it that which failed? Then the
 * clock is looked at. */
struct db_call partition_lock_timed(struct partition *p);
void partition_judge_refused(struct partition *p, const struct db_reply *reply);
bool partition_may_settle(const struct partition *p);
struct db *partition_tick_lane(struct partition *p);
/* A driver's row as read in a transaction: is it still ours? Sends EVENT_HIGHER if not. */
bool partition_judge(struct partition *p, int64_t epoch, struct slice driver,
                     const struct uuid *incarnation);
/* The reply of STORE_EPOCH: keeps the database's time, judges. */
bool partition_read_epoch(struct partition *p, const struct db_reply *reply, unsigned call,
                          usec_t submitted);
usec_t partition_boot_of(const struct partition *p, int64_t unix_usec);
void partition_log_refused(struct partition *p, const char *what, const struct db_reply *reply);

/* ---- take.c ---- */
void take_check(struct partition *p);
void take_clear(struct partition *p);
void take_take(struct partition *p);
void take_beat(struct partition *p);
void take_days(struct partition *p);
void take_release(struct partition *p);

/* ---- zonedata.c: offsets of the zones in use, from the database ---- */
int zonedata_new(struct zonedata **ret, struct partition *p) _must_check_;
struct zonedata *zonedata_free(struct zonedata *z);
/* Asks for what is not known or grows old; answers when it wants to be called again. */
usec_t zonedata_tick(struct zonedata *z, usec_t now);

/* ---- load.c ---- */
int load_new(struct load **ret, struct partition *p) _must_check_;
struct load *load_free(struct load *l);
void load_start(struct partition *p);
void load_tick(struct load *l);
/* The partition is open: every device is looked at, for leads and for rows. */
void load_open(struct partition *p);
int load_ask_device(struct load *l, int32_t device_id) _must_check_;
