/* replies.c - encodes an answer and hands it to the rpc server. */
#include "node/replies.h"

#include <errno.h>
#include <string.h>

#include "shared/log.h"

void
replies_send(const struct replies *r, struct rpc_ticket ticket, const struct reply *reply)
{
    struct slice body;

    if (!r->server)
        return;
    int err = message_write_reply(r->writer, reply, &body);
    if (err == -E2BIG || err == -EINVAL) {
        static const char why[] = "the answer does not fit a frame";
        struct reply failed = {.kind = reply->kind,
                               .status = STATUS_FAILED,
                               .reason = {why, sizeof(why) - 1}};
        log_event(LOG_LEVEL_ERROR, "request.unanswerable", "kind=%s error=%d",
                  message_kind_name(reply->kind), err);
        err = message_write_reply(r->writer, &failed, &body);
    }
    if (err == 0)
        err = rpc_reply(r->server, ticket, body);
    if (err < 0)
        log_event(LOG_LEVEL_WARNING, "request.reply_lost", "kind=%s error=%d",
                  message_kind_name(reply->kind), err);
}

void
replies_status(const struct replies *r, struct rpc_ticket ticket, enum message_kind kind,
               enum message_status status, const char *why)
{
    struct reply reply = {.kind = kind, .status = status, .reason = {why, strlen(why)}};
    replies_send(r, ticket, &reply);
}
