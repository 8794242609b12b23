/* The node's configuration: every fault is refused with file, line, key and value. */
#include "node/settings.h"

#include <check.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/fleetcast-settings-XXXXXX";
static struct node_settings settings;

static void write_file(const char *name, mode_t mode, const char *format, ...) _printf_(3, 4);
static void
write_file(const char *name, mode_t mode, const char *format, ...)
{
    char path[128];
    va_list args;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    unlink(path);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    va_start(args, format);
    vfprintf(f, format, args);
    va_end(args);
    fclose(f);
    ck_assert_int_eq(chmod(path, mode), 0);
}

static void
make_keys(void)
{
    static const char *const names[] = {"n1", "n2", "c1"};
    static const char *const roles[] = {"node", "node", "coordinator"};
    char lines[512] = "cluster test\n", path[128], hex[2 * SEAL_KEY_BYTES + 1];
    struct identity identity;

    ck_assert_int_eq(secret_start(), 0);
    for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
        snprintf(path, sizeof(path), "%s/%s.key", dir, names[n]);
        ck_assert_int_eq(identity_create(&identity, path), 0);
        secret_hex(hex, sizeof(hex), identity.public_key, SEAL_KEY_BYTES);
        size_t used = strlen(lines);
        snprintf(lines + used, sizeof(lines) - used, "%s %s %s\n", names[n], roles[n], hex);
    }
    write_file("peers", 0644, "%s", lines);
    write_file("tokens.key", 0600,
               "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
}

/* The good file with one line (by its key) replaced; NULL = as it is; "" drops the line. */
static void
write_conf(const char *key, const char *line)
{
    char lines[24][160];
    const char *const good[] = {
        "[node]",
        "name = n1",
        "state = %s",
        "key = %s/n1.key",
        "token_key = %s/tokens.key",
        "peers = %s/peers",
        "listen = tcp://127.0.0.1:7410",
        "health = 127.0.0.1:7411",
        "[coordinator]",
        "name = c1",
        "rpc = tcp://127.0.0.1:7400",
        "feed = tcp://127.0.0.1:7401",
        "[partition p1]",
        "dsn = host=/tmp dbname=p1",
        "home = yes",
        "[partition p2]",
        "dsn = host=/tmp dbname=p2",
        "[send]",
        "base_url = https://graph.example",
        "timeout = 20s",
        "[timing]",
        "watchdog = 5s",
    };
    char all[4096] = "";
    bool replaced = false;
    for (size_t n = 0; n < ARRAY_SIZE(good); n++) {
        bool is_it = key && !replaced && strncmp(good[n], key, strlen(key)) == 0;
        replaced = replaced || is_it;
        snprintf(lines[n], sizeof(lines[n]), is_it ? line : good[n], dir);
        strncat(all, lines[n], sizeof(all) - strlen(all) - 2);
        strncat(all, "\n", sizeof(all) - strlen(all) - 1);
    }
    ck_assert(!key || replaced);
    write_file("node.conf", 0644, "%s", all);
}

static int
load(char faults[static 2048])
{
    char path[128];
    memset(faults, 0, 2048);
    FILE *errors = fmemopen(faults, 2048, "w");
    snprintf(path, sizeof(path), "%s/node.conf", dir);
    int err = settings_load(&settings, path, errors);
    fclose(errors);
    return err;
}

static void
setup(void)
{
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    make_keys();
}

static void
teardown(void)
{
    static const char *const names[] = {"n1.key",    "n2.key",     "c1.key",   "peers",
                                        "node.conf", "tokens.key", "loose.key"};
    char path[128];
    for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[n]);
        unlink(path);
    }
    rmdir(dir);
}

static const struct {
    const char *key, *line, *says;
} faults[] = {
    {"name", "name = N1", ":2: [node] name = \"N1\""},
    {"name", "name = n9", ":2: [node] name = \"n9\": "},
    {"name", "name = c1", "has no node of that name"},
    {"state", "state = %s/nowhere", ":3: [node] state = "},
    {"key", "key = %s/no.key", "No such file"},
    {"key", "key = %s/n2.key", ":4: [node] key = "},
    {"key", "key = %s/loose.key", "mode must be 0600 or 0400"},
    {"token_key", "token_key = %s/peers", ":5: [node] token_key = "},
    {"peers", "peers = %s/n1.key", "n1.key:1: "},
    {"listen", "listen = ipc:///tmp/x", ":7: [node] listen = \"ipc:///tmp/x\": not an endpoint"},
    {"listen", "listen = 127.0.0.1:7410", "not an endpoint (tcp://ip:port)"},
    {"health", "health = localhost:7411", ":8: [node] health"},
    {"health", "wealth = 1", "[node] wealth: unknown key"},
    {"rpc", "", "[coordinator] rpc: is required"},
    {"[partition p2]", "[partition P2]", ":16: [partition P2]"},
    {"[partition p2]", "[partition p1]", "stands in line 13 already"},
    {"[partition p2]", "[partition]", "needs a name"},
    {"home", "home = no", "0 [partition NAME] sections have home = yes"},
    {"dsn", "", "[partition p1] dsn: is required"},
    {"dsn", "dsn = nonsense", "[partition p1] dsn = \"...\": not a connection string"},
    {"dsn", "dsn = host=/tmp dbname=p1 password=x",
     "[partition p1] dsn = \"...\": holds a password"},
    {"base_url", "base_url = http://graph.example", ":19: [send] base_url = "},
    {"timeout", "timeout = 6s", "watchdog + 2 s must not exceed"},
    {"timeout", "timeout = 20", "not a time with its unit"},
    {"watchdog", "watchdog = 99s", ":22: [timing] watchdog = \"99s\": out of range"},
};

START_TEST(a_fault_is_named)
{
    char told[2048];
    write_file("loose.key", 0644,
               "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
    write_conf(faults[_i].key, faults[_i].line);
    ck_assert_int_lt(load(told), 0);
    ck_assert_msg(strstr(told, faults[_i].says), "%s: told \"%s\"", faults[_i].line, told);
    ck_assert_msg(strstr(told, dir), "no file in \"%s\"", told);
}
END_TEST

START_TEST(a_good_file_is_loaded_whole)
{
    char told[2048];
    write_conf(NULL, NULL);
    ck_assert_msg(load(told) == 0, "%s", told);
    ck_assert_str_eq(settings.name, "n1");
    ck_assert_uint_eq(settings.partition_count, 2);
    ck_assert(settings.partitions[0].home && !settings.partitions[1].home);
    ck_assert_str_eq(settings.partitions[1].name, "p2");
    ck_assert_uint_eq(settings.pool_max, 4);
    ck_assert_uint_eq(settings.timing.send_window, 4 * USEC_PER_SEC);
    ck_assert_str_eq(settings.ca_file, "");
    ck_assert_uint_eq(settings.token_key[1], 0x11);
    settings_done(&settings);
    ck_assert_ptr_null(settings.name);
    ck_assert_uint_eq(settings.token_key[1], 0);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("settings");
    TCase *t = tcase_create("settings");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, a_fault_is_named, 0, (int) ARRAY_SIZE(faults));
    tcase_add_test(t, a_good_file_is_loaded_whole);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failures = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
