/*
 * fleet.h - who is in the cluster: nodes by their reports, partitions by home and driver, ranges.
 *
 * Pure: no I/O, no clock, no log; every call that needs time is handed `now` (BOOTTIME). Flows read
 * the fields, only fleet_* writes them. What must outlive the process is marked, handed out once by
 * fleet_changes and written by the ledger; a write that did not happen is marked again.
 */
#pragma once
#include "coordinator/place.h"
#include "coordinator/transition.h"
#include "proto/message.h"
#include "proto/rangemap.h"
#include "shared/clock.h"

#define FLEET_MARK_EVERY                                                                           \
    (10 * USEC_PER_SEC)                 /* LSN and content_applied reach the catalog so often */
#define FLEET_TERM_MAX (UINT64_MAX / 4) /* a bigint, with room for the terms that follow */

enum node_state {
    NODE_JOINING,
    NODE_READY,
    NODE_DEGRADED,
    NODE_STOPPING,
    NODE_SILENT,
    NODE_STATE_COUNT
};
const char *node_state_name(enum node_state s);

enum node_event {
    NODE_STARTED,        /* first report of an incarnation */
    NODE_ALL_OPEN,       /* report: every partition it drives is open */
    NODE_SOME_OPENING,   /* report: some are being taken, none is closed */
    NODE_SOME_CLOSED,    /* report: some are closed or fenced */
    NODE_SAYS_STOPPING,  /* report: it is on its way out */
    NODE_SILENT_TOO_LONG /* no report for D */
};
/* False: that event means nothing in that state, nothing changes. */
bool node_step(enum node_state *s, enum node_event e);
bool node_transition(unsigned index, struct transition *ret);

/* What the catalog keeps of a node. */
struct node_record {
    char name[NAME_BYTES_MAX + 1];
    struct uuid incarnation;
    char rpc_address[ADDRESS_BYTES_MAX + 1], health_address[ADDRESS_BYTES_MAX + 1];
    uint32_t weight;
};

/* What the catalog keeps of a partition. */
struct partition_record {
    char name[NAME_BYTES_MAX + 1];
    char home[NAME_BYTES_MAX + 1];
    char driver[NAME_BYTES_MAX + 1]; /* "" = nobody known */
    uint64_t epoch;                  /* high-water mark: the most that was ever seen */
    uint32_t timeline;
    uint64_t lsn;
    uint64_t content_applied;
};

struct fleet_node {
    struct node_record record;
    enum node_state state;
    usec_t reported_at;   /* of a node that has not reported to us: when we heard of it */
    struct report report; /* the last one; texts and arrays are the fleet's own */
    void *report_memory;
    bool changed;
};

struct fleet_partition {
    struct partition_record record;
    bool saved;   /* the catalog knows it, so ranges may point to it */
    bool changed; /* to be written */
    usec_t marked_at;
    struct partition_record marked; /* as last handed out for writing */
};

struct fleet {
    usec_t dead;          /* D */
    uint64_t map_version; /* as committed */
    uint64_t term_heard;  /* highest term in any report */
    bool map_changed;     /* what others see of nodes or partitions is newer than map_version */
    unsigned node_count;
    struct fleet_node nodes[NODES_MAX];
    unsigned partition_count;
    struct fleet_partition
        partitions[PARTITIONS_MAX]; /* index = range.partition; never reordered */
    struct rangemap ranges;
};

struct fleet *fleet_new(usec_t dead);
struct fleet *fleet_free(struct fleet *f); /* NULL is fine */

/* The catalog's content, all borrowed. range.partition = index into partitions. */
struct fleet_image {
    uint64_t map_version;
    unsigned node_count;
    const struct node_record *nodes;
    unsigned partition_count;
    const struct partition_record *partitions;
    struct rangemap ranges;
};
/*
 * At the start, and again after the catalog's connection was lost with writes in doubt: ranges,
 * versions and homes are the catalog's; what reports said since is kept and marked for writing.
 * 0, -ENOMEM, -E2BIG (more nodes or partitions than limits.h has), -EINVAL (a bad map).
 */
int fleet_restore(struct fleet *f, const struct fleet_image *image, usec_t now) _must_check_;

/*
 * Takes a report (the caller has checked that the name is the speaker's). 0; or the report is
 * refused and nothing changes, `why` says it for people: -EEXIST (a living process has this name),
 * -EPERM (a partition is at home elsewhere), -EINVAL (bad values), -ENOSPC (limits), -ENOMEM.
 */
int fleet_report(struct fleet *f, const struct report *report, usec_t now, char *why,
                 size_t why_size) _must_check_;
void fleet_tick(struct fleet *f, usec_t now);

/* What is to be written. Room for everything, so it lives on the heap of its user. */
struct fleet_changes {
    unsigned node_count;
    struct node_record nodes[NODES_MAX];
    unsigned partition_count;
    struct partition_record partitions[PARTITIONS_MAX];
    bool map_changed;
};
/* False when there is nothing to write; else fills *ret and unmarks. */
bool fleet_changes(struct fleet *f, struct fleet_changes *ret, usec_t now);
/* They were committed; map_version is what the catalog has now. */
void fleet_changes_saved(struct fleet *f, const struct fleet_changes *c, uint64_t map_version);
/* They were not, or it is not known: mark them again. */
void fleet_changes_lost(struct fleet *f, const struct fleet_changes *c);

/* New ranges were committed; *map is taken over. */
void fleet_ranges_saved(struct fleet *f, struct rangemap *map, uint64_t map_version);

const struct fleet_node *fleet_find_node(const struct fleet *f, const char *name);
/* Its driver reports it open, and is alive. */
bool fleet_partition_open(const struct fleet *f, unsigned index);
/* Fills ret[partition_count] for place_deal. */
void fleet_place_view(const struct fleet *f, struct place_partition ret[static PARTITIONS_MAX]);
/* Names of partitions whose content_applied < version; their count. Slices into the fleet. */
unsigned fleet_content_missing(const struct fleet *f, uint64_t version,
                               struct slice ret[static PARTITIONS_MAX]);
