/* audit_inner.h - what the audit's files share: senders, wishes, receipts, orders. */
#pragma once
#include <stdlib.h>

#include "audit.h"
#include "audit_content.h"

#define uthash_fatal(words) abort()
#include <uthash.h>

struct audit_sender { /* one device of devices.csv */
    long device_id;
    char *address, *zone;
    usec_t min_gap;
    long daily_cap, hourly_cap; /* 0 = none; the smaller of cap and warm-up */
    UT_hash_handle by_id, by_address;
};

struct audit_wish {                    /* one message that was asked for */
    char *key, *pair;                  /* source \n step \n pair; address \n +phone */
    const struct audit_source *source; /* NULL = direct */
    usec_t delay;                      /* after the step before it; the shorter of two contents */
    struct audit_wish *before;         /* of the same lead's journey; NULL = its first */
    unsigned contents;                 /* bits: 1 the content, 2 the older one */
    unsigned text_count;               /* 0: a variable has neither value nor default */
    char *texts[2];
    char state[16]; /* as exported; "" = no row */
    unsigned taken;
    usec_t first, done;           /* of its first receipt: first byte; end, or last byte */
    struct audit_wish *next_same; /* others for the same address and phone */
    UT_hash_handle hh, by_pair;   /* by_pair: the head of next_same */
};

struct audit_exported {
    char *token, *source, *state;
    long step;
    UT_hash_handle hh;
};

struct audit_send { /* a receipt */
    usec_t first, last, end;
    bool taken;
    char *address, *token, *to;
    const char *source; /* "" when no row has its token */
};

enum audit_silence_kind {
    SILENCE_OPTOUT,
    SILENCE_FORGET,
    SILENCE_REMOVE,
    SILENCE_CANCEL,
    SILENCE_PAUSE_SOURCE,
    SILENCE_PAUSE_DEVICE,
    SILENCE_PAUSE_CLUSTER,
    SILENCE_QUIET_SOURCE,
    SILENCE_QUIET_DEVICE,
    SILENCE_COUNT
};
struct audit_silence {
    enum audit_silence_kind kind;
    char what[72];
    usec_t from, until;
};

struct audit {
    const struct audit_input *in;
    struct audit_result r;
    FILE *details, *errors;
    struct audit_content content, older;
    struct audit_sender *by_id, *by_address;
    struct audit_wish *wishes, *pairs;
    struct audit_exported *exported;
    struct audit_send *sends;
    size_t send_count, send_room;
    struct audit_silence *silences;
    size_t silence_count;
    usec_t first_seen, last_seen;
};

void audit_offence(struct audit *a, uint64_t *count, const char *name, const char *what);
char *audit_join(const char *x, const char *y); /* "x\ny", heap */
/* "source\nstep\naddress\n+phone", heap */
char *audit_wish_key(const char *source, long step, const char *pair);

/* audit_wish.c: fills senders and wishes from the files. */
int audit_wishes_read(struct audit *a);
void audit_wishes_done(struct audit *a);

/* audit_time.c */
int audit_silences_read(struct audit *a);
/* An order explains that messages of this wish do not exist. */
bool audit_excused(const struct audit *a, const struct audit_wish *w);
bool audit_forgotten(const struct audit *a, const struct audit_wish *w);
/* Pace, drivers, orders, caps: sorts a->sends. */
void audit_judge_time(struct audit *a);
