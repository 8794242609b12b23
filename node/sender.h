/*
 * sender.h - from a due enrollment to a recorded outcome: claim, send, settle (DESIGN §5).
 *
 * Flow. One slot per send, all allocated at the start; a slot is taken when its row is asked for
 * and free again when its fact is confirmed. So a slow database slows claiming by itself, and
 * what this process knows of a token is what stands in its slots. sender.c moves slots, claim.c
 * asks for rows, settle.c judges outcomes and records them.
 */
#pragma once
#include "node/partition_inner.h"

int sender_new(struct sender **ret, struct partition *p) _must_check_;
struct sender *sender_free(struct sender *s);
/* Does what is due; answers when it wants to be called again. */
usec_t sender_tick(struct sender *s, usec_t now);
/* We are not the driver any more (for now): what has not started never will be sent. */
void sender_suspend(struct sender *s);
unsigned sender_busy(const struct sender *s);    /* slots that are not free */
unsigned sender_on_wire(const struct sender *s); /* of them on the wire */
unsigned sender_on_wire_of(const struct sender *s, int32_t source_id);
bool sender_settling(const struct sender *s); /* facts wait for their transaction, or are in it */

/* At a stop, when nothing is claimed any more: gives back what was reserved and not used, then
 * calls done(p). What cannot be given back counts as used. */
void sender_give_back(struct partition *p, void (*done)(struct partition *p));

/* Tokens in slots, for the take: it leaves them alone. Returns how many. */
unsigned sender_tokens(const struct sender *s, struct uuid *ret, unsigned max);
unsigned sender_slots(const struct sender *s);
unsigned sender_slots_free(const struct sender *s);
/* A claim of an older epoch becomes unknown, by the same way as every fact. A slot must be free. */
struct left_over {
    int32_t device_id, source_id, lead_no;
    int16_t step, attempt, revision;
    struct uuid token;
    uint64_t epoch;
};
void sender_left_over(struct sender *s, const struct left_over *row);
/* The device's token in the clear; the caller wipes it. 0, -EBADMSG (another key, another device),
 * -E2BIG. */
int sender_open_token(struct partition *p, const struct device *d, uint8_t *out, size_t size,
                      size_t *ret_bytes) _must_check_;
