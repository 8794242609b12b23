/*
 * holder.h - becoming, staying and ceasing to be the coordinator that holds the catalog (DESIGN
 * §4.7).
 *
 * Flow, without a timer of its own. Every start takes a new term: at once when the last holder left
 * in order, else after its beat stood still for D on our own clock. A beat that moves belongs to a
 * living coordinator: this process must end. After a lost connection the catalog is read again
 * before anything is believed: still ours = go on with what it says, else fenced.
 */
#pragma once
#include "coordinator/ledger.h"
#include "coordinator/transition.h"

enum holder_state {
    HOLDER_AWAY,     /* no connection to the catalog */
    HOLDER_LOADING,  /* reading all of it */
    HOLDER_WATCHING, /* somebody held it: does the beat move? */
    HOLDER_TAKING,   /* term + 1 by compare-and-set */
    HOLDER_HOLDING,
    HOLDER_LEAVING, /* orderly stop: marking it free */
    HOLDER_GONE,    /* the end: refused, fenced, or left */
    HOLDER_STATE_COUNT
};
const char *holder_state_name(enum holder_state s);
bool holder_transition(unsigned index, struct transition *ret);

enum holder_news {
    HOLDER_LOADED,  /* image: all memory must become this; we hold the catalog */
    HOLDER_REFUSED, /* another coordinator is alive: end with exit code 1 */
    HOLDER_FENCED,  /* another coordinator took the catalog: end with exit code 1 */
    HOLDER_LEFT     /* after holder_leave: the catalog is free, or could not be told so */
};
typedef void holder_news_fn(void *arg, enum holder_news news, const struct ledger_image *image);

struct holder;
struct holder *holder_new(struct ledger *ledger, const struct uuid *incarnation, usec_t dead,
                          holder_news_fn *on_news, void *arg); /* NULL: out of memory */
struct holder *holder_free(struct holder *h); /* after the ledger's loop is done; NULL is fine */

enum holder_state holder_state(const struct holder *h);
void holder_up(struct holder *h, bool up); /* the ledger's connection */
/* Each beat interval: beats, watches, and raises our term above `term_heard`. */
void holder_tick(struct holder *h, usec_t now, uint64_t term_heard);
void holder_leave(struct holder *h);
/* Any write of anybody was answered LEDGER_FENCED. */
void holder_fenced(struct holder *h);
