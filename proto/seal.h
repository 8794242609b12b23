/*
 * seal.h - who is speaking: identities, the peers file, sealed sessions with a replay window.
 *
 * Sans I/O: bytes in, bytes out; only randomness is drawn here (libsodium). DESIGN §8, PROTOCOL.md
 * "Frames". One session per direction of asking: the client opens it with a HELLO (its public key,
 * 32 random bytes sealed under the static keys with XChaCha20-Poly1305 and a random nonce), the
 * server answers with its own; session keys are BLAKE2b(crypto_kx keys, both randoms, cluster id),
 * counters start at 0, a 1,024-wide window refuses replays. A restart of either side ends the
 * session, so no (key, nonce) repeats and nothing recorded earlier is valid. Whatever does not open
 * is counted by reason and gets no answer.
 */
#pragma once
#include <stdio.h>

#include "proto/limits.h"
#include "shared/base.h"

#define SEAL_KEY_BYTES    32u
#define SEAL_VERSION      1u
#define SEAL_OVERHEAD_MAX 64u /* bytes a DATA frame is longer than its body */

enum role {
    ROLE_COORDINATOR = 1,
    ROLE_NODE = 2,
    ROLE_ADMIN = 4,   /* the fleetcast command, all verbs */
    ROLE_OBSERVER = 8 /* the fleetcast command, reading verbs */
};

struct peer {
    char name[NAME_BYTES_MAX + 1];
    unsigned role; /* one of enum role */
    uint8_t public_key[SEAL_KEY_BYTES];
};

/* The peers file: "cluster NAME" once, then "NAME ROLE PUBLIC-KEY-HEX" per line, # comments. */
struct peers {
    char cluster[65];
    unsigned count;
    struct peer peers[PEERS_MAX];
};
/* 0 or -EINVAL / -errno; faults to `errors` as FILE:LINE: reason. */
int peers_load(struct peers *ret, const char *path, FILE *errors) _must_check_;
const struct peer *peers_find(const struct peers *p, const char *name);
const char *role_name(unsigned role);

struct identity {
    uint8_t secret_key[SEAL_KEY_BYTES];
    uint8_t public_key[SEAL_KEY_BYTES];
};
int identity_load(struct identity *ret, const char *key_path) _must_check_; /* as secret_key_read */
int identity_create(struct identity *ret, const char *key_path) _must_check_;
void identity_wipe(struct identity *i);

/* Why frames were dropped, counted per process (health, metrics). */
enum seal_drop {
    SEAL_DROP_SHORT,
    SEAL_DROP_VERSION,
    SEAL_DROP_TYPE,
    SEAL_DROP_STRANGER,
    SEAL_DROP_FORGED,
    SEAL_DROP_REPLAY,
    SEAL_DROP_NO_SESSION,
    SEAL_DROP_COUNT
};
const char *seal_drop_name(enum seal_drop d);

/* Server side: many sessions. `peers` and `identity` are borrowed. */
struct seal_server;
struct seal_server *seal_server_new(const struct identity *identity, const struct peers *peers);
struct seal_server *seal_server_free(struct seal_server *s);
enum seal_in {
    SEAL_DROPPED,
    SEAL_REPLY_NOW, /* server: a hello, send the answer in *ret; client: the session is open now */
    SEAL_BODY       /* DATA: body opened */
};
/*
 * Takes one frame. For SEAL_REPLY_NOW the answer frame, for SEAL_BODY the opened body is in
 * *ret (borrowed until the next call); *ret_session_id names the session for seal_server_reply.
 * `request` is the id that travels beside the frame: a DATA frame opens only under the id that it
 * was sealed for, so nobody on the way can exchange two answers.
 */
enum seal_in seal_server_take(struct seal_server *s, uint32_t request, struct slice frame,
                              struct slice *ret, uint64_t *ret_session_id,
                              const struct peer **ret_peer);
/* Seals an answer on a session; -ESTALE when it is gone, -E2BIG above BODY_BYTES_MAX. *ret borrowed
 * until the next call. */
int seal_server_reply(struct seal_server *s, uint64_t session_id, uint32_t request,
                      struct slice body, struct slice *ret) _must_check_;
const uint64_t *seal_server_drops(const struct seal_server *s); /* [SEAL_DROP_COUNT] */

/* Client side: one session with one peer. */
struct seal_client;
struct seal_client *seal_client_new(const struct identity *identity, const struct peers *peers,
                                    const struct peer *server);
struct seal_client *seal_client_free(struct seal_client *c);
/* A new session is asked for; nothing is sealed until it is open, but answers on the one before are
 * still heard. 0, -EKEYREJECTED (the server's public key can share no secret). */
int seal_client_hello(struct seal_client *c, struct slice *ret_frame) _must_check_;
bool seal_client_open(const struct seal_client *c); /* the hello was answered */
int seal_client_seal(struct seal_client *c, uint32_t request, struct slice body,
                     struct slice *ret_frame) _must_check_; /* -ENOTCONN, -E2BIG */
enum seal_in seal_client_take(struct seal_client *c, uint32_t request, struct slice frame,
                              struct slice *ret_body);
