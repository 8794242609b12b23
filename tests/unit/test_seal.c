/* test_seal.c - forged, cut, bent, repeated, strange and old frames open nothing and change
 * nothing. */
#include <check.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/seal.h"
#include "shared/clock.h"
#include "shared/rng.h"
#include "shared/secret.h"

#define TEXT(text) ((struct slice){(text), sizeof(text) - 1})
#define REQUEST    0x80000001u

enum { COORDINATOR, NODE, ADMIN, OBSERVER, IDENTITIES };

static struct identity identities[IDENTITIES], stranger;
static struct peers peers, other_cluster;
static struct seal_server *server;
static struct seal_client *client;

static struct identity
new_identity(void)
{
    struct identity i;

    crypto_box_keypair(i.public_key, i.secret_key); /* X25519 */
    return i;
}

static void
setup(void)
{
    static const struct {
        const char *name;
        unsigned role;
    } rows[IDENTITIES] = {{"c1", ROLE_COORDINATOR},
                          {"n1", ROLE_NODE},
                          {"ops", ROLE_ADMIN},
                          {"eye", ROLE_OBSERVER}};

    ck_assert_int_eq(secret_start(), 0);
    peers = (struct peers){.cluster = "test", .count = IDENTITIES};
    for (unsigned i = 0; i < IDENTITIES; i++) {
        identities[i] = new_identity();
        snprintf(peers.peers[i].name, sizeof(peers.peers[i].name), "%s", rows[i].name);
        peers.peers[i].role = rows[i].role;
        memcpy(peers.peers[i].public_key, identities[i].public_key, SEAL_KEY_BYTES);
    }
    stranger = new_identity();
    other_cluster = peers;
    snprintf(other_cluster.cluster, sizeof(other_cluster.cluster), "tesu");
    server = seal_server_new(&identities[COORDINATOR], &peers);
    client = seal_client_new(&identities[NODE], &peers, &peers.peers[COORDINATOR]);
    ck_assert_ptr_nonnull(server);
    ck_assert_ptr_nonnull(client);
}

static void
teardown(void)
{
    server = seal_server_free(server);
    client = seal_client_free(client);
}

static struct slice
copy_of(struct slice frame)
{
    char *copy = malloc(frame.bytes);

    memcpy(copy, frame.data, frame.bytes);
    return (struct slice){copy, frame.bytes};
}

static void
drop_copy(struct slice *copy)
{
    free((char *) copy->data);
}

#define KEPT _cleanup_(drop_copy) struct slice

static struct slice last_body; /* what the server opened last */
static uint64_t last_session;
static const struct peer *last_peer;

static enum seal_in
server_takes(struct slice frame)
{
    return seal_server_take(server, REQUEST, frame, &last_body, &last_session, &last_peer);
}

static uint64_t
drops(enum seal_drop d)
{
    return seal_server_drops(server)[d];
}

static uint64_t
all_drops(void)
{
    uint64_t all = 0;

    for (int d = 0; d < SEAL_DROP_COUNT; d++)
        all += drops(d);
    return all;
}

static struct slice
hello(struct seal_client *c)
{
    struct slice frame;

    ck_assert_int_eq(seal_client_hello(c, &frame), 0);
    return frame;
}

static void
open_session(struct seal_client *c)
{
    struct slice unused;

    ck_assert_int_eq(server_takes(hello(c)), SEAL_REPLY_NOW);
    ck_assert_int_eq(seal_client_take(c, REQUEST, last_body, &unused), SEAL_REPLY_NOW);
    ck_assert(seal_client_open(c));
}

static struct slice
sealed(struct seal_client *c, struct slice body)
{
    struct slice frame;

    ck_assert_int_eq(seal_client_seal(c, REQUEST, body, &frame), 0);
    return frame;
}

static void
ask(struct seal_client *c, struct slice body)
{
    ck_assert_int_eq(server_takes(sealed(c, body)), SEAL_BODY);
    ck_assert_uint_eq(last_body.bytes, body.bytes);
    ck_assert_mem_eq(last_body.data, body.data, body.bytes);
}

static struct slice
answer(uint64_t session, struct slice body)
{
    struct slice frame;

    ck_assert_int_eq(seal_server_reply(server, session, REQUEST, body, &frame), 0);
    return frame;
}

/* Every shorter, longer and bent form of `frame` is dropped, and the frame itself still opens. */
static void
try_all_damage(struct slice frame, enum seal_in (*take)(struct slice), enum seal_in good)
{
    KEPT copy = {NULL, 0};
    char *longer = malloc(frame.bytes + 1);

    for (size_t bytes = 0; bytes < frame.bytes; bytes++) {
        char *exact = malloc(bytes ? bytes : 1);

        memcpy(exact, frame.data, bytes);
        ck_assert_int_eq(take((struct slice){exact, bytes}), SEAL_DROPPED);
        free(exact);
    }
    memcpy(longer, frame.data, frame.bytes);
    longer[frame.bytes] = 0;
    ck_assert_int_eq(take((struct slice){longer, frame.bytes + 1}), SEAL_DROPPED);
    free(longer);
    copy = copy_of(frame);
    for (size_t at = 0; at < frame.bytes; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            ((char *) copy.data)[at] ^= (char) (1 << bit);
            ck_assert_int_eq(take(copy), SEAL_DROPPED);
            ((char *) copy.data)[at] ^= (char) (1 << bit);
        }
    ck_assert_int_eq(take(copy), good);
    ck_assert_int_eq(take(copy), SEAL_DROPPED); /* and once only */
}

static enum seal_in
client_takes(struct slice frame)
{
    struct slice body;

    return seal_client_take(client, REQUEST, frame, &body);
}

START_TEST(damaged_hello)
{
    KEPT frame = copy_of(hello(client));

    try_all_damage(frame, server_takes, SEAL_REPLY_NOW);
    ck_assert_uint_eq(drops(SEAL_DROP_SHORT), frame.bytes + 1);
    ck_assert_uint_eq(drops(SEAL_DROP_VERSION), 8);
    ck_assert_uint_gt(drops(SEAL_DROP_TYPE), 0);
    ck_assert_uint_eq(drops(SEAL_DROP_STRANGER), 8 * SEAL_KEY_BYTES);
    ck_assert_uint_eq(drops(SEAL_DROP_FORGED), 8 * (24 + 48));
    ck_assert_uint_eq(drops(SEAL_DROP_REPLAY), 1);
}
END_TEST

START_TEST(damaged_hello_reply)
{
    ck_assert_int_eq(server_takes(hello(client)), SEAL_REPLY_NOW);
    KEPT frame = copy_of(last_body);
    try_all_damage(frame, client_takes, SEAL_REPLY_NOW);
    ask(client, TEXT("still the same session"));
}
END_TEST

START_TEST(damaged_data)
{
    open_session(client);
    KEPT frame = copy_of(sealed(client, TEXT("report")));
    try_all_damage(frame, server_takes, SEAL_BODY);
    KEPT reply = copy_of(answer(last_session, TEXT("map")));
    try_all_damage(reply, client_takes, SEAL_BODY);
}
END_TEST

START_TEST(random_garbage)
{
    struct rng rng;
    char buffer[256];

    open_session(client);
    rng_seed(&rng, 99);
    for (unsigned i = 0; i < 50000; i++) {
        size_t bytes = rng_between(&rng, 0, sizeof(buffer));

        for (size_t at = 0; at < bytes; at++)
            buffer[at] = (char) rng_next(&rng);
        if (bytes > 2) {
            buffer[0] = SEAL_VERSION;
            buffer[1] = (char) (i % 4);
        }
        ck_assert_int_eq(server_takes((struct slice){buffer, bytes}), SEAL_DROPPED);
        ck_assert_int_eq(client_takes((struct slice){buffer, bytes}), SEAL_DROPPED);
    }
    ck_assert_uint_eq(all_drops(), 50000);
    ask(client, TEXT("undisturbed"));
}
END_TEST

/* A stranger costs a look-up, not a scalar multiplication (about 50 us) nor an opening. */
START_TEST(strangers_are_cheap)
{
    struct seal_client *c = seal_client_new(&stranger, &peers, &peers.peers[COORDINATOR]);
    struct identity reference = new_identity();
    uint8_t shared[32];
    usec_t start, strangers, multiplications;
    KEPT frame = copy_of(hello(c));

    start = clock_boot();
    for (unsigned i = 0; i < 2000; i++)
        ck_assert_int_eq(server_takes(frame), SEAL_DROPPED);
    strangers = clock_boot() - start;
    start = clock_boot();
    for (unsigned i = 0; i < 2000; i++)
        ck_assert_int_eq(crypto_scalarmult(shared, reference.secret_key,
                                           identities[NODE].public_key),
                         0);
    multiplications = clock_boot() - start;
    ck_assert_uint_eq(drops(SEAL_DROP_STRANGER), 2000);
    ck_assert_uint_lt(strangers * 5, multiplications);
    seal_client_free(c);
}
END_TEST

/* Knows everybody's public keys, has no secret key that counts. */
START_TEST(a_stranger_under_a_friends_name)
{
    struct identity mask = stranger;
    struct seal_client *c;

    memcpy(mask.public_key, identities[ADMIN].public_key, SEAL_KEY_BYTES);
    c = seal_client_new(&mask, &peers, &peers.peers[COORDINATOR]);
    ck_assert_int_eq(server_takes(hello(c)), SEAL_DROPPED);
    ck_assert_uint_eq(drops(SEAL_DROP_FORGED), 1);
    seal_client_free(c);
}
END_TEST

START_TEST(a_false_server_cannot_answer)
{
    struct identity mask = stranger;

    memcpy(mask.public_key, identities[COORDINATOR].public_key, SEAL_KEY_BYTES);
    seal_server_free(server);
    server = seal_server_new(&mask, &peers);
    ck_assert_int_eq(server_takes(hello(client)), SEAL_DROPPED); /* it cannot even open */
    ck_assert(!seal_client_open(client));
}
END_TEST

START_TEST(another_cluster_with_the_same_keys)
{
    struct seal_client *c =
        seal_client_new(&identities[NODE], &other_cluster, &other_cluster.peers[COORDINATOR]);

    ck_assert_int_eq(server_takes(hello(c)), SEAL_DROPPED);
    ck_assert_uint_eq(drops(SEAL_DROP_FORGED), 1);
    seal_client_free(c);
}
END_TEST

START_TEST(another_peers_session_is_of_no_use)
{
    struct seal_client *admin =
        seal_client_new(&identities[ADMIN], &peers, &peers.peers[COORDINATOR]);

    open_session(client);
    ask(client, TEXT("a"));
    uint64_t nodes_session = last_session;
    open_session(admin);
    KEPT frame = copy_of(sealed(admin, TEXT("b")));
    for (unsigned i = 0; i < 8; i++) /* admin's frame under the node's session id */
        ((uint8_t *) frame.data)[2 + i] = (uint8_t) (nodes_session >> (56 - 8 * i));
    ((uint8_t *) frame.data)[17] = 9; /* a counter that the window has not seen */
    ck_assert_int_eq(server_takes(frame), SEAL_DROPPED);
    ck_assert_uint_eq(drops(SEAL_DROP_FORGED), 1);
    seal_client_free(admin);
}
END_TEST

START_TEST(a_key_that_shares_nothing)
{
    struct slice frame;
    struct seal_client *c;

    memset(peers.peers[NODE].public_key, 0, SEAL_KEY_BYTES); /* of low order */
    seal_server_free(server);
    server = seal_server_new(&identities[COORDINATOR], &peers);
    memset(identities[NODE].public_key, 0, SEAL_KEY_BYTES);
    ck_assert_int_eq(server_takes(hello(client)), SEAL_DROPPED);
    ck_assert_uint_eq(drops(SEAL_DROP_STRANGER), 1);
    c = seal_client_new(&identities[ADMIN], &peers, &peers.peers[NODE]);
    ck_assert_int_eq(seal_client_hello(c, &frame), -EKEYREJECTED);
    seal_client_free(c);
}
END_TEST

START_TEST(an_answer_under_another_request_id)
{
    struct slice body;

    open_session(client);
    KEPT request = copy_of(sealed(client, TEXT("one")));
    ck_assert_int_eq(seal_server_take(server, REQUEST + 1, request, &body, &last_session,
                                      &last_peer),
                     SEAL_DROPPED);
    ck_assert_int_eq(server_takes(request), SEAL_BODY);
    KEPT reply = copy_of(answer(last_session, TEXT("two")));
    ck_assert_int_eq(seal_client_take(client, REQUEST + 1, reply, &body), SEAL_DROPPED);
    ck_assert_int_eq(seal_client_take(client, REQUEST, reply, &body), SEAL_BODY);
}
END_TEST

START_TEST(frames_are_not_for_the_other_direction)
{
    open_session(client);
    KEPT up = copy_of(sealed(client, TEXT("up")));
    ck_assert_int_eq(client_takes(up), SEAL_DROPPED);
    ck_assert_int_eq(server_takes(up), SEAL_BODY);
    KEPT down = copy_of(answer(last_session, TEXT("down")));
    ck_assert_int_eq(server_takes(down), SEAL_DROPPED);
    ck_assert_int_eq(client_takes(down), SEAL_BODY);
}
END_TEST

/* ---- replays ---- */

START_TEST(data_replays_inside_and_outside_the_window)
{
    enum { FRAMES = 3000 };
    static struct slice frames[FRAMES];

    open_session(client);
    for (unsigned i = 0; i < FRAMES; i++)
        frames[i] = copy_of(sealed(client, TEXT("x")));
    ck_assert_int_eq(server_takes(frames[2000]), SEAL_BODY);
    ck_assert_int_eq(server_takes(frames[2000]), SEAL_DROPPED);
    ck_assert_int_eq(server_takes(frames[2000 - 1023]), SEAL_BODY); /* the oldest place */
    ck_assert_int_eq(server_takes(frames[2000 - 1023]), SEAL_DROPPED);
    ck_assert_int_eq(server_takes(frames[2000 - 1024]), SEAL_DROPPED); /* fallen out, never seen */
    ck_assert_int_eq(server_takes(frames[0]), SEAL_DROPPED);
    ck_assert_int_eq(server_takes(frames[2999]), SEAL_BODY);
    ck_assert_int_eq(server_takes(frames[2000]), SEAL_DROPPED);
    ck_assert_int_eq(server_takes(frames[2001]), SEAL_BODY);
    ck_assert_int_eq(server_takes(frames[1976]), SEAL_BODY);
    ck_assert_int_eq(server_takes(frames[1975]), SEAL_DROPPED);
    ck_assert_uint_eq(drops(SEAL_DROP_REPLAY), all_drops());
    for (unsigned i = 0; i < FRAMES; i++)
        drop_copy(&frames[i]);
}
END_TEST

/* A forged frame with a high counter must not push the window on. */
START_TEST(forged_counters_do_not_move_the_window)
{
    open_session(client);
    KEPT first = copy_of(sealed(client, TEXT("first")));
    KEPT forged = copy_of(first);
    memset((char *) forged.data + 10, 0xff, 8);
    ck_assert_int_eq(server_takes(forged), SEAL_DROPPED);
    ((char *) forged.data)[17] =
        (char) 0xfe; /* not the last possible one, that is refused unseen */
    ck_assert_int_eq(server_takes(forged), SEAL_DROPPED);
    ck_assert_uint_eq(drops(SEAL_DROP_FORGED), 1);
    ck_assert_uint_eq(drops(SEAL_DROP_REPLAY), 1);
    ck_assert_int_eq(server_takes(first), SEAL_BODY);
}
END_TEST

START_TEST(replayed_hellos_put_out_no_live_session)
{
    enum { OLD = 300 };
    static struct slice old[OLD];
    uint64_t replays;

    for (unsigned i = 0; i < OLD; i++) {
        old[i] = copy_of(hello(client));
        ck_assert_int_eq(server_takes(old[i]), SEAL_REPLY_NOW);
    }
    open_session(client);
    ask(client, TEXT("live"));
    replays = drops(SEAL_DROP_REPLAY);
    for (unsigned i = OLD - 60; i < OLD; i++)
        ck_assert_int_eq(server_takes(old[i]), SEAL_DROPPED); /* remembered */
    ck_assert_uint_eq(drops(SEAL_DROP_REPLAY), replays + 60);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < OLD; i++)
            (void) server_takes(old[i]); /* more than are remembered: some get a pending session */
    ask(client, TEXT("still live"));
    for (unsigned i = 0; i < OLD; i++)
        drop_copy(&old[i]);
}
END_TEST

START_TEST(an_old_hello_reply_opens_nothing)
{
    ck_assert_int_eq(server_takes(hello(client)), SEAL_REPLY_NOW);
    KEPT old = copy_of(last_body);
    KEPT second = copy_of(hello(client)); /* the first answer was too slow */
    ck_assert_int_eq(client_takes(old), SEAL_DROPPED);
    ck_assert(!seal_client_open(client));
    ck_assert_int_eq(server_takes(second), SEAL_REPLY_NOW);
    ck_assert_int_eq(client_takes(last_body), SEAL_REPLY_NOW);
    ask(client, TEXT("new"));
}
END_TEST

START_TEST(a_pending_session_answers_nothing)
{
    struct slice frame;

    ck_assert_int_eq(server_takes(hello(client)), SEAL_REPLY_NOW);
    ck_assert_int_eq(seal_server_reply(server, last_session, REQUEST, TEXT("x"), &frame), -ESTALE);
    ck_assert_int_eq(seal_server_reply(server, last_session ^ 256, REQUEST, TEXT("x"), &frame),
                     -ESTALE);
    ck_assert_int_eq(seal_client_seal(client, REQUEST, TEXT("x"), &frame), -ENOTCONN);
}
END_TEST

/* ---- lives of sessions ---- */

START_TEST(restart_of_the_server)
{
    struct slice frame;

    open_session(client);
    ask(client, TEXT("before"));
    KEPT recorded = copy_of(sealed(client, TEXT("recorded")));
    seal_server_free(server);
    server = seal_server_new(&identities[COORDINATOR], &peers);
    ck_assert_int_eq(server_takes(recorded), SEAL_DROPPED);
    ck_assert_uint_eq(drops(SEAL_DROP_NO_SESSION), 1);
    ck_assert_int_eq(seal_server_reply(server, last_session, REQUEST, TEXT("x"), &frame), -ESTALE);
    open_session(client);
    ask(client, TEXT("after"));
    ck_assert_int_eq(server_takes(recorded), SEAL_DROPPED);
}
END_TEST

START_TEST(restart_of_the_client)
{
    open_session(client);
    ask(client, TEXT("before"));
    KEPT recorded = copy_of(answer(last_session, TEXT("recorded")));
    seal_client_free(client);
    client = seal_client_new(&identities[NODE], &peers, &peers.peers[COORDINATOR]);
    ck_assert_int_eq(client_takes(recorded), SEAL_DROPPED);
    open_session(client);
    ck_assert_int_eq(client_takes(recorded), SEAL_DROPPED);
    ask(client, TEXT("after"));
}
END_TEST

START_TEST(answers_on_the_session_before_are_heard)
{
    uint64_t before, older;

    open_session(client);
    ask(client, TEXT("older"));
    older = last_session;
    open_session(client);
    ask(client, TEXT("slow"));
    before = last_session;
    KEPT new_hello = copy_of(hello(client));
    ck_assert_int_eq(client_takes(answer(before, TEXT("while it is being opened"))), SEAL_BODY);
    ck_assert_int_eq(server_takes(new_hello), SEAL_REPLY_NOW);
    ck_assert_int_eq(client_takes(last_body), SEAL_REPLY_NOW);
    KEPT late = copy_of(answer(before, TEXT("late")));
    ck_assert_int_eq(client_takes(late), SEAL_BODY);
    ck_assert_int_eq(client_takes(late), SEAL_DROPPED);
    ck_assert_int_eq(client_takes(answer(older, TEXT("too late"))), SEAL_DROPPED);
    ask(client, TEXT("next"));
}
END_TEST

START_TEST(sessions_of_a_peer_are_bounded)
{
    enum { MORE = SESSIONS_PER_PEER_MAX + 3 };
    struct seal_client *clients[MORE];
    struct seal_client *admin =
        seal_client_new(&identities[ADMIN], &peers, &peers.peers[COORDINATOR]);

    open_session(admin);
    ask(admin, TEXT("of another peer"));
    for (unsigned i = 0; i < MORE; i++) {
        clients[i] = seal_client_new(&identities[NODE], &peers, &peers.peers[COORDINATOR]);
        open_session(clients[i]);
        ask(clients[i], TEXT("mine"));
        if (i == SESSIONS_PER_PEER_MAX - 1)
            ask(clients[0], TEXT("I am not idle"));
    }
    ask(clients[0], TEXT("still here"));
    for (unsigned i = 1; i <= 3; i++) /* the idlest went */
        ck_assert_int_eq(server_takes(sealed(clients[i], TEXT("gone"))), SEAL_DROPPED);
    for (unsigned i = 4; i < MORE; i++)
        ask(clients[i], TEXT("still here"));
    ask(admin, TEXT("untouched"));
    ck_assert_uint_eq(drops(SEAL_DROP_NO_SESSION), 3);
    for (unsigned i = 0; i < MORE; i++)
        seal_client_free(clients[i]);
    seal_client_free(admin);
}
END_TEST

/* Several commands of one principal start at once: each hello's session waits for its first frame.
 */
START_TEST(hellos_at_once_do_not_put_each_other_out)
{
    struct seal_client *clients[8];

    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        clients[i] = seal_client_new(&identities[ADMIN], &peers, &peers.peers[COORDINATOR]);
        open_session(clients[i]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        ask(clients[i], TEXT("first frame"));
        seal_client_free(clients[i]);
    }
}
END_TEST

/* ---- what must work ---- */

START_TEST(each_peer_is_known_by_its_role)
{
    for (unsigned i = 0; i < IDENTITIES; i++) {
        struct seal_client *c = seal_client_new(&identities[i], &peers, &peers.peers[COORDINATOR]);

        open_session(c);
        last_peer = NULL;
        ask(c, TEXT("who am I"));
        ck_assert_str_eq(last_peer->name, peers.peers[i].name);
        ck_assert_uint_eq(last_peer->role, peers.peers[i].role);
        seal_client_free(c);
    }
    ck_assert_str_eq(role_name(ROLE_OBSERVER), "observer");
    ck_assert_str_eq(role_name(3), "?");
}
END_TEST

START_TEST(ten_thousand_out_of_order)
{
    enum { BATCH = 1000, BATCHES = 10 };
    struct rng rng;
    char expected[32];

    rng_seed(&rng, 5);
    open_session(client);
    for (unsigned batch = 0; batch < BATCHES; batch++) {
        static struct slice frames[BATCH];
        static unsigned order[BATCH];

        for (unsigned i = 0; i < BATCH; i++) {
            int bytes = snprintf(expected, sizeof(expected), "message %u", batch * BATCH + i);

            frames[i] = copy_of(sealed(client, (struct slice){expected, (size_t) bytes}));
            order[i] = i;
        }
        for (unsigned i = BATCH - 1; i > 0; i--) {
            unsigned j = (unsigned) rng_between(&rng, 0, i), t = order[i];

            order[i] = order[j];
            order[j] = t;
        }
        for (unsigned i = 0; i < BATCH; i++) {
            int bytes =
                snprintf(expected, sizeof(expected), "message %u", batch * BATCH + order[i]);
            struct slice back, reply;

            ck_assert_int_eq(server_takes(frames[order[i]]), SEAL_BODY);
            ck_assert_uint_eq(last_body.bytes, (size_t) bytes);
            ck_assert_mem_eq(last_body.data, expected, (size_t) bytes);
            reply = answer(last_session, last_body);
            ck_assert_int_eq(seal_client_take(client, REQUEST, reply, &back), SEAL_BODY);
            ck_assert_mem_eq(back.data, expected, (size_t) bytes);
        }
        for (unsigned i = 0; i < BATCH; i++)
            drop_copy(&frames[i]);
    }
    ck_assert_uint_eq(all_drops(), 0);
}
END_TEST

START_TEST(bodies_of_every_size)
{
    char *big = calloc(1, BODY_BYTES_MAX + 1);
    struct slice frame;

    open_session(client);
    ask(client, (struct slice){big, 0});
    ask(client, (struct slice){big, BODY_BYTES_MAX});
    frame = answer(last_session, (struct slice){big, BODY_BYTES_MAX});
    ck_assert_uint_le(frame.bytes, FRAME_BYTES_MAX - 4); /* nng's request id still fits */
    ck_assert_int_eq(client_takes(frame), SEAL_BODY);
    ck_assert_int_eq(seal_client_seal(client, REQUEST, (struct slice){big, BODY_BYTES_MAX + 1},
                                      &frame),
                     -E2BIG);
    ck_assert_int_eq(seal_server_reply(server, last_session, REQUEST,
                                       (struct slice){big, BODY_BYTES_MAX + 1}, &frame),
                     -E2BIG);
    free(big);
}
END_TEST

/* The layout of PROTOCOL.md §2, byte by byte, and its keys derived here a second time. */
START_TEST(frames_are_as_the_protocol_says)
{
    uint8_t up[32], down[32], hello_up[32], hello_down[32], data_up[32], plain[64], bound[128];
    uint8_t nonce[24] = {0}, message[64 + 4];
    static const uint8_t personal_hello[16] = "fleetcast hello",
                         personal_data[16] = "fleetcast data";
    const uint8_t *p;

    KEPT h = copy_of(hello(client));
    p = (const uint8_t *) h.data;
    ck_assert_uint_eq(h.bytes, 106);
    ck_assert_int_eq(p[0], 1);
    ck_assert_int_eq(p[1], 1);
    ck_assert_mem_eq(p + 2, identities[NODE].public_key, 32);
    ck_assert_int_eq(crypto_kx_server_session_keys(up, down, identities[COORDINATOR].public_key,
                                                   identities[COORDINATOR].secret_key,
                                                   identities[NODE].public_key),
                     0);
    crypto_generichash_blake2b_salt_personal(hello_up, 32, (const uint8_t *) "test", 4, up, 32,
                                             NULL, personal_hello);
    crypto_generichash_blake2b_salt_personal(hello_down, 32, (const uint8_t *) "test", 4, down, 32,
                                             NULL, personal_hello);
    ck_assert_int_eq(crypto_aead_xchacha20poly1305_ietf_decrypt(message, NULL, NULL, p + 58, 48, p,
                                                                58, p + 34, hello_up),
                     0);
    ck_assert_int_eq(server_takes(h), SEAL_REPLY_NOW);
    p = (const uint8_t *) last_body.data;
    ck_assert_uint_eq(last_body.bytes, 82);
    ck_assert_int_eq(p[1], 2);
    memcpy(bound, p, 34);
    memcpy(bound + 34, message, 32);
    ck_assert_int_eq(crypto_aead_xchacha20poly1305_ietf_decrypt(message + 32, NULL, NULL, p + 34,
                                                                48, bound, 66, p + 10, hello_down),
                     0);
    ck_assert_int_eq(client_takes(last_body), SEAL_REPLY_NOW);
    memcpy(message + 64, "test", 4);
    crypto_generichash_blake2b_salt_personal(data_up, 32, message, 68, up, 32, NULL, personal_data);
    (void) sealed(client, TEXT("counter 0"));
    KEPT d = copy_of(sealed(client, TEXT("counter 1")));
    p = (const uint8_t *) d.data;
    ck_assert_uint_eq(d.bytes, 9 + 34);
    ck_assert_int_eq(p[1], 3);
    ck_assert_mem_eq(p + 10, "\0\0\0\0\0\0\0\1", 8);
    nonce[23] = 1;
    memcpy(bound, p, 18);
    memcpy(bound + 18, "\x80\0\0\1", 4);
    ck_assert_int_eq(crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, p + 18, 25,
                                                                bound, 22, nonce, data_up),
                     0);
    ck_assert_mem_eq(plain, "counter 1", 9);
}
END_TEST

/* ---- files ---- */

static int
load(const char *text, char *errors, size_t size)
{
    char path[] = "/tmp/test_seal_XXXXXX";
    int fd = mkstemp(path);
    FILE *out = fmemopen(errors, size, "w");
    struct peers p;
    int r;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t) strlen(text));
    close(fd);
    memset(errors, 0, size);
    r = peers_load(&p, path, out);
    fclose(out);
    unlink(path);
    return r;
}

#define K1 "0000000000000000000000000000000000000000000000000000000000000001"
#define K2 "00000000000000000000000000000000000000000000000000000000000000aB"

START_TEST(peers_files_with_faults)
{
    static const struct {
        const char *text, *fault;
    } bad[] = {
        {"", ":0: no \"cluster NAME\""},
        {"c1 node " K1 "\n", ":1: no \"cluster"},
        {"cluster x\ncluster y\n", ":2: the cluster is named twice"},
        {"cluster X\n", ":1: a cluster's name"},
        {"cluster x\nc1 king " K1 "\n", ":2: a role is"},
        {"cluster x\nC1 node " K1 "\n", ":2: a name is"},
        {"cluster x\naaaaaaaaaaaaaaaaaaaaaaaaa node " K1 "\n", ":2: a name is"},
        {"cluster x\nc1 node " K1 "\nc1 node " K2 "\n", ":3: this name"},
        {"cluster x\nc1 node " K1 "\nc2 node " K1 "\n", ":3: this key"},
        {"cluster x\nc1 node " K1 "0\n", ":2: a public key"},
        {"cluster x\nc1 node 00\n", ":2: a public key"},
        {"cluster x\nc1 node " K1 " more\n", ":2: a line is"},
        {"cluster x\nc1 node\n", ":2: a line is"},
        {"cluster x\nc1\n", ":2: a line is"},
    };
    char errors[4096], long_line[400];

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        ck_assert_int_eq(load(bad[i].text, errors, sizeof(errors)), -EINVAL);
        ck_assert_msg(strstr(errors, bad[i].fault), "%zu: %s lacks %s", i, errors, bad[i].fault);
    }
    snprintf(long_line, sizeof(long_line), "cluster x\n# %0300d\nc1 node %s\n", 0, K1);
    ck_assert_int_eq(load(long_line, errors, sizeof(errors)), -EINVAL);
    ck_assert_ptr_nonnull(strstr(errors, ":2: the line is longer"));
    ck_assert_int_eq(load("cluster x\nc1 king 1\nc2\n", errors, sizeof(errors)), -EINVAL);
    ck_assert_ptr_nonnull(strstr(errors, ":3: ")); /* every fault is told */
}
END_TEST

START_TEST(a_peers_file_that_is_not_there)
{
    struct peers p = {.count = 77};
    FILE *out = tmpfile();

    ck_assert_int_eq(peers_load(&p, "/nonexistent/peers", out), -ENOENT);
    ck_assert_uint_eq(p.count, 77);
    ck_assert_int_gt(ftell(out), 0);
    fclose(out);
}
END_TEST

START_TEST(too_many_peers)
{
    static char text[(PEERS_MAX + 1) * 100];
    char errors[4096];
    int at = snprintf(text, sizeof(text), "cluster x\n");

    for (unsigned i = 0; i <= PEERS_MAX; i++) {
        if (i == PEERS_MAX)
            ck_assert_int_eq(load(text, errors, sizeof(errors)), 0);
        at += snprintf(text + at, sizeof(text) - (size_t) at, "p%u node %064x\n", i, i + 1);
    }
    ck_assert_int_eq(load(text, errors, sizeof(errors)), -EINVAL);
    ck_assert_ptr_nonnull(strstr(errors, "more peers"));
}
END_TEST

START_TEST(peers_come_from_a_file)
{
    char path[] = "/tmp/test_seal_XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "# who may speak\n\ncluster my-cluster\r\n"
                               "c1\tcoordinator " K1 " # first\r\n  ops admin " K2;
    struct peers p;

    ck_assert_int_eq(write(fd, text, sizeof(text) - 1), (ssize_t) sizeof(text) - 1);
    close(fd);
    ck_assert_int_eq(peers_load(&p, path, stderr), 0);
    unlink(path);
    ck_assert_str_eq(p.cluster, "my-cluster");
    ck_assert_uint_eq(p.count, 2);
    ck_assert_uint_eq(peers_find(&p, "ops")->role, ROLE_ADMIN);
    ck_assert_int_eq(peers_find(&p, "ops")->public_key[31], 0xab);
    ck_assert_ptr_null(peers_find(&p, "op"));
}
END_TEST

START_TEST(identities_live_in_key_files)
{
    char directory[] = "/tmp/test_seal_XXXXXX", path[64];
    struct identity made, loaded, again;

    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/key", directory);
    ck_assert_int_eq(identity_load(&loaded, path), -ENOENT);
    ck_assert_int_eq(identity_create(&made, path), 0);
    ck_assert_int_eq(identity_create(&again, path), -EEXIST);
    ck_assert_int_eq(identity_load(&loaded, path), 0);
    ck_assert_mem_eq(&loaded, &made, sizeof(made));
    identity_wipe(&loaded);
    ck_assert(sodium_is_zero((const uint8_t *) &loaded, sizeof(loaded)));
    unlink(path);
    rmdir(directory);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("seal");
    TCase *tc = tcase_create("seal");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, damaged_hello);
    tcase_add_test(tc, damaged_hello_reply);
    tcase_add_test(tc, damaged_data);
    tcase_add_test(tc, random_garbage);
    tcase_add_test(tc, strangers_are_cheap);
    tcase_add_test(tc, a_stranger_under_a_friends_name);
    tcase_add_test(tc, a_false_server_cannot_answer);
    tcase_add_test(tc, another_cluster_with_the_same_keys);
    tcase_add_test(tc, another_peers_session_is_of_no_use);
    tcase_add_test(tc, a_key_that_shares_nothing);
    tcase_add_test(tc, an_answer_under_another_request_id);
    tcase_add_test(tc, frames_are_not_for_the_other_direction);
    tcase_add_test(tc, data_replays_inside_and_outside_the_window);
    tcase_add_test(tc, forged_counters_do_not_move_the_window);
    tcase_add_test(tc, replayed_hellos_put_out_no_live_session);
    tcase_add_test(tc, an_old_hello_reply_opens_nothing);
    tcase_add_test(tc, a_pending_session_answers_nothing);
    tcase_add_test(tc, restart_of_the_server);
    tcase_add_test(tc, restart_of_the_client);
    tcase_add_test(tc, answers_on_the_session_before_are_heard);
    tcase_add_test(tc, sessions_of_a_peer_are_bounded);
    tcase_add_test(tc, hellos_at_once_do_not_put_each_other_out);
    tcase_add_test(tc, each_peer_is_known_by_its_role);
    tcase_add_test(tc, ten_thousand_out_of_order);
    tcase_add_test(tc, bodies_of_every_size);
    tcase_add_test(tc, frames_are_as_the_protocol_says);
    tcase_add_test(tc, peers_files_with_faults);
    tcase_add_test(tc, a_peers_file_that_is_not_there);
    tcase_add_test(tc, too_many_peers);
    tcase_add_test(tc, peers_come_from_a_file);
    tcase_add_test(tc, identities_live_in_key_files);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
