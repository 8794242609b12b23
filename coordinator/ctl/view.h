/*
 * view.h - the cluster's figures, gathered for the screens: nodes, partitions, sources, progress.
 *
 * Plain values copied out of the answers, so that a screen can be drawn after further questions.
 */
#pragma once
#include "coordinator/ctl/ask.h"
#include "shared/content.h"
#include "shared/histogram.h"

struct view_partition {
    char name[NAME_BYTES_MAX + 1], driver[NAME_BYTES_MAX + 1], home[NAME_BYTES_MAX + 1];
    bool reported; /* a driver's report tells of it; else only the map does */
    char gate[64], reason[REASON_BYTES_MAX + 1];
    uint64_t epoch, content_applied, lsn;
    uint32_t timeline;
    uint64_t devices, live, due, sent, failed, unknown, doubts;
    usec_t oldest_due, beat_age;
    uint32_t in_flight, pool_busy, pool_max, rate_milli, plan_milli;
    struct histogram lateness;
    uint64_t range_count;
};

struct view_node {
    char name[NAME_BYTES_MAX + 1], state[32], version[40];
    char rpc_address[ADDRESS_BYTES_MAX + 1], health_address[ADDRESS_BYTES_MAX + 1];
    usec_t report_age, loop_lag;
    uint32_t weight, disk_percent;
    uint64_t map_version, content_version;
};

struct view_progress {
    uint64_t audience, enrolled, sent, waiting, unknown, failed, skipped, expired, cancelled,
        not_in_audience, messages; /* messages: sends that the provider accepted, of all steps */
};

struct view_source {
    enum content_kind kind; /* campaign or sequence */
    char name[CONTENT_NAME_MAX + 1];
    char template_name[CONTENT_NAME_MAX + 1]; /* of a campaign */
    char trigger[CONTENT_TRIGGER_MAX + 1];    /* of a sequence */
    char next_sequence[CONTENT_NAME_MAX + 1];
    unsigned step_count;
    int32_t id;
    enum source_state state;
    uint64_t version;
    uint32_t revision, all_revision;
    int64_t started_at, not_after;
    int64_t start_at, until; /* 0 = none */
    char because[LABEL_BYTES_MAX + 1];
    char *json; /* heap */
    struct view_progress total;
    unsigned partition_count; /* that told their progress */
};

struct view {
    uint64_t term, map_version, content_version;
    char coordinator[NAME_BYTES_MAX + 1];
    unsigned node_count;
    struct view_node nodes[NODES_MAX];
    unsigned partition_count;
    struct view_partition partitions[PARTITIONS_MAX];
    unsigned source_count;
    struct view_source *sources;
    bool paused; /* the whole cluster, until then (0 = by an order only) */
    int64_t paused_until;
    char paused_because[LABEL_BYTES_MAX + 1];
    unsigned silent_count; /* partitions that did not tell their progress */
};

struct view *view_new(void);
struct view *view_free(struct view *v);
/* Map and last reports. 0 or as ask_coordinator. */
int view_cluster(struct view *v, struct asker *a) _must_check_;
/* Campaigns, then sequences of the catalog, and whether the cluster is paused. */
int view_sources(struct view *v, struct asker *a) _must_check_;
struct view_source *view_find_source(struct view *v, enum content_kind kind, const char *name);
/* Progress of every source from every partition. `each` (may be NULL) is told every row. */
typedef int view_progress_fn(void *arg, struct slice partition, struct view_source *source,
                             const struct view_progress *progress);
int view_progress(struct view *v, struct asker *a, view_progress_fn *each, void *arg) _must_check_;
/* Of one partition: 0, or as ask_driver. */
int view_progress_of(struct view *v, struct asker *a, struct slice partition,
                     view_progress_fn *each, void *arg) _must_check_;
const char *view_state_word(enum source_state state);
/* As view_state_word, but "scheduled" for a draft that starts by itself. */
const char *view_source_state(const struct view_source *s);
/* "campaign", "sequence" */
const char *view_kind_word(enum content_kind kind);
/* When and why it stands still: `starts 2026-11-24 14:00:00Z`, `paused until ...: "wrong price"`;
 * "" when it does not. Returns buf. */
#define VIEW_HELD_BYTES (LABEL_BYTES_MAX + 96u)
const char *view_held(char buf[static VIEW_HELD_BYTES], const struct view_source *s);
const char *view_pause_text(char buf[static VIEW_HELD_BYTES], int64_t until, const char *because);
