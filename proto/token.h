/*
 * token.h - v1.<partition>.<epoch>.<device>.<uuid v7>: made and parsed here only.
 *
 * At most TOKEN_BYTES_MAX bytes of ASCII. Given to the provider as biz_opaque_callback_data, so a
 * receipt shows by itself which driver sent it. Pure: time and randomness are arguments.
 */
#pragma once
#include "proto/limits.h"
#include "shared/base.h"

struct token {
    char partition[NAME_BYTES_MAX + 1];
    uint64_t epoch;
    int32_t device_id;
    struct uuid id;
};

/* uuid v7: 48 bits of unix ms, version, then 74 bits from random[10]. */
struct uuid token_uuid(int64_t unix_usec, const uint8_t random[static 10]);
int64_t token_uuid_time(const struct uuid *id); /* unix usec, ms precision */
size_t token_write(char ret[static TOKEN_BYTES_MAX + 1],
                   const struct token *t);                          /* bytes, NUL after */
int token_parse(struct token *ret, struct slice text) _must_check_; /* 0 or -EINVAL */
void token_uuid_write(char ret[static 37], const struct uuid *id);
int token_uuid_parse(struct uuid *ret, struct slice text) _must_check_;
