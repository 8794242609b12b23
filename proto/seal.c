/* seal.c - hello, session keys and sealed frames as PROTOCOL.md §2 draws them, on libsodium. */
#include "proto/seal.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "shared/secret.h"

#define KEY_BYTES     crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define NONCE_BYTES   crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES     crypto_aead_xchacha20poly1305_ietf_ABYTES
#define RANDOM_BYTES  32u
#define SEALED_RANDOM (RANDOM_BYTES + TAG_BYTES)

enum frame_type { FRAME_HELLO = 1, FRAME_HELLO_REPLY = 2, FRAME_DATA = 3 };

/* Offsets of PROTOCOL.md §2. */
#define HELLO_KEY_AT     2u
#define HELLO_NONCE_AT   (HELLO_KEY_AT + SEAL_KEY_BYTES)
#define HELLO_SEALED_AT  (HELLO_NONCE_AT + NONCE_BYTES)
#define HELLO_BYTES      (HELLO_SEALED_AT + SEALED_RANDOM)
#define REPLY_SESSION_AT 2u
#define REPLY_NONCE_AT   (REPLY_SESSION_AT + 8u)
#define REPLY_SEALED_AT  (REPLY_NONCE_AT + NONCE_BYTES)
#define REPLY_BYTES      (REPLY_SEALED_AT + SEALED_RANDOM)
#define DATA_SESSION_AT  2u
#define DATA_COUNTER_AT  (DATA_SESSION_AT + 8u)
#define DATA_SEALED_AT   (DATA_COUNTER_AT + 8u)
#define DATA_BOUND_BYTES (DATA_SEALED_AT + 4u)

#define WINDOW_BITS          1024u
#define PENDING_PER_PEER_MAX 8u
#define NONCES_REMEMBERED    64u
#define SESSION_SLOTS        (SESSIONS_PER_PEER_MAX + PENDING_PER_PEER_MAX)
#define SESSION_PEER_MASK    0xffu
#define PERSONAL_HELLO       "fleetcast hello"
#define PERSONAL_DATA        "fleetcast data\0"
#define CLUSTER_BYTES_MAX    (sizeof(((struct peers *) NULL)->cluster) - 1)

static_assert(HELLO_BYTES == 106 && REPLY_BYTES == 82, "PROTOCOL.md gives these figures");
static_assert(DATA_SEALED_AT + TAG_BYTES <= SEAL_OVERHEAD_MAX, "a body's room in a frame");
static_assert(BODY_BYTES_MAX + SEAL_OVERHEAD_MAX <= FRAME_BYTES_MAX, "a body fits a frame");
static_assert(PEERS_MAX <= SESSION_PEER_MASK + 1, "the place of a peer fits its session ids");
static_assert(KEY_BYTES == SEAL_KEY_BYTES && crypto_kx_SESSIONKEYBYTES == KEY_BYTES, "keys");
static_assert(sizeof(PERSONAL_HELLO) == crypto_generichash_blake2b_PERSONALBYTES &&
                  sizeof(PERSONAL_DATA) == crypto_generichash_blake2b_PERSONALBYTES,
              "personalisations are 16 bytes, the last one zero");

const char *
seal_drop_name(enum seal_drop d)
{
    static const char *const names[SEAL_DROP_COUNT] = {
        [SEAL_DROP_SHORT] = "short",
        [SEAL_DROP_VERSION] = "version",
        [SEAL_DROP_TYPE] = "type",
        [SEAL_DROP_STRANGER] = "stranger",
        [SEAL_DROP_FORGED] = "forged",
        [SEAL_DROP_REPLAY] = "replay",
        [SEAL_DROP_NO_SESSION] = "no_session",
    };

    return (unsigned) d < SEAL_DROP_COUNT ? names[d] : "?";
}

/* ---- identities ---- */

int
identity_load(struct identity *ret, const char *key_path)
{
    struct identity i;
    int r = secret_key_read(key_path, i.secret_key);

    if (r < 0)
        return r;
    crypto_scalarmult_base(i.public_key, i.secret_key);
    *ret = i;
    identity_wipe(&i);
    return 0;
}

int
identity_create(struct identity *ret, const char *key_path)
{
    struct identity i;
    int r = secret_key_create(key_path, i.secret_key);

    if (r < 0)
        return r;
    crypto_scalarmult_base(i.public_key, i.secret_key);
    *ret = i;
    identity_wipe(&i);
    return 0;
}

void
identity_wipe(struct identity *i)
{
    sodium_memzero(i, sizeof(*i));
}

/* ---- keys ---- */

/* What two principals share for one direction of asking. */
struct pair {
    uint8_t up[KEY_BYTES], down[KEY_BYTES]; /* crypto_kx of the static keys */
    uint8_t hello_up[KEY_BYTES], hello_down[KEY_BYTES];
};

static void
keyed_hash(uint8_t ret[static KEY_BYTES], const uint8_t key[static KEY_BYTES],
           const char personal[static crypto_generichash_blake2b_PERSONALBYTES],
           const uint8_t *message, size_t bytes)
{
    int r = crypto_generichash_blake2b_salt_personal(ret, KEY_BYTES, message, bytes, key, KEY_BYTES,
                                                     NULL, (const uint8_t *) personal);

    assert(r == 0);
}

/* false: the other's public key is of low order, nothing can be shared with it. */
static bool
pair_make(struct pair *ret, const struct identity *self, const uint8_t *other_key, bool asking,
          const char *cluster)
{
    int r = asking ? crypto_kx_client_session_keys(ret->down, ret->up, self->public_key,
                                                   self->secret_key, other_key)
                   : crypto_kx_server_session_keys(ret->up, ret->down, self->public_key,
                                                   self->secret_key, other_key);

    if (r != 0)
        return false;
    keyed_hash(ret->hello_up, ret->up, PERSONAL_HELLO, (const uint8_t *) cluster, strlen(cluster));
    keyed_hash(ret->hello_down, ret->down, PERSONAL_HELLO, (const uint8_t *) cluster,
               strlen(cluster));
    return true;
}

struct window { /* counters seen; all zero = none */
    uint64_t next;
    uint64_t bits[WINDOW_BITS / 64];
};

static bool
window_is_new(const struct window *w, uint64_t counter)
{
    uint64_t place = counter % WINDOW_BITS;

    if (counter == UINT64_MAX) /* `next` could not rise above it */
        return false;
    if (counter >= w->next)
        return true;
    return w->next - counter <= WINDOW_BITS && !(w->bits[place / 64] >> place % 64 & 1);
}

static void
window_mark(struct window *w, uint64_t counter)
{
    uint64_t place = counter % WINDOW_BITS;

    if (counter >= w->next) {
        if (counter - w->next >= WINDOW_BITS)
            memset(w->bits, 0, sizeof(w->bits));
        else
            for (uint64_t c = w->next; c < counter; c++)
                w->bits[c % WINDOW_BITS / 64] &= ~(UINT64_C(1) << c % 64);
        w->next = counter + 1;
    }
    w->bits[place / 64] |= UINT64_C(1) << place % 64;
}

enum session_state { SESSION_FREE, SESSION_PENDING, SESSION_LIVE };

struct session {
    enum session_state state;
    uint64_t id;
    uint64_t touched; /* the server's step at which it was last used */
    uint64_t sent;    /* counter of the next frame out */
    struct window seen;
    uint8_t up[KEY_BYTES], down[KEY_BYTES];
};

static void
session_keys(struct session *s, const struct pair *pair, const uint8_t *client_random,
             const uint8_t *server_random, const char *cluster)
{
    uint8_t message[2 * RANDOM_BYTES + CLUSTER_BYTES_MAX];
    size_t bytes = 2 * RANDOM_BYTES + strlen(cluster);

    memcpy(message, client_random, RANDOM_BYTES);
    memcpy(message + RANDOM_BYTES, server_random, RANDOM_BYTES);
    memcpy(message + 2 * RANDOM_BYTES, cluster, strlen(cluster));
    keyed_hash(s->up, pair->up, PERSONAL_DATA, message, bytes);
    keyed_hash(s->down, pair->down, PERSONAL_DATA, message, bytes);
    sodium_memzero(message, sizeof(message));
}

/* ---- frames ---- */

static void
put_u64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t) (v >> (56 - 8 * i));
}

static uint64_t
get_u64(const uint8_t *p)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static void
aead_seal(uint8_t *ret, const uint8_t *plain, size_t bytes, const uint8_t *head, size_t head_bytes,
          const uint8_t *nonce, const uint8_t *key)
{
    int r = crypto_aead_xchacha20poly1305_ietf_encrypt(ret, NULL, plain, bytes, head, head_bytes,
                                                       NULL, nonce, key);

    assert(r == 0);
}

static bool
aead_open(uint8_t *ret, const uint8_t *sealed, size_t bytes, const uint8_t *head, size_t head_bytes,
          const uint8_t *nonce, const uint8_t *key)
{
    return crypto_aead_xchacha20poly1305_ietf_decrypt(ret, NULL, NULL, sealed, bytes, head,
                                                      head_bytes, nonce, key) == 0;
}

static void
counter_nonce(uint8_t ret[static NONCE_BYTES], uint64_t counter)
{
    memset(ret, 0, NONCE_BYTES);
    put_u64(ret + NONCE_BYTES - 8, counter);
}

/* What a DATA frame is bound to besides its bytes: its head and the request id that nng carries. */
static void
data_binding(uint8_t ret[static DATA_BOUND_BYTES], const uint8_t *head, uint32_t request)
{
    memcpy(ret, head, DATA_SEALED_AT);
    for (unsigned i = 0; i < 4; i++)
        ret[DATA_SEALED_AT + i] = (uint8_t) (request >> (24 - 8 * i));
}

/* The whole DATA frame into `out` (room for FRAME_BYTES_MAX). 0, -E2BIG. */
static int
data_seal(struct session *s, const uint8_t *key, uint32_t request, struct slice body, uint8_t *out,
          struct slice *ret)
{
    uint8_t nonce[NONCE_BYTES], bound[DATA_BOUND_BYTES];

    if (body.bytes > BODY_BYTES_MAX)
        return -E2BIG;
    assert(s->sent < UINT64_MAX);
    out[0] = SEAL_VERSION;
    out[1] = FRAME_DATA;
    put_u64(out + DATA_SESSION_AT, s->id);
    put_u64(out + DATA_COUNTER_AT, s->sent);
    counter_nonce(nonce, s->sent);
    s->sent++;
    data_binding(bound, out, request);
    aead_seal(out + DATA_SEALED_AT, (const uint8_t *) body.data, body.bytes, bound, sizeof(bound),
              nonce, key);
    *ret = (struct slice){(const char *) out, DATA_SEALED_AT + body.bytes + TAG_BYTES};
    return 0;
}

/* Opens a DATA frame of session `s` into `out`. SEAL_DROP_COUNT = it opened. */
static enum seal_drop
data_open(struct session *s, const uint8_t *key, uint32_t request, struct slice frame, uint8_t *out,
          struct slice *ret)
{
    const uint8_t *p = (const uint8_t *) frame.data;
    uint64_t counter = get_u64(p + DATA_COUNTER_AT);
    size_t sealed_bytes = frame.bytes - DATA_SEALED_AT;
    uint8_t nonce[NONCE_BYTES], bound[DATA_BOUND_BYTES];

    if (!window_is_new(&s->seen, counter))
        return SEAL_DROP_REPLAY;
    counter_nonce(nonce, counter);
    data_binding(bound, p, request);
    if (!aead_open(out, p + DATA_SEALED_AT, sealed_bytes, bound, sizeof(bound), nonce, key))
        return SEAL_DROP_FORGED;
    window_mark(&s->seen, counter);
    *ret = (struct slice){(const char *) out, sealed_bytes - TAG_BYTES};
    return SEAL_DROP_COUNT;
}

/* Version, type and length. SEAL_DROP_COUNT = the frame is one of these types. */
static enum seal_drop
judge_outside(struct slice frame, enum frame_type hello, enum frame_type *ret_type)
{
    const uint8_t *p = (const uint8_t *) frame.data;
    size_t hello_bytes = hello == FRAME_HELLO ? HELLO_BYTES : REPLY_BYTES;

    if (frame.bytes < 2)
        return SEAL_DROP_SHORT;
    if (p[0] != SEAL_VERSION)
        return SEAL_DROP_VERSION;
    if (p[1] != hello && p[1] != FRAME_DATA)
        return SEAL_DROP_TYPE;
    if (p[1] == hello ? frame.bytes != hello_bytes : frame.bytes < DATA_SEALED_AT + TAG_BYTES)
        return SEAL_DROP_SHORT;
    if (frame.bytes > FRAME_BYTES_MAX)
        return SEAL_DROP_SHORT;
    *ret_type = p[1];
    return SEAL_DROP_COUNT;
}

/* ---- server ---- */

struct member {
    const struct peer *peer;
    bool usable;
    struct pair pair;
    uint64_t nonces[NONCES_REMEMBERED]; /* first 8 bytes of each, a ring */
    unsigned nonce_count;
    struct session sessions[SESSION_SLOTS];
};

struct seal_server {
    const struct identity *identity;
    const struct peers *peers;
    uint64_t step;
    uint64_t drops[SEAL_DROP_COUNT];
    uint8_t *in, *out; /* FRAME_BYTES_MAX each */
    unsigned count;
    struct member members[];
};

struct seal_server *
seal_server_new(const struct identity *identity, const struct peers *peers)
{
    struct seal_server *s = calloc(1, sizeof(*s) + peers->count * sizeof(s->members[0]));

    if (!s)
        return NULL;
    s->identity = identity;
    s->peers = peers;
    s->count = peers->count;
    s->in = malloc(FRAME_BYTES_MAX);
    s->out = malloc(FRAME_BYTES_MAX);
    if (!s->in || !s->out)
        return seal_server_free(s);
    for (unsigned i = 0; i < s->count; i++) {
        struct member *m = &s->members[i];

        m->peer = &peers->peers[i];
        m->usable = pair_make(&m->pair, identity, m->peer->public_key, false, peers->cluster);
    }
    return s;
}

struct seal_server *
seal_server_free(struct seal_server *s)
{
    if (!s)
        return NULL;
    if (s->in)
        sodium_memzero(s->in, FRAME_BYTES_MAX);
    free(s->in);
    free(s->out);
    sodium_memzero(s, sizeof(*s) + s->count * sizeof(s->members[0]));
    free(s);
    return NULL;
}

const uint64_t *
seal_server_drops(const struct seal_server *s)
{
    return s->drops;
}

static struct member *
find_member(struct seal_server *s, const uint8_t *public_key)
{
    for (unsigned i = 0; i < s->count; i++)
        if (memcmp(s->members[i].peer->public_key, public_key, SEAL_KEY_BYTES) == 0)
            return s->members[i].usable ? &s->members[i] : NULL;
    return NULL;
}

static struct session *
find_session(struct seal_server *s, uint64_t id, struct member **ret_member)
{
    unsigned place = (unsigned) (id & SESSION_PEER_MASK);

    if (place >= s->count)
        return NULL;
    for (unsigned i = 0; i < SESSION_SLOTS; i++) {
        struct session *session = &s->members[place].sessions[i];

        if (session->state != SESSION_FREE && session->id == id) {
            *ret_member = &s->members[place];
            return session;
        }
    }
    return NULL;
}

/* How many sessions of the peer are in `state`, and which of them was idle longest. */
static unsigned
count_sessions(struct member *m, enum session_state state, struct session **ret_idlest)
{
    unsigned count = 0;

    *ret_idlest = NULL;
    for (unsigned i = 0; i < SESSION_SLOTS; i++) {
        struct session *s = &m->sessions[i];

        if (s->state != state)
            continue;
        count++;
        if (!*ret_idlest || s->touched < (*ret_idlest)->touched)
            *ret_idlest = s;
    }
    return count;
}

/* Room for a pending session: a free slot, or the oldest pending one's. Never a live one's. */
static struct session *
pending_slot(struct member *m)
{
    struct session *oldest, *unused;

    if (count_sessions(m, SESSION_PENDING, &oldest) == PENDING_PER_PEER_MAX)
        return oldest;
    count_sessions(m, SESSION_FREE, &unused);
    assert(unused); /* live ones and pending ones are bounded below the slots */
    return unused;
}

static void
make_live(struct member *m, struct session *s)
{
    struct session *idlest;

    if (count_sessions(m, SESSION_LIVE, &idlest) == SESSIONS_PER_PEER_MAX)
        sodium_memzero(idlest, sizeof(*idlest));
    s->state = SESSION_LIVE;
}

static bool
nonce_is_remembered(const struct member *m, uint64_t nonce)
{
    for (unsigned i = 0; i < MIN_OF(m->nonce_count, NONCES_REMEMBERED); i++)
        if (m->nonces[i] == nonce)
            return true;
    return false;
}

static void
remember_nonce(struct member *m, uint64_t nonce)
{
    m->nonces[m->nonce_count % NONCES_REMEMBERED] = nonce;
    m->nonce_count++;
    if (m->nonce_count == 2 * NONCES_REMEMBERED) /* stays "full" without ever wrapping */
        m->nonce_count = NONCES_REMEMBERED;
}

/* The frame that answers a hello, and the session's keys with it. */
static struct slice
answer_hello(struct seal_server *s, const struct member *m, struct session *session,
             const uint8_t *client_random)
{
    uint8_t random[RANDOM_BYTES], head[REPLY_SEALED_AT + RANDOM_BYTES];
    uint8_t *out = s->out;

    randombytes_buf(random, sizeof(random));
    out[0] = SEAL_VERSION;
    out[1] = FRAME_HELLO_REPLY;
    put_u64(out + REPLY_SESSION_AT, session->id);
    randombytes_buf(out + REPLY_NONCE_AT, NONCE_BYTES);
    memcpy(head, out, REPLY_SEALED_AT);
    memcpy(head + REPLY_SEALED_AT, client_random, RANDOM_BYTES); /* answers this hello only */
    aead_seal(out + REPLY_SEALED_AT, random, sizeof(random), head, sizeof(head),
              out + REPLY_NONCE_AT, m->pair.hello_down);
    session_keys(session, &m->pair, client_random, random, s->peers->cluster);
    sodium_memzero(random, sizeof(random));
    sodium_memzero(head, sizeof(head));
    return (struct slice){(const char *) out, REPLY_BYTES};
}

/* Cheap tests first: a stranger costs a table look-up, a replay 64 comparisons, a forger one AEAD.
 */
static enum seal_drop
take_hello(struct seal_server *s, const uint8_t *p, struct slice *ret, struct session **ret_session,
           struct member **ret_member)
{
    struct member *m = find_member(s, p + HELLO_KEY_AT);
    uint64_t nonce = get_u64(p + HELLO_NONCE_AT);
    uint8_t client_random[RANDOM_BYTES];
    struct session *session;

    if (!m)
        return SEAL_DROP_STRANGER;
    if (nonce_is_remembered(m, nonce))
        return SEAL_DROP_REPLAY;
    if (!aead_open(client_random, p + HELLO_SEALED_AT, SEALED_RANDOM, p, HELLO_SEALED_AT,
                   p + HELLO_NONCE_AT, m->pair.hello_up))
        return SEAL_DROP_FORGED;
    remember_nonce(m, nonce);
    session = pending_slot(m);
    *session = (struct session){.state = SESSION_PENDING, .touched = ++s->step};
    randombytes_buf(&session->id, sizeof(session->id));
    session->id = (session->id & ~(uint64_t) SESSION_PEER_MASK) | (uint64_t) (m - s->members);
    *ret = answer_hello(s, m, session, client_random);
    sodium_memzero(client_random, sizeof(client_random));
    *ret_session = session;
    *ret_member = m;
    return SEAL_DROP_COUNT;
}

static enum seal_drop
take_data(struct seal_server *s, uint32_t request, struct slice frame, struct slice *ret,
          struct session **ret_session, struct member **ret_member)
{
    uint64_t id = get_u64((const uint8_t *) frame.data + DATA_SESSION_AT);
    struct member *m = NULL;
    struct session *session = find_session(s, id, &m);
    enum seal_drop drop;

    if (!session)
        return SEAL_DROP_NO_SESSION;
    drop = data_open(session, session->up, request, frame, s->in, ret);
    if (drop != SEAL_DROP_COUNT)
        return drop;
    if (session->state == SESSION_PENDING)
        make_live(m, session);
    session->touched = ++s->step;
    *ret_session = session;
    *ret_member = m;
    return SEAL_DROP_COUNT;
}

enum seal_in
seal_server_take(struct seal_server *s, uint32_t request, struct slice frame, struct slice *ret,
                 uint64_t *ret_session_id, const struct peer **ret_peer)
{
    enum frame_type type = FRAME_DATA;
    struct session *session = NULL;
    struct member *m = NULL;
    enum seal_drop drop = judge_outside(frame, FRAME_HELLO, &type);

    if (drop == SEAL_DROP_COUNT)
        drop = type == FRAME_HELLO ? take_hello(s, (const uint8_t *) frame.data, ret, &session, &m)
                                   : take_data(s, request, frame, ret, &session, &m);
    if (drop != SEAL_DROP_COUNT) {
        s->drops[drop]++;
        return SEAL_DROPPED;
    }
    *ret_session_id = session->id;
    *ret_peer = m->peer;
    return type == FRAME_HELLO ? SEAL_REPLY_NOW : SEAL_BODY;
}

int
seal_server_reply(struct seal_server *s, uint64_t session_id, uint32_t request, struct slice body,
                  struct slice *ret)
{
    struct member *m;
    struct session *session = find_session(s, session_id, &m);

    if (!session || session->state != SESSION_LIVE)
        return -ESTALE;
    return data_seal(session, session->down, request, body, s->out, ret);
}

/* ---- client ---- */

struct seal_client {
    const struct identity *identity;
    const struct peers *peers;
    const struct peer *server;
    bool usable;
    struct pair pair;
    bool asked; /* a hello is out, its random below */
    uint8_t random[RANDOM_BYTES];
    struct session now, before; /* LIVE or FREE; `before` only hears */
    uint8_t *in, *out;          /* FRAME_BYTES_MAX each */
};

struct seal_client *
seal_client_new(const struct identity *identity, const struct peers *peers,
                const struct peer *server)
{
    struct seal_client *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->identity = identity;
    c->peers = peers;
    c->server = server;
    c->in = malloc(FRAME_BYTES_MAX);
    c->out = malloc(FRAME_BYTES_MAX);
    if (!c->in || !c->out)
        return seal_client_free(c);
    c->usable = pair_make(&c->pair, identity, server->public_key, true, peers->cluster);
    return c;
}

struct seal_client *
seal_client_free(struct seal_client *c)
{
    if (!c)
        return NULL;
    if (c->in)
        sodium_memzero(c->in, FRAME_BYTES_MAX);
    free(c->in);
    free(c->out);
    sodium_memzero(c, sizeof(*c));
    free(c);
    return NULL;
}

bool
seal_client_open(const struct seal_client *c)
{
    return c->now.state == SESSION_LIVE;
}

int
seal_client_hello(struct seal_client *c, struct slice *ret_frame)
{
    uint8_t *out = c->out;

    if (!c->usable)
        return -EKEYREJECTED;
    if (c->now.state == SESSION_LIVE)
        c->before = c->now;
    sodium_memzero(&c->now, sizeof(c->now));
    randombytes_buf(c->random, sizeof(c->random));
    c->asked = true;
    out[0] = SEAL_VERSION;
    out[1] = FRAME_HELLO;
    memcpy(out + HELLO_KEY_AT, c->identity->public_key, SEAL_KEY_BYTES);
    randombytes_buf(out + HELLO_NONCE_AT, NONCE_BYTES);
    aead_seal(out + HELLO_SEALED_AT, c->random, sizeof(c->random), out, HELLO_SEALED_AT,
              out + HELLO_NONCE_AT, c->pair.hello_up);
    *ret_frame = (struct slice){(const char *) out, HELLO_BYTES};
    return 0;
}

int
seal_client_seal(struct seal_client *c, uint32_t request, struct slice body,
                 struct slice *ret_frame)
{
    if (!seal_client_open(c))
        return -ENOTCONN;
    return data_seal(&c->now, c->now.up, request, body, c->out, ret_frame);
}

static enum seal_in
take_hello_reply(struct seal_client *c, const uint8_t *p)
{
    uint8_t head[REPLY_SEALED_AT + RANDOM_BYTES], random[RANDOM_BYTES];

    if (!c->asked)
        return SEAL_DROPPED;
    memcpy(head, p, REPLY_SEALED_AT);
    memcpy(head + REPLY_SEALED_AT, c->random, RANDOM_BYTES);
    if (!aead_open(random, p + REPLY_SEALED_AT, SEALED_RANDOM, head, sizeof(head),
                   p + REPLY_NONCE_AT, c->pair.hello_down))
        return SEAL_DROPPED;
    c->now = (struct session){.state = SESSION_LIVE, .id = get_u64(p + REPLY_SESSION_AT)};
    session_keys(&c->now, &c->pair, c->random, random, c->peers->cluster);
    c->asked = false;
    sodium_memzero(c->random, sizeof(c->random));
    sodium_memzero(random, sizeof(random));
    sodium_memzero(head, sizeof(head));
    return SEAL_REPLY_NOW;
}

enum seal_in
seal_client_take(struct seal_client *c, uint32_t request, struct slice frame,
                 struct slice *ret_body)
{
    const uint8_t *p = (const uint8_t *) frame.data;
    enum frame_type type = FRAME_DATA;
    struct session *s = NULL;

    if (judge_outside(frame, FRAME_HELLO_REPLY, &type) != SEAL_DROP_COUNT)
        return SEAL_DROPPED;
    if (type == FRAME_HELLO_REPLY)
        return take_hello_reply(c, p);
    if (c->now.state == SESSION_LIVE && c->now.id == get_u64(p + DATA_SESSION_AT))
        s = &c->now;
    else if (c->before.state == SESSION_LIVE && c->before.id == get_u64(p + DATA_SESSION_AT))
        s = &c->before;
    if (!s || data_open(s, s->down, request, frame, c->in, ret_body) != SEAL_DROP_COUNT)
        return SEAL_DROPPED;
    return SEAL_BODY;
}
