/*
 * sources.h - all content as the catalog has it; judges what APPLY and SOURCE ask.
 *
 * Pure. A judged change is made in memory only after the ledger committed it (sources_commit, which
 * cannot fail). Versions rise by one per item; an item's version is the one at which it last
 * changed, so "everything after version v" is a page of the list. Source ids start at 1 and are
 * never reused: nothing is ever removed.
 */
#pragma once
#include "coordinator/transition.h"
#include "proto/message.h"
#include "shared/content.h"

struct sources_item {
    char name[CONTENT_NAME_MAX + 1];
    char because[LABEL_BYTES_MAX + 1];
    struct content_row row; /* json and because are the item's own */
};

struct sources {
    uint64_t version; /* content_version as committed */
    int32_t last_id;
    size_t bytes; /* of all json */
    uint32_t count, room;
    struct sources_item **items; /* by version */
};

struct sources *sources_new(void);
struct sources *sources_free(struct sources *s); /* NULL is fine */

struct sources_record { /* one row of the catalog; texts borrowed */
    struct slice name;
    struct content_row row;
};
/* Replaces everything by the catalog's rows. 0, -ENOMEM, -E2BIG, -EINVAL (bounds). */
int sources_restore(struct sources *s, uint64_t version, const struct sources_record *rows,
                    uint32_t count) _must_check_;

/* A judged change: complete new items with their versions. Nothing to write when count is 0. */
struct sources_change {
    uint64_t old_version, version;
    uint32_t created, changed, unchanged;
    uint32_t count;
    struct sources_item *items[CONTENT_ITEMS_MAX];
};
/*
 * STATUS_OK and *ret (sources_change_done frees it), or BAD, REFUSED, FAILED with `why` for people.
 * All or nothing: one bad item refuses all of them.
 */
enum message_status sources_judge_apply(struct sources *s, const struct apply *apply,
                                        struct sources_change *ret, char *why,
                                        size_t why_size) _must_check_;
/* As above for one source's state; ordering the state that is there is `unchanged`, and
 * ret->version is then the version that brought it. now: unix usec of the catalog. */
enum message_status sources_judge_order(struct sources *s, const struct source_order *order,
                                        int64_t now, struct sources_change *ret, char *why,
                                        size_t why_size) _must_check_;
/* What time itself orders: a draft whose start has come, a pause that is over. True: one change,
 * to be committed as an order is. -ENOMEM is false: the next look finds it again. */
bool sources_judge_due(struct sources *s, int64_t now, struct sources_change *ret);
/* started_at: as the catalog wrote it for each item of the change. */
void sources_commit(struct sources *s, struct sources_change *change, const int64_t *started_at);
void sources_change_done(struct sources_change *change);

/*
 * Items with version > after, by version: at most `max` and at most `bytes_max` of json (but one at
 * least). Their count; *ret_more = there are others behind. Rows borrow the items' texts.
 */
uint32_t sources_page(const struct sources *s, uint64_t after, uint32_t max, size_t bytes_max,
                      struct content_row *ret, bool *ret_more);
const struct sources_item *sources_find(const struct sources *s, enum content_kind kind,
                                        const char *name);
const char *source_state_name(enum source_state s);
bool source_transition(unsigned index, struct transition *ret);
