/*
 * driver.h - one partition's driver inside a test: the real partition, intake, answers and rpc on
 * one loop, and a client that asks them as the command does.
 *
 * Everything fails the running Check test with words when it cannot do its work.
 */
#pragma once
#include <uv.h>

#include "node/acts.h"
#include "node/answers.h"
#include "node/intake.h"
#include "node/partition.h"
#include "shared/secret.h"
#include "tests/support/pgtemp.h"

#define DRIVER_LEADS_MAX 2500u

struct driver {
    uv_loop_t loop;
    uv_timer_t patience;
    bool impatient;
    struct transport *transport;
    struct partition *partition;
    struct replies replies;
    struct rpc_server *server;
    struct rpc_client *client;
    struct intake *intake;
    struct answers *answers;
    struct acts *acts;
    struct identity node_key, admin_key;
    struct peers peers;
    struct rng rng;
    uint8_t token_key[SECRET_KEY_BYTES];
    struct message *reader, *writer; /* of the server side; of the client side */
    char state_dir[64], dsn[PGTEMP_DSN_MAX];
    uint64_t request_id;
    unsigned partitions_stopped;
    uint32_t disk_free_min; /* percent: may be set before driver_start */
    int exit_code;          /* of the partition's news */
};

/* An answer that a test waits for. `message` holds what reply points into. */
struct driver_answer {
    bool done;
    int err;
    struct message *message;
    struct reply reply;
};

/* Applies the partition's schema to a database, once. */
void driver_schema(const struct pgtemp *pg, const char *database);
/* Drives `database` as node n1, partition p1; returns when it is open. */
void driver_start(struct driver *d, const struct pgtemp *pg, const char *database);
void driver_stop(struct driver *d);
/* Asks without waiting. */
void driver_send(struct driver *d, struct request *q, struct driver_answer *ret);
void driver_wait(struct driver *d, struct driver_answer *a);
void driver_answer_done(struct driver_answer *a);
/* Runs the loop until `state`, at most 10 s. */
void driver_until(struct driver *d, enum partition_state state);
