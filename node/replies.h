/*
 * replies.h - how the node's flows answer a request.
 *
 * A reply that cannot be given is told in the log only: the asker hears nothing and asks again,
 * for requests are idempotent.
 */
#pragma once
#include "proto/message.h"
#include "proto/rpc.h"

struct replies { /* a value, owned by the node; the writer is reused for every answer */
    struct rpc_server *server; /* NULL: stopping, nobody is answered any more */
    struct message *writer;
};

void replies_send(const struct replies *r, struct rpc_ticket ticket, const struct reply *reply);
/* No fields; `why` is cut to what travels. */
void replies_status(const struct replies *r, struct rpc_ticket ticket, enum message_kind kind,
                    enum message_status status, const char *why);
