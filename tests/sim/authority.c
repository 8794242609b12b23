/* Answers REGISTER, REPORT and CONTENT from a small catalog. */
#include "tests/sim/authority.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc.h"
#include "shared/content.h"

struct authority authority;

static int
by_version(const void *a, const void *b)
{
    const struct content_row *x = a, *y = b;

    return (x->version > y->version) - (x->version < y->version);
}

static void
answer_content(struct reply *reply, uint64_t after, struct content_row *rows)
{
    unsigned count = 0;

    for (unsigned i = 0; i < authority.count; i++) {
        const struct item *it = &authority.items[i];

        if (it->version <= after)
            continue;
        rows[count++] = (struct content_row){.version = it->version,
                                             .kind = it->kind,
                                             .id = it->id,
                                             .state = it->state,
                                             .started_at = it->started_at,
                                             .json = {it->json, strlen(it->json)},
                                             .revision = it->revision,
                                             .all_revision = it->all_revision,
                                             .until = it->until};
    }
    qsort(rows, count, sizeof(*rows), by_version);
    reply->content = (struct content_page){.version = authority.version,
                                           .more = count > CONTENT_PER_PAGE_MAX,
                                           .row_count = MIN_OF(count, CONTENT_PER_PAGE_MAX),
                                           .rows = rows};
}

static void
on_request(void *arg, struct rpc_ticket ticket, const struct peer *peer, struct slice body)
{
    struct content_row rows[AUTHORITY_ITEMS_MAX];
    struct request q;
    struct slice answer;

    if (message_read_request(authority.message, body, &q) < 0) {
        sim_fail("the coordinator cannot read a request");
        return;
    }
    struct reply reply = {.kind = q.kind, .status = STATUS_OK};
    if (q.kind == MESSAGE_CONTENT)
        answer_content(&reply, q.content.after, rows);
    else
        reply.map = (struct map){.term = 1, .version = 1, .content_version = authority.version};
    int r = message_write_reply(authority.message, &reply, &answer);
    assert(r == 0);
    r = rpc_reply(authority.server, ticket, answer);
    assert(r == 0);
}

struct item *
authority_item(int32_t id, uint8_t kind)
{
    for (unsigned i = 0; i < authority.count; i++)
        if (authority.items[i].id == id && authority.items[i].kind == kind)
            return &authority.items[i];
    return NULL;
}

uint64_t
authority_put(int32_t id, uint8_t kind, uint8_t state, int64_t until, const char *json)
{
    struct item *it = kind == CONTENT_TEMPLATE ? NULL : authority_item(id, kind);

    if (!it) {
        assert(authority.count < AUTHORITY_ITEMS_MAX);
        it = &authority.items[authority.count++];
        *it = (struct item){.kind = kind, .id = id, .revision = 1};
    }
    it->version = ++authority.version;
    it->state = state;
    it->until = until;
    if (state == SOURCE_ACTIVE && it->started_at == 0)
        it->started_at = SIM_START + (int64_t) sim.now;
    if (json) {
        free(it->json);
        it->json = strdup(json);
    }
    return it->version;
}

void
authority_open(void)
{
    static const struct identity identity;
    static const struct peers peers;

    authority = (struct authority){.message = message_new()};
    process_open(&authority.process, &authority.host, "coord");
    int r = rpc_server_start(&authority.server, &authority.process.loop, "coordinator", &identity,
                             &peers, on_request, NULL);
    assert(r == 0 && authority.message);
}

void
authority_close(void)
{
    rpc_server_stop(authority.server);
    rpc_server_free(authority.server);
    message_free(authority.message);
    for (unsigned i = 0; i < authority.count; i++)
        free(authority.items[i].json);
}
