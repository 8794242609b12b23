/*
 * provider.h - the HTTP side: node/transport.h on a simulated network and provider.
 *
 * The guard is the product's; what it lets through leaves at once, or when a frozen process goes
 * on. The provider keeps a receipt of each request that reached it: the witness. Not modelled:
 * sockets, TLS, libcurl's queue; its silent repeat is (the second call of the guard is refused by
 * the transport itself).
 */
#pragma once
#include "node/transport.h"
#include "tests/sim/sim.h"

struct provider_faults { /* chances in a million, per request */
    uint64_t no_connection, lose_request, lose_answer, repeat, slow, garbage, server_error, refuse,
        fail, freeze;
    usec_t freeze_max;
    usec_t answer_max;
};
struct receipt {
    uint64_t phone;
    int32_t device_id;
    uint64_t epoch;
    struct uuid token;
    char what[80]; /* the first word of the text: "cold/2" */
    char partition[25];
    usec_t left, first, ended; /* ended 0: no answer was made (yet) */
    bool refused;              /* told so: it may be sent again */
};
struct provider {
    struct provider_faults faults;
    struct {
        struct receipt **at;
        unsigned count, capacity;
    } receipts;
    /* Told when the bytes leave the node, and when they arrive. */
    void (*leaves)(void *arg, const struct receipt *r);
    void (*arrives)(void *arg, struct receipt *r);
    void *arg;
};
extern struct provider provider;
void provider_open(void);
void provider_close(void);
