/*
 * secret.h - random bytes, key files, sealed values at rest, keyed hashes.
 *
 * The only user of libsodium besides proto/seal. Buffers that held keys are wiped by the caller
 * with secret_wipe. Errors: 0 or -errno; -EBADMSG = does not open (wrong key, data or context).
 */
#pragma once
#include "shared/base.h"

#define SECRET_KEY_BYTES     32u
#define SECRET_SEAL_OVERHEAD 42u /* kid 2 + nonce 24 + tag 16 */

int secret_start(void) _must_check_; /* once, first thing in main; 0 or -ENOSYS */
void secret_random(void *buf, size_t bytes);
void secret_wipe(void *buf, size_t bytes);
bool secret_equal(const void *a, const void *b, size_t bytes); /* constant time */
void secret_hex(char *ret_text, size_t size, const uint8_t *bytes, size_t count);
int secret_unhex(uint8_t *ret, size_t bytes, const char *text, size_t text_bytes) _must_check_;

/* Key file: 64 hex digits and a newline, mode 0600 or 0400 (others refused: -EPERM). */
int secret_key_read(const char *path, uint8_t ret_key[static SECRET_KEY_BYTES]) _must_check_;
/* Creates the file (never overwrites: -EEXIST) with a fresh random key. */
int secret_key_create(const char *path, uint8_t ret_key[static SECRET_KEY_BYTES]) _must_check_;

/*
 * kid(2, big endian) | nonce(24) | XChaCha20-Poly1305(plain), context as associated data.
 * Device tokens use context "tok1|<device_id>|<kid>" (DETAILS): they open anywhere in the cluster,
 * but not on another device's row. out must hold plain.bytes + SECRET_SEAL_OVERHEAD.
 */
int secret_seal(const uint8_t key[static SECRET_KEY_BYTES], uint16_t kid, struct slice context,
                struct slice plain, uint8_t *out, size_t size, size_t *ret_bytes) _must_check_;
int secret_open(const uint8_t key[static SECRET_KEY_BYTES], struct slice context,
                struct slice sealed, uint8_t *out, size_t size, size_t *ret_bytes) _must_check_;

/* Keyed BLAKE2b of data, separated by context: tells that two values are the same to who has the
 * key, and nothing to anybody else. */
#define SECRET_HASH_BYTES 32u
void secret_keyed_hash(const uint8_t key[static SECRET_KEY_BYTES], struct slice context,
                       struct slice data, uint8_t ret_hash[static SECRET_HASH_BYTES]);

/* 64 bits of BLAKE2b: for scope names of tokens ("tok:<hex>"), never for authentication. */
uint64_t secret_hash64(struct slice data);
