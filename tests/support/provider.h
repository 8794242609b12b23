/*
 * provider.h - the fake Cloud API: connections, what a request is answered, and the witness.
 *
 * The receipt log is the ground truth of every test: one JSON line per request that was read whole,
 * with BOOTTIME microseconds of its first byte, last byte and end of answer (0 = never answered
 * whole). It never deduplicates: two equal POSTs are two receipts.
 */
#pragma once
#include <stdio.h>

#include "shared/base.h"
#include "shared/clock.h"
#include "shared/rng.h"

#define REQUEST_BYTES_MAX 65536u
#define ANSWER_BYTES_MAX  4096u
#define RULES_MAX         64u
#define NAMES_MAX         1024u

/* What happens to a request that a rule picked. `accepts`: the message counts as taken. */
enum fault {
    FAULT_NONE,
    FAULT_CLOSE,        /* taken, connection closed without an answer */
    FAULT_REJECT_CLOSE, /* not taken, closed */
    FAULT_HANG,         /* taken, never answered */
    FAULT_DELAY,        /* taken, answered after `ms` */
    FAULT_HTML,         /* `status` with an HTML body; taken only if `taken` */
    FAULT_EMPTY,        /* `status` without a body; taken only if `taken` */
    FAULT_CUT_BODY,     /* taken; half of the answer's body, then closed */
    FAULT_CUT_HEAD,     /* taken; half of the head, then closed */
    FAULT_BAD_CHUNK,    /* taken; chunked with a cut chunk */
    FAULT_RESET,        /* not taken; RST before the request is read */
    FAULT_LAST,         /* taken and answered, then the kept-alive connection is closed */
    FAULT_DRIP,         /* taken and answered one byte per `ms` */
    FAULT_REUSED,       /* taken; closed without an answer if the connection is a reused one */
    FAULT_ERROR /* not taken; envelope with `code`, `status`, `subcode`, `transient`, `data` */
};

struct rule {
    enum fault fault;
    char address[64];  /* "" = every number */
    unsigned permille; /* of the requests that match; 1000 = all */
    int64_t count;     /* how many more times; -1 = no end */
    unsigned ms, status;
    int code, subcode; /* subcode 0 = absent */
    bool transient, data, taken;
    uint64_t hits;
};

struct provider {
    struct rule rules[RULES_MAX];
    unsigned rule_count;
    char revoked[NAMES_MAX][128]; /* bearer tokens that are no longer valid */
    unsigned revoked_count;
    unsigned latency_min_ms, latency_max_ms;
    struct rng rng;
    FILE *receipts;
    uint64_t requests, taken, refused, next_id;
};

struct request {
    char method[8];
    char path[512];
    char bearer[512];
    const char *body;
    size_t body_bytes;
    bool reused; /* not the first request of its connection */
    usec_t first_byte, last_byte;
};

/* What the connection has to do. */
struct answer {
    enum fault fault;
    bool taken;
    unsigned status;
    usec_t delay;
    unsigned drip_ms;
    char type[64];
    char body[ANSWER_BYTES_MAX];
    size_t body_bytes;
    /* for the receipt */
    char address[64], to[40], token[128], wamid[96];
    char *text; /* heap, freed by provider_receipt */
    int code;
};

/* Judges one request (send or control) by rules, token and body. */
void provider_judge(struct provider *p, const struct request *q, struct answer *ret);
/* Writes the receipt line of a send; frees answer->text. */
void provider_receipt(struct provider *p, const struct request *q, struct answer *a, usec_t ended);
/* A reset rule for this moment? Called before the first byte of a connection's request is read. */
bool provider_resets(struct provider *p);
