/* secret: what must not open does not open, what must not be read is not read. */
#include "shared/secret.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/test_secret_XXXXXX";
static char path[128];
static uint8_t key[SECRET_KEY_BYTES];

static void
setup(void)
{
    ck_assert_int_eq(secret_start(), 0);
    snprintf(path, sizeof(path), "%s/key", directory);
    memset(key, 7, sizeof(key));
}

static void
teardown(void)
{
    unlink(path);
}

static struct slice
text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static void
write_file(const char *bytes, size_t count, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, count), (ssize_t) count);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"

START_TEST(key_files_refused)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0700, 0660, 0644, 0666, 04600};
    uint8_t got[SECRET_KEY_BYTES] = {9};
    ck_assert_int_eq(secret_key_read("/nonexistent", got), -ENOENT);
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        write_file(HEX "\n", 65, modes[i]);
        ck_assert_int_eq(secret_key_read(path, got), -EPERM);
    }
    static const char *const bad[] = {"", HEX "\n\n", HEX "0\n", HEX " ", "zz\n", "\n"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        write_file(bad[i], strlen(bad[i]), 0600);
        ck_assert_msg(secret_key_read(path, got) == -EINVAL, "%s", bad[i]);
    }
    write_file(HEX, 63, 0600);
    ck_assert_int_eq(secret_key_read(path, got), -EINVAL);
    write_file("x" HEX, 64, 0600);
    ck_assert_int_eq(secret_key_read(path, got), -EINVAL);
    ck_assert_uint_eq(got[0], 9);
}
END_TEST

START_TEST(other_things_than_files_refused)
{
    uint8_t got[SECRET_KEY_BYTES];
    ck_assert_int_eq(secret_key_read(directory, got), -EPERM);
    ck_assert_int_eq(secret_key_read("/dev/zero", got), -EPERM);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(secret_key_read(path, got), -EPERM); /* and does not wait for a writer */
}
END_TEST

START_TEST(key_file_read)
{
    uint8_t got[SECRET_KEY_BYTES];
    write_file(HEX "\n", 65, 0400);
    ck_assert_int_eq(secret_key_read(path, got), 0);
    for (unsigned i = 0; i < SECRET_KEY_BYTES; i++)
        ck_assert_uint_eq(got[i], i);
    write_file(HEX, 64, 0600);
    ck_assert_int_eq(secret_key_read(path, got), 0);
}
END_TEST

START_TEST(key_created_once)
{
    uint8_t made[SECRET_KEY_BYTES], got[SECRET_KEY_BYTES], none[SECRET_KEY_BYTES] = {0};
    struct stat st;
    ck_assert_int_eq(secret_key_create("/nonexistent/key", made), -ENOENT);
    umask(0277); /* would take the owner's rights */
    ck_assert_int_eq(secret_key_create(path, made), 0);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_uint_eq((unsigned) st.st_size, 65);
    ck_assert_int_eq(secret_key_read(path, got), 0);
    ck_assert_mem_eq(made, got, sizeof(got));
    ck_assert_mem_ne(made, none, sizeof(none));
    ck_assert_int_eq(secret_key_create(path, made), -EEXIST);
    ck_assert_mem_eq(made, got, sizeof(got));
    ck_assert_int_eq(secret_key_read(path, got), 0);
}
END_TEST

START_TEST(hex)
{
    uint8_t bytes[4] = {1, 2, 3, 4};
    char out[9];
    ck_assert_int_eq(secret_unhex(bytes, 4, "0102030", 7), -EINVAL);
    ck_assert_int_eq(secret_unhex(bytes, 4, "010203040", 9), -EINVAL);
    ck_assert_int_eq(secret_unhex(bytes, 4, "010203zz", 8), -EINVAL);
    ck_assert_int_eq(secret_unhex(bytes, 4, "01:02:03", 8), -EINVAL);
    ck_assert_uint_eq(bytes[3], 4);
    ck_assert_int_eq(secret_unhex(bytes, 4, "DEADbeef", 8), 0);
    secret_hex(out, sizeof(out), bytes, 4);
    ck_assert_str_eq(out, "deadbeef");
}
END_TEST

START_TEST(sealed_value_opens_only_as_it_was_sealed)
{
    uint8_t sealed[100], out[100] = {0}, other[SECRET_KEY_BYTES] = {1};
    size_t bytes, count = 77;
    struct slice context = text("tok1|2041|1");
    ck_assert_int_eq(secret_seal(key, 1, context, text("the token"), sealed, 9 + 41, &count),
                     -ENOBUFS);
    ck_assert_int_eq(secret_seal(key, 1, context, text(""), sealed, 41, &count), -ENOBUFS);
    ck_assert_uint_eq(count, 77);
    ck_assert_int_eq(secret_seal(key, 0x0102, context, text("the token"), sealed, sizeof(sealed),
                                 &bytes),
                     0);
    ck_assert_uint_eq(bytes, 9 + SECRET_SEAL_OVERHEAD);
    ck_assert_uint_eq(sealed[0], 1);
    ck_assert_uint_eq(sealed[1], 2);
    ck_assert_ptr_null(memmem(sealed, bytes, "token", 5));
    struct slice all = {(char *) sealed, bytes};

    ck_assert_int_eq(secret_open(other, context, all, out, sizeof(out), &count), -EBADMSG);
    ck_assert_int_eq(secret_open(key, text("tok1|2042|1"), all, out, sizeof(out), &count),
                     -EBADMSG);
    ck_assert_int_eq(secret_open(key, (struct slice){NULL, 0}, all, out, sizeof(out), &count),
                     -EBADMSG);
    for (size_t i = 0; i < bytes; i++) /* cut anywhere */
        ck_assert_int_eq(secret_open(key, context, (struct slice){all.data, i}, out, sizeof(out),
                                     &count),
                         -EBADMSG);
    for (size_t i = 2; i < bytes; i++) { /* changed anywhere behind the kid */
        sealed[i] ^= 0x10;
        ck_assert_int_eq(secret_open(key, context, all, out, sizeof(out), &count), -EBADMSG);
        sealed[i] ^= 0x10;
    }
    ck_assert_int_eq(secret_open(key, context, all, out, 8, &count), -ENOBUFS);
    ck_assert_uint_eq(count, 77);
    ck_assert_int_eq(secret_open(key, context, all, out, 9, &count), 0);
    ck_assert_uint_eq(count, 9);
    ck_assert_mem_eq(out, "the token", 9);
}
END_TEST

START_TEST(sealing_twice_differs)
{
    uint8_t a[64], b[64], out[4];
    size_t bytes;
    ck_assert_int_eq(secret_seal(key, 1, text("c"), text(""), a, sizeof(a), &bytes), 0);
    ck_assert_int_eq(secret_seal(key, 1, text("c"), text(""), b, sizeof(b), &bytes), 0);
    ck_assert_uint_eq(bytes, SECRET_SEAL_OVERHEAD);
    ck_assert_mem_ne(a, b, bytes);
    ck_assert_int_eq(secret_open(key, text("c"), (struct slice){(char *) a, bytes}, out, 0, &bytes),
                     0);
    ck_assert_uint_eq(bytes, 0);
}
END_TEST

START_TEST(a_keyed_hash_is_of_key_context_and_data)
{
    static const struct {
        uint8_t key;
        const char *context, *data;
    } of[] = {{1, "phone", "601"}, {2, "phone", "601"}, {1, "phones", "601"}, {1, "phone", "602"},
              {1, "phon", "e601"}, {1, "", "phone601"}, {1, "phone", ""}};
    uint8_t hashes[ARRAY_SIZE(of)][SECRET_HASH_BYTES], again[SECRET_HASH_BYTES];

    for (size_t i = 0; i < ARRAY_SIZE(of); i++) {
        uint8_t secret[SECRET_KEY_BYTES] = {of[i].key};
        struct slice context = {of[i].context, strlen(of[i].context)};
        struct slice data = {of[i].data, strlen(of[i].data)};

        secret_keyed_hash(secret, context, data, hashes[i]);
        secret_keyed_hash(secret, context, data, again);
        ck_assert_mem_eq(hashes[i], again, sizeof(again));
        for (size_t k = 0; k < i; k++)
            ck_assert_mem_ne(hashes[i], hashes[k], sizeof(again));
    }
}
END_TEST

START_TEST(small_things)
{
    uint8_t a[32] = {0}, b[32] = {0}, zero[32] = {0};
    secret_random(a, sizeof(a));
    secret_random(b, sizeof(b));
    ck_assert(!secret_equal(a, b, sizeof(a)));
    ck_assert(secret_equal(a, a, sizeof(a)));
    secret_wipe(a, sizeof(a));
    ck_assert_mem_eq(a, zero, sizeof(a));
    ck_assert_uint_eq(secret_hash64(text("abc")), secret_hash64(text("abc")));
    ck_assert_uint_ne(secret_hash64(text("abc")), secret_hash64(text("abd")));
    /* BLAKE2b-128 of "abc", its first half: the number must be the same on every node */
    ck_assert_uint_eq(secret_hash64(text("abc")), 0xcf4ab791c62b8d2bu);
}
END_TEST

int
main(void)
{
    if (!mkdtemp(directory))
        return 1;
    Suite *s = suite_create("secret");
    TCase *t = tcase_create("secret");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, key_files_refused);
    tcase_add_test(t, other_things_than_files_refused);
    tcase_add_test(t, key_file_read);
    tcase_add_test(t, key_created_once);
    tcase_add_test(t, hex);
    tcase_add_test(t, sealed_value_opens_only_as_it_was_sealed);
    tcase_add_test(t, sealing_twice_differs);
    tcase_add_test(t, a_keyed_hash_is_of_key_context_and_data);
    tcase_add_test(t, small_things);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    rmdir(directory);
    return failed ? 1 : 0;
}
