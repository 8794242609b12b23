/*
 * sender_inner.h - slots of one sender, shared by sender.c, claim.c and settle.c.
 *
 * FREE -> ASKED -> READY -> WIRE -> FACT -> FREE; what the claim did not return goes ASKED ->
 * REFUSED -> FREE. While a transaction carries a slot (`carried`), only its end moves it.
 */
#pragma once
#include <sys/queue.h>

#include "node/sender.h"
#include "proto/token.h"

#define SLOT_ROOM (CONTENT_TEXT_BYTES_MAX + 4096u) /* text, then names and addresses */

enum slot_state { SLOT_FREE, SLOT_ASKED, SLOT_READY, SLOT_WIRE, SLOT_FACT, SLOT_REFUSED };
enum goal { GOAL_WAITING = 0, GOAL_UNKNOWN = 2, GOAL_ENDED = 3 }; /* of a row, as in the table */

struct fact {
    int16_t goal, to_step, to_attempt, to_revision;
    int16_t state, reason; /* of the message row; state 0 = none is written */
    int16_t ends_as;       /* GOAL_ENDED: how the enrollment counts; through a sequence = sent */
    int64_t due, at;
    int32_t next_source; /* GOAL_ENDED: it goes on there; 0 = nowhere */
    int16_t next_step, next_revision;
    int64_t next_due;
};

struct slot {
    TAILQ_ENTRY(slot) link; /* of free, facts or refused */
    struct heap_item start; /* READY: when the send starts */
    struct sender *sender;
    enum slot_state state;
    bool carried;
    bool confirmed; /* the transaction's answer names it */
    bool evidence;  /* the row was not claimed any more: is it unknown? */
    bool retold;    /* carried by a transaction that was lost: it may be recorded already */
    bool bare;      /* without its optional fields, on today's day: they made the batch fail */

    struct device *device; /* NULL: a left-over claim of a device that is not here */
    int32_t device_id;
    enum device_class class;
    struct entry entry;
    struct source *source;
    struct breaker *breakers[BREAKER_KIND_COUNT];
    struct uuid token;
    uint64_t epoch;
    usec_t send_by;
    usec_t ready;               /* from when on nothing but we held it */
    int32_t day, hour;          /* local ones that it counts in; QUOTA_UNIT_NONE: in none */
    uint32_t day_was, hour_was; /* reserved before it */

    struct fact fact;
    uint64_t text_hash;
    struct outgoing out;
    struct slice parameters[CONTENT_PARAMETERS_MAX];
    char token_text[TOKEN_BYTES_MAX + 1];
    uint8_t bearer[DEVICE_TOKEN_BYTES_MAX];
    char provider_id[PROVIDER_ID_BYTES_MAX];
    uint8_t provider_id_bytes;
    char *room; /* SLOT_ROOM bytes */
    size_t room_used;
};
TAILQ_HEAD(slot_queue, slot);

struct slot_list {
    unsigned count;
    struct slot *slots[CLAIM_BATCH_MAX];
};

/* Columns of one statement, gathered before they become arrays. */
struct columns {
    int32_t n[CLAIM_BATCH_MAX], device_id[CLAIM_BATCH_MAX], source_id[CLAIM_BATCH_MAX],
        lead_no[CLAIM_BATCH_MAX];
    struct uuid token[CLAIM_BATCH_MAX];
    int16_t goal[CLAIM_BATCH_MAX], to_step[CLAIM_BATCH_MAX], to_attempt[CLAIM_BATCH_MAX],
        to_revision[CLAIM_BATCH_MAX], state[CLAIM_BATCH_MAX], reason[CLAIM_BATCH_MAX],
        step[CLAIM_BATCH_MAX], attempt[CLAIM_BATCH_MAX], ends_as[CLAIM_BATCH_MAX],
        next_step[CLAIM_BATCH_MAX], next_revision[CLAIM_BATCH_MAX];
    int32_t next_source[CLAIM_BATCH_MAX];
    int64_t next_due[CLAIM_BATCH_MAX];
    int64_t due[CLAIM_BATCH_MAX], at[CLAIM_BATCH_MAX], claimed_at[CLAIM_BATCH_MAX],
        text_hash[CLAIM_BATCH_MAX];
    struct slice provider_id[CLAIM_BATCH_MAX];
};

/* The parts of a tick's transaction; index of lists, args and of the reply's calls. */
enum tick_part {
    PART_ADVANCE,
    PART_FINISH,
    PART_EVIDENCE,
    PART_REFUSE,
    PART_RESERVE, /* slots of PART_CLAIM whose device needs a block of its allowance */
    PART_CLAIM,
    PART_CLAIM_DIRECT, /* only when one is asked for */
    PART_COUNT
};

struct sender {
    struct partition *p;
    struct slot *slots;
    char *rooms;
    unsigned count, busy, on_wire, ready;
    struct slot_queue free, facts, refused;
    struct heap starting;

    bool ticking;
    usec_t tick_sent, not_before;
    usec_t epoch_read;     /* when a transaction that asked for it was sent */
    int epoch_call;        /* where its result is in the reply; -1 = not asked */
    unsigned no_day_count; /* refusals in a row because a day of `message` is not there */
    unsigned fact_limit;   /* halved while a batch is refused, down to the row that does it */
    struct slot_list parts[PART_COUNT];
    int calls[PART_COUNT]; /* where its result is in the reply; -1 = not asked */
    struct db_args args[PART_COUNT];
    struct columns columns;
    struct device **giving; /* at a stop: who gives back what was reserved */
    unsigned giving_count, giving_at;
    void (*given)(struct partition *p);
    uint8_t random[CLAIM_BATCH_MAX][10];
};

/* ---- sender.c ---- */
struct slot *slot_take(struct sender *s);
void slot_give(struct slot *slot);
void slot_to_fact(struct slot *slot);
/* The slot's device may send again; looks at it when its gap ends. */
void slot_release_device(struct slot *slot);
void slot_unclaim(struct slot *slot); /* its breakers: it never reached the wire */
void slot_rejoin(struct slot *slot, const struct entry *entry);
bool slot_may_start(const struct slot *slot, usec_t now);
static inline int32_t
slot_index(const struct slot *slot)
{
    return (int32_t) (slot - slot->sender->slots);
}

/* ---- claim.c ---- */
/* Fills parts[PART_CLAIM] with the rows to ask for; devices that may not send get their next turn.
 */
void claim_choose(struct sender *s, usec_t now);
void claim_encode(struct sender *s, enum tick_part part);
void claim_answered(struct sender *s, enum tick_part part, const struct db_reply *reply);
void claim_undone(struct sender *s); /* rolled back: as if never asked */
void refuse_encode(struct sender *s);
void refuse_answered(struct sender *s, const struct db_reply *reply);

/* ---- reserve.c: allowances of the local day and hour ---- */
/* The send that starts then counts; its device's block is reserved when need be. */
void reserve_count(struct slot *slot, int64_t db_at);
void reserve_uncount(struct slot *slot); /* it never reached the wire */
void reserve_encode(struct sender *s);
void reserve_undone(struct sender *s); /* rolled back: the rows say what they said before */
/* It is still the day and the hour that it counts in. */
bool reserve_still(const struct slot *slot, int64_t db_now);

/* ---- follow.c: what a fact says of its row, without the database ---- */
/* Waits for the same step again, due at `due`. state 0: it never left. */
void follow_wait(struct slot *slot, int state, enum reason reason, usec_t at, int64_t due,
                 unsigned attempt);
void follow_unknown(struct slot *slot, enum reason reason, usec_t at);
/* The step is over: the next one waits, its delay counted from `at`; or the row is through, and
 * goes on in the next sequence. */
void follow_step(struct slot *slot, int state, enum reason reason, usec_t at);
/* The step failed, or was skipped (also: over its time): the sequence's rules decide. */
void follow_failed(struct slot *slot, enum reason reason, usec_t at);
void follow_skipped(struct slot *slot, int state, enum reason reason, usec_t at);

/* ---- settle.c ---- */
void settle_report(struct slot *slot, const struct outcome_report *report);
/* Proven: it never reached the wire. */
void settle_not_sent(struct slot *slot, usec_t now);
void settle_skipped(struct slot *slot, enum reason reason, usec_t now);
void settle_expired(struct slot *slot, usec_t now);
/* No step is left for it: a draft lost it after the row came. */
void settle_through(struct slot *slot, usec_t now);
void settle_choose(struct sender *s);
void settle_encode(struct sender *s, enum tick_part part);
void settle_answered(struct sender *s, enum tick_part part, const struct db_reply *reply);
/* The transaction did not happen (lost: may have): its facts wait again, in their order. */
void settle_again(struct sender *s, bool lost);
/* It was refused because of a fact: fewer at a time, and the one alone without optional fields. */
void settle_halve(struct sender *s, bool no_day);
