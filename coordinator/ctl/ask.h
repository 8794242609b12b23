/*
 * ask.h - one question, one answer: the cluster as the command sees it.
 *
 * Owns a private loop, the connection to the coordinator, one per node that was asked, and the map.
 * A question is asked again after RETRY, and after MOVED or silence with a fresh map, until its
 * time is over. Nothing is printed but by ask_failed. Ctrl-C ends a wait with -EINTR; a second one
 * ends the program.
 *
 * Errors: -ETIMEDOUT (no answer), -EAGAIN ("not now" until the end of the time), -EPERM (refused),
 * -EINVAL (the other side does not understand it), -EIO (it could not), -EINTR, -ENOENT (not in the
 * map or the peers file), -ENOMEM, -E2BIG, -EBADMSG, -EPROTO.
 */
#pragma once
#include <uv.h>

#include "coordinator/ctl/commands.h"
#include "proto/message.h"
#include "shared/base.h"
#include "shared/clock.h"

#define ASK_COORDINATOR_TIMEOUT (5 * USEC_PER_SEC)
#define ASK_DRIVER_TIMEOUT      (10 * USEC_PER_SEC)
#define ASK_ORDER_TIMEOUT       (20 * USEC_PER_SEC) /* SOURCE waits up to 10 s for the partitions */

struct asker;
/* Reads the configuration that `in` names. timeout: of every question, 0 = the defaults below. 0 or
 * an exit code, then the fault was printed. */
int asker_open(struct asker **ret, const struct invocation *in, usec_t timeout) _must_check_;
struct asker *
asker_free(struct asker *a); /* accepts NULL, returns NULL; drops what is unanswered */
bool asker_interrupted(const struct asker *a);
void asker_turn(struct asker *a, usec_t wait); /* what happens within `wait`, 0 = has happened */
int asker_wait(struct asker *a, usec_t span);  /* 0, or -EINTR */
const char *asker_why(const struct asker *a);  /* of the last failure, with who was asked */
const char *asker_config(const struct asker *a);

/* timeout 0: that of asker_open. *ret lives until the next ask_coordinator or ask_driver;
 * q's incarnation and id are filled in here. */
int ask_coordinator(struct asker *a, struct request *q, usec_t timeout,
                    struct reply *ret) _must_check_;
/* The map, fresh. It lives until the next ask_map; a retry inside an ask may load it anew, so take
 * names, not places, across asks. */
int ask_map(struct asker *a) _must_check_;
const struct map *asker_map(const struct asker *a);
/* The partition in whose range the device lies. -ENOENT: in none. The map must be loaded. */
int ask_place(const struct asker *a, int32_t device,
              char ret[static NAME_BYTES_MAX + 1]) _must_check_;
/* The partition's driver. */
int ask_driver(struct asker *a, struct slice partition, struct request *q, usec_t timeout,
               struct reply *ret) _must_check_;

struct question {
    const char *name;
    usec_t timeout; /* of one page, 0 = that of asker_open; longer than TRY_MAX: asked once only */
    unsigned argument_count;
    struct slice arguments[ARGUMENTS_MAX];
};
/* Non-zero ends the paging with that value. `page` is borrowed. */
typedef int ask_page_fn(void *arg, struct slice partition, const struct answer *page);
int ask_pages(struct asker *a, struct slice partition, const struct question *question,
              ask_page_fn *on_page, void *arg) _must_check_;
/* The same of every partition in turn; those that do not answer are named on stderr and counted.
 * 0, what on_page ended with, or -EINTR, -ENOMEM. The map must be loaded. */
int ask_all_partitions(struct asker *a, const struct question *question, ask_page_fn *on_page,
                       void *arg, unsigned *ret_silent) _must_check_;
static inline struct slice
ask_text(const char *text)
{
    return (struct slice){text, __builtin_strlen(text)};
}
/* Column of that name, or -1. */
int answer_column(const struct answer *page, const char *name);
/* The cell's integer or time; 0 for other kinds. */
int64_t answer_number(const struct answer *page, uint32_t row, int column);
struct slice answer_text(const struct answer *page, uint32_t row, int column);

/* One try without retries, for many at once. The reply is NULL unless err is 0 and is borrowed. */
typedef void ask_done_fn(void *arg, int err, const struct reply *reply);
int ask_send(struct asker *a, struct slice partition, struct request *q, usec_t timeout,
             ask_done_fn *done, void *arg) _must_check_;

const char *ask_why(const struct asker *a); /* the words of the last failure; "" */
/* "fleetcast: WHAT: WHY" and the next command; returns the exit code that belongs to err. */
int ask_failed(struct asker *a, int err, const char *what, ...) _printf_(3, 4);
/* The status of a reply as -errno. */
int ask_status_error(enum message_status status);
