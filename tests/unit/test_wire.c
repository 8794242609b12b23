/* test_wire.c - what is malformed never reaches msgpack-c; the walk and msgpack-c agree. */
#include <check.h>
#include <errno.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "proto/wire.h"
#include "shared/rng.h"

#define BODY(text) ((struct slice){(text), sizeof(text) - 1})

START_TEST(walk_refuses_malformed)
{
    static const struct slice bad[] = {
        {"", 0},
        BODY("\xc1"),                 /* never used */
        BODY("\xdd\xff\xff\xff\xff"), /* 4 billion elements in 5 bytes */
        BODY("\xdd\x04\x00\x00\x00"), /* 64 million: 1.6 GB if believed */
        BODY("\xdc\xff\xff\x00"),     /* too few elements */
        BODY("\xdb\xff\xff\xff\xff"
             "a"), /* a string longer than the buffer */
        BODY("\xc6\xff\xff\xff\xff"
             "a"),
        BODY("\xdf\xff\xff\xff\xff"), /* maps */
        BODY("\x80"),
        BODY("\x81\x01\x02"),
        BODY("\xca\x00\x00\x00\x00"), /* floats */
        BODY("\xcb\x00\x00\x00\x00\x00\x00\x00\x00"),
        BODY("\xd4\x01\x01"), /* ext */
        BODY("\xc7\x01\x01\x01"),
        BODY("\x92\x01"),     /* cut */
        BODY("\x92\x91\x01"), /* the inner array takes what the outer one lacks */
        BODY("\xcd\x01"),
        BODY("\xda\x00"),
        BODY("\x01\x02"),                             /* two values */
        BODY("\x91\x01\x00"),                         /* something behind */
        BODY("\x91\x91\x91\x91\x91\x91\x91\x91\x90"), /* nine deep */
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        ck_assert_msg(!wire_walk(bad[i]), "malformed body %zu was taken", i);
    ck_assert(wire_walk(BODY("\x91\x91\x91\x91\x91\x91\x91\x90"))); /* eight */
    ck_assert(wire_walk(BODY("\x90")));
    ck_assert(wire_walk(BODY("\x92\x91\x01\x02")));
}
END_TEST

START_TEST(walk_refuses_more_than_a_body)
{
    size_t bytes = BODY_BYTES_MAX + 1;
    char *big = calloc(1, bytes);
    uint32_t content = (uint32_t) bytes - 5;

    big[0] = (char) 0xc6;
    for (int i = 0; i < 4; i++)
        big[1 + i] = (char) (content >> (24 - 8 * i));
    ck_assert(!wire_walk((struct slice){big, bytes}));
    content--;
    big[4] = (char) content;
    ck_assert(wire_walk((struct slice){big, bytes - 1}));
    free(big);
}
END_TEST

static unsigned long
address_space_peak_kb(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    unsigned long kb = 0;

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "VmPeak: %lu kB", &kb) == 1)
            break;
    fclose(f);
    ck_assert_uint_gt(kb, 0);
    return kb;
}

/* 5 bytes that make msgpack-c reserve 24 per declared element. */
START_TEST(huge_count_allocates_nothing)
{
    struct wire_reader *r = wire_reader_new();
    unsigned long before = address_space_peak_kb();
    msgpack_unpacked u;
    size_t at = 0;

    ck_assert_int_eq(wire_read_open(r, BODY("\xdd\xff\xff\xff\xff")), -EBADMSG);
    ck_assert_int_eq(wire_read_open(r, BODY("\xdd\x04\x00\x00\x00")), -EBADMSG);
    ck_assert_int_eq(wire_read_open(r, BODY("\xdd\x00\x40\x00\x00")), -EBADMSG);
    ck_assert_uint_le(address_space_peak_kb(), before + 1024);
    wire_reader_free(r);
    /* and the measure sees what it is for: 4 million elements, believed */
    msgpack_unpacked_init(&u);
    ck_assert(msgpack_unpack_next(&u, "\xdd\x00\x40\x00\x00", 5, &at) != MSGPACK_UNPACK_SUCCESS);
    msgpack_unpacked_destroy(&u);
    ck_assert_uint_ge(address_space_peak_kb(), before + 64 * 1024);
}
END_TEST

/* ---- differential: msgpack-c is the oracle ---- */

static bool
only_our_types(const msgpack_object *o, unsigned depth)
{
    switch (o->type) {
    case MSGPACK_OBJECT_ARRAY:
        if (depth == FRAME_DEPTH_MAX)
            return false;
        for (uint32_t i = 0; i < o->via.array.size; i++)
            if (!only_our_types(&o->via.array.ptr[i], depth + 1))
                return false;
        return true;
    case MSGPACK_OBJECT_MAP:
    case MSGPACK_OBJECT_EXT:
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: return false;
    default: return true;
    }
}

static bool
oracle(struct slice body)
{
    msgpack_unpacked u;
    size_t at = 0;
    bool good;

    msgpack_unpacked_init(&u);
    good = msgpack_unpack_next(&u, body.data, body.bytes, &at) == MSGPACK_UNPACK_SUCCESS &&
           at == body.bytes && only_our_types(&u.data, 0);
    msgpack_unpacked_destroy(&u);
    return good;
}

/* The oracle believes counts: keep it from reserving memory for the large ones. */
static bool
is_safe_for_the_oracle(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (p[i] == 0xdd || p[i] == 0xdf)
            return false;
    return true;
}

START_TEST(walk_agrees_with_msgpack_c)
{
    struct rng rng;
    unsigned good = 0;

    rng_seed(&rng, 20240817);
    for (unsigned round = 0; round < 400000; round++) {
        static const uint8_t favourites[] = {0x90, 0x91, 0x92, 0x93, 0xa1, 0xa2, 0xc0, 0xc2,
                                             0xc4, 0xcc, 0xcd, 0xd0, 0xd9, 0xda, 0xdc, 0x00,
                                             0x01, 0x02, 0xff, 0xca, 0x81, 0xc7, 0xd4};
        uint8_t buffer[24];
        size_t bytes = rng_between(&rng, 0, sizeof(buffer));
        struct slice body = {(const char *) buffer, bytes};

        for (size_t i = 0; i < bytes; i++)
            buffer[i] = rng_next(&rng) % 4 ? favourites[rng_next(&rng) % ARRAY_SIZE(favourites)]
                                           : (uint8_t) rng_next(&rng);
        if (!is_safe_for_the_oracle(buffer, bytes))
            continue;
        ck_assert_int_eq(wire_walk(body), oracle(body));
        good += wire_walk(body);
    }
    ck_assert_uint_gt(good, 1000); /* both sides of the question were asked */
}
END_TEST

/* Arbitrary bytes, also with 32-bit counts: whatever the walk lets through, msgpack-c takes. */
START_TEST(what_passes_the_walk_opens)
{
    struct rng rng;
    struct wire_reader *r = wire_reader_new();

    rng_seed(&rng, 4711);
    for (unsigned round = 0; round < 400000; round++) {
        uint8_t buffer[32];
        size_t bytes = rng_between(&rng, 0, sizeof(buffer));
        struct slice body = {(const char *) buffer, bytes};

        for (size_t i = 0; i < bytes; i++)
            buffer[i] = (uint8_t) rng_next(&rng);
        if (bytes >= 5 && round % 2) {
            memcpy(buffer, "\xdd\x00\x00\x00", 4);
            buffer[4] %= 32;
        }
        ck_assert_int_eq(wire_read_open(r, body), wire_walk(body) ? 0 : -EBADMSG);
    }
    wire_reader_free(r);
}
END_TEST

/* ---- reader ---- */

START_TEST(reader_is_sticky)
{
    struct wire_reader *r = wire_reader_new();

    ck_assert_int_eq(wire_read_open(r, BODY("\x93\x07\xa1x\x08")), 0);
    ck_assert_uint_eq(wire_read_array(r, 3, 3), 3);
    ck_assert_uint_eq(wire_read_u64(r, 6), 0); /* 7 is above the bound */
    ck_assert_uint_eq(wire_read_text(r, 10).bytes, 0);
    ck_assert_uint_eq(wire_read_u64(r, 100), 0);
    ck_assert(!wire_read_bool(r));
    ck_assert(!wire_read_nil(r));
    ck_assert_uint_eq(wire_read_array(r, 0, 9), 0);
    ck_assert_ptr_null(wire_read_bytes(r, 0, 9).data);
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    ck_assert_int_eq(wire_read_open(r, BODY("\x01")), 0); /* a new body is a new start */
    ck_assert_uint_eq(wire_read_u64(r, 1), 1);
    ck_assert_int_eq(wire_read_close(r), 0);
    wire_reader_free(r);
}
END_TEST

START_TEST(reader_refuses_wrong_types_and_bounds)
{
    struct wire_reader *r = wire_reader_new();
    static const struct slice one[] = {BODY("\xa1"
                                            "1"),
                                       BODY("\xff"),
                                       BODY("\xc3"),
                                       BODY("\xc0"),
                                       BODY("\x90"),
                                       BODY("\xc4\x01x")};

    for (size_t i = 0; i < ARRAY_SIZE(one); i++) {
        ck_assert_int_eq(wire_read_open(r, one[i]), 0);
        wire_read_u64(r, UINT64_MAX);
        ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    }
    ck_assert_int_eq(wire_read_open(r, BODY("\xcf\x80\x00\x00\x00\x00\x00\x00\x00")), 0);
    wire_read_i64(r, INT64_MIN, INT64_MAX); /* does not fit */
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    ck_assert_int_eq(wire_read_open(r, BODY("\xfe")), 0);
    wire_read_i64(r, -1, 5);
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    ck_assert_int_eq(wire_read_open(r, BODY("\xa3"
                                            "abc")),
                     0);
    wire_read_text(r, 2);
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    ck_assert_int_eq(wire_read_open(r, BODY("\xa2\xc3\x28")), 0); /* not UTF-8 */
    wire_read_text(r, 9);
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    ck_assert_int_eq(wire_read_open(r, BODY("\xa2"
                                            "a\0")),
                     0); /* a NUL */
    wire_read_text(r, 9);
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    ck_assert_int_eq(wire_read_open(r, BODY("\x92\x01\x02")), 0);
    wire_read_array(r, 3, 9);
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    ck_assert_int_eq(wire_read_open(r, BODY("\xc4\x01x")), 0);
    wire_read_bytes(r, 2, 9);
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    wire_reader_free(r);
}
END_TEST

START_TEST(close_refuses_what_was_not_read)
{
    struct wire_reader *r = wire_reader_new();

    ck_assert_int_eq(wire_read_open(r, BODY("\x92\x01\x02")), 0);
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    ck_assert_int_eq(wire_read_open(r, BODY("\x92\x01\x02")), 0);
    wire_read_array(r, 2, 2);
    wire_read_u64(r, 9);
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    ck_assert_int_eq(wire_read_open(r, BODY("\x91\x01")), 0);
    wire_read_array(r, 1, 1);
    wire_read_u64(r, 9);
    wire_read_u64(r, 9); /* more than there is */
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    wire_reader_free(r);
}
END_TEST

START_TEST(record_steps_over_what_it_does_not_know)
{
    struct wire_reader *r = wire_reader_new();

    /* [[1, 2, "new", [9]], 3]: two known elements in the record, then the outer one goes on */
    ck_assert_int_eq(wire_read_open(r, BODY("\x92\x94\x01\x02\xa3new\x91\x09\x03")), 0);
    wire_read_array(r, 2, 2);
    wire_read_record(r, 2, 2);
    ck_assert_uint_eq(wire_read_u64(r, 9), 1);
    ck_assert_uint_eq(wire_read_u64(r, 9), 2);
    ck_assert_uint_eq(wire_read_u64(r, 9), 3);
    ck_assert_int_eq(wire_read_close(r), 0);
    ck_assert_int_eq(wire_read_open(r, BODY("\x91\x01")), 0);
    wire_read_record(r, 2, 2); /* fewer than known */
    ck_assert_int_eq(wire_read_close(r), -EBADMSG);
    wire_reader_free(r);
}
END_TEST

/* ---- writer ---- */

START_TEST(writer_stops_at_a_body)
{
    struct wire_writer *w = wire_writer_new();
    char *big = calloc(1, BODY_BYTES_MAX);
    struct slice body = {big, 7};

    wire_bytes(w, big, BODY_BYTES_MAX - 5);
    ck_assert_int_eq(wire_writer_done(w, &body), 0);
    ck_assert_uint_eq(body.bytes, BODY_BYTES_MAX);
    ck_assert(wire_walk(body));
    wire_nil(w);
    ck_assert_int_eq(wire_writer_done(w, &body), -E2BIG);
    wire_writer_reset(w);
    wire_write_fail(w);
    wire_nil(w);
    ck_assert_int_eq(wire_writer_done(w, &body), -EINVAL);
    wire_writer_reset(w);
    wire_nil(w);
    ck_assert_int_eq(wire_writer_done(w, &body), 0);
    ck_assert_uint_eq(body.bytes, 1);
    free(big);
    wire_writer_free(w);
}
END_TEST

START_TEST(everything_comes_back)
{
    static const uint64_t unsigned_ones[] = {0,     127,   128,        255,       256,
                                             65535, 65536, UINT32_MAX, UINT64_MAX};
    static const int64_t signed_ones[] = {0,         -1,        -32, -33, -128,     -129,
                                          INT32_MIN, INT64_MIN, 127, 128, INT64_MAX};
    struct wire_writer *w = wire_writer_new();
    struct wire_reader *r = wire_reader_new();
    struct slice body, text;
    char long_text[70000];

    memset(long_text, 'x', sizeof(long_text));
    wire_array(w, 7 + ARRAY_SIZE(unsigned_ones) + ARRAY_SIZE(signed_ones));
    wire_bool(w, true);
    wire_bool(w, false);
    wire_nil(w);
    wire_cstr(w, "J\xc3\xbcrgen");
    wire_text(w, (struct slice){NULL, 0});
    wire_text(w, (struct slice){long_text, sizeof(long_text)});
    wire_bytes(w, "\0\xff", 2);
    for (size_t i = 0; i < ARRAY_SIZE(unsigned_ones); i++)
        wire_u64(w, unsigned_ones[i]);
    for (size_t i = 0; i < ARRAY_SIZE(signed_ones); i++)
        wire_i64(w, signed_ones[i]);
    ck_assert_int_eq(wire_writer_done(w, &body), 0);
    ck_assert_int_eq(wire_read_open(r, body), 0);
    wire_read_array(r, 1, 100);
    ck_assert(wire_read_bool(r));
    ck_assert(!wire_read_bool(r));
    ck_assert(wire_read_nil(r));
    text = wire_read_text(r, 100);
    ck_assert_uint_eq(text.bytes, 7);
    ck_assert_mem_eq(text.data, "J\xc3\xbcrgen", 7);
    ck_assert_uint_eq(wire_read_text(r, 0).bytes, 0);
    ck_assert_uint_eq(wire_read_text(r, sizeof(long_text)).bytes, sizeof(long_text));
    ck_assert_mem_eq(wire_read_bytes(r, 2, 2).data, "\0\xff", 2);
    for (size_t i = 0; i < ARRAY_SIZE(unsigned_ones); i++)
        ck_assert_uint_eq(wire_read_u64(r, UINT64_MAX), unsigned_ones[i]);
    for (size_t i = 0; i < ARRAY_SIZE(signed_ones); i++)
        ck_assert_int_eq(wire_read_i64(r, INT64_MIN, INT64_MAX), signed_ones[i]);
    ck_assert_int_eq(wire_read_close(r), 0);
    wire_reader_free(r);
    wire_writer_free(w);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wire");
    TCase *tc = tcase_create("wire");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, walk_refuses_malformed);
    tcase_add_test(tc, walk_refuses_more_than_a_body);
    tcase_add_test(tc, huge_count_allocates_nothing);
    tcase_add_test(tc, walk_agrees_with_msgpack_c);
    tcase_add_test(tc, what_passes_the_walk_opens);
    tcase_add_test(tc, reader_is_sticky);
    tcase_add_test(tc, reader_refuses_wrong_types_and_bounds);
    tcase_add_test(tc, close_refuses_what_was_not_read);
    tcase_add_test(tc, record_steps_over_what_it_does_not_know);
    tcase_add_test(tc, writer_stops_at_a_body);
    tcase_add_test(tc, everything_comes_back);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
