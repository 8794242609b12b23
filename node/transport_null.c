/* The gateway that accepts every send at once: what is left is the cost of all else. */
#include <stdio.h>

#include "node/transport.h"

/* There is no reply: the transport hands in the send's own token, so the id is unique. */
static void
judge(unsigned status, struct slice body, struct outcome_report *ret, char id_buffer[static 256])
{
    int bytes = snprintf(id_buffer, 256, "null.%.*s", (int) MIN_OF(body.bytes, 200), body.data);

    ret->outcome = OUTCOME_SENT;
    ret->provider_id = (struct slice){.data = id_buffer, .bytes = (size_t) bytes};
}

const struct gateway gateway_null = {.name = "null", .judge = judge};
