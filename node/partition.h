/*
 * partition.h - one PostgreSQL partition: becoming its driver, staying it, letting go.
 *
 * Flow. Owns the partition's pool, its schedule and devices, its sender and audience. The state
 * table (connect, check, clear, take, quarantine, load, open; fenced; closed; stopping) is in
 * partition.c, printed by `fleetcast-node --fsm`. DESIGN §4.
 */
#pragma once
#include <uv.h>

#include "node/book.h"
#include "node/meter.h"
#include "node/quota.h"
#include "node/schedule.h"
#include "node/transport.h"
#include "proto/message.h"
#include "shared/clock.h"
#include "shared/dbpool.h"
#include "shared/rng.h"

struct partition;

struct timing {         /* DESIGN §4.9; asserted by timing_check */
    usec_t send_window; /* S: a send starts within it after its claim was sent */
    usec_t commit;      /* C: a tick's transaction */
    usec_t connect;
    usec_t quarantine; /* Q after a take that was not clean */
    usec_t dead;       /* D */
    usec_t watchdog;
    usec_t http; /* T_http */
    usec_t tick;
    usec_t gap_min; /* smallest min_delay the node accepts */
};
/* 0 or -EINVAL with the broken inequality in why. */
int timing_check(const struct timing *t, char *why, size_t why_size) _must_check_;

struct retention_settings {
    uint32_t message_days; /* days that messages, receipts and uses of triggers are kept */
    uint32_t direct_days;  /* direct messages that are over: text, phone and the caller's key */
    usec_t rest;           /* after a take, before anything old goes */
};

struct partition_config {
    const char *name; /* of the partition */
    const char *dsn;
    bool home;
    unsigned pool_max;
    const char *node; /* our name */
    struct uuid incarnation;
    const char *state_dir;    /* high-water file */
    const uint8_t *token_key; /* SECRET_KEY_BYTES, borrowed */
    const char *base_url;     /* of devices without a url */
    const char *version;      /* of the Cloud API */
    struct timing timing;
    struct warmup warmup; /* of devices that are new */
    struct retention_settings retention;
};

enum partition_state {
    PARTITION_DOWN,
    PARTITION_CHECKING,
    PARTITION_CLEARING,
    PARTITION_TAKING,
    PARTITION_QUARANTINE,
    PARTITION_LOADING,
    PARTITION_OPEN,
    PARTITION_CLOSED,
    PARTITION_FENCED,
    PARTITION_STOPPING,
    PARTITION_STOPPED
};
const char *partition_state_name(enum partition_state s);
void partition_print_fsm(void); /* mermaid on stdout */

/* Told when the state changed; exit_code != 0: the owner must end the process with it (78 = clone).
 */
typedef void partition_news_fn(void *arg, struct partition *p, int exit_code);

/* transport is shared by all partitions of the node; config is copied, its texts are borrowed. */
int partition_start(struct partition **ret, uv_loop_t *loop, const struct partition_config *config,
                    struct transport *transport, struct rng *rng, partition_news_fn *on_news,
                    void *arg) _must_check_;
/* Claims nothing more, lets the wire end (at most T_http + C), settles, marks owner.clean, closes;
 * news with PARTITION_STOPPED. */
void partition_drain(struct partition *p);
void partition_stop(struct partition *p); /* closes handles now */
/* After the loop closed its handles, and after the transport told the end of every send of it. */
struct partition *partition_free(struct partition *p);

const char *partition_name(const struct partition *p);
enum partition_state partition_state_of(const struct partition *p);
bool partition_may_write(const struct partition *p); /* open: intake may run */
bool partition_clock_ok(const struct partition *p);  /* the database's has not jumped */
uint64_t partition_epoch(const struct partition *p);
const char *partition_reason(const struct partition *p); /* "" or words */
struct dbpool *partition_pool(struct partition *p);
struct schedule *partition_devices(struct partition *p);
struct meter *partition_meter(struct partition *p);
unsigned partition_breakers_open(const struct partition *p, enum breaker_kind kind);
int64_t partition_db_now(const struct partition *p, usec_t now); /* unix usec by the kept offset */
/* Fills the figures of a report; texts are borrowed until the next call. */
void partition_report(struct partition *p, usec_t now, struct partition_report *ret);

/* Called by intake after its commit: create or update the device in memory, mark it low. */
int partition_device_changed(struct partition *p, int32_t device_id);
/* Called by intake after its commit: leads of the device have a trigger now. */
void partition_triggers_set(struct partition *p, int32_t device_id);
/* Called by uplink: a page of content with version > content_applied, ascending. 0, -EAGAIN
 * (previous page still being applied). */
int partition_apply_content(struct partition *p, const struct content_page *page) _must_check_;
uint64_t partition_content_applied(const struct partition *p);
uint64_t
partition_content_wanted(const struct partition *p); /* highest version handed over so far */
/* A statement came back with "the epoch is not mine" (intake, answers): judge and, if so, fence. */
void partition_suspect(struct partition *p);
