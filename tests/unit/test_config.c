/* config: every kind of fault is told with its line, and a good file fills its structs. */
#include "shared/config.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct node {
    char *name, *dsn, *key, *state, *health;
    uint32_t slots, mode;
    bool http;
    usec_t tick;
};
struct part {
    char name[25];
    char *dsn;
    bool home;
};
struct whole {
    struct node node;
    struct part parts[2];
    unsigned part_count, node_calls;
};

static const char *const modes[] = {"single", "pair", NULL};
#define N(f) offsetof(struct node, f)
static const struct config_key keys[] = {
    {.section = "node", .key = "name", .kind = CONFIG_NAME, .offset = N(name)},
    {.section = "node",
     .key = "dsn",
     .kind = CONFIG_TEXT,
     .offset = N(dsn),
     .fallback = "",
     .max = 900},
    {.section = "node", .key = "key", .kind = CONFIG_FILE, .offset = N(key), .fallback = ""},
    {.section = "node", .key = "state", .kind = CONFIG_DIR, .offset = N(state), .fallback = "/tmp"},
    {.section = "node",
     .key = "health",
     .kind = CONFIG_ADDRESS,
     .offset = N(health),
     .fallback = "127.0.0.1:0"},
    {.section = "node",
     .key = "slots",
     .kind = CONFIG_U32,
     .offset = N(slots),
     .fallback = "512",
     .min = 1,
     .max = 4096},
    {.section = "node",
     .key = "mode",
     .kind = CONFIG_CHOICE,
     .offset = N(mode),
     .fallback = "single",
     .choices = modes},
    {.section = "node", .key = "http", .kind = CONFIG_BOOL, .offset = N(http), .fallback = "no"},
    {.section = "node",
     .key = "tick",
     .kind = CONFIG_SPAN,
     .offset = N(tick),
     .fallback = "20ms",
     .min = 5000,
     .max = USEC_PER_SEC},
    {.section = "partition",
     .key = "dsn",
     .kind = CONFIG_TEXT,
     .offset = offsetof(struct part, dsn),
     .min = 1,
     .max = 900},
    {.section = "partition",
     .key = "home",
     .kind = CONFIG_BOOL,
     .offset = offsetof(struct part, home),
     .fallback = "no"},
};

static void *
on_section(void *arg, const char *section, const char *name, char *why)
{
    struct whole *w = arg;
    if (strcmp(section, "node") == 0) {
        w->node_calls++;
        return &w->node;
    }
    if (!*name || w->part_count == 2) {
        snprintf(why, 128, *name ? "more than 2 partitions" : "needs a name: [partition NAME]");
        return NULL;
    }
    struct part *p = &w->parts[w->part_count++];
    snprintf(p->name, sizeof(p->name), "%s", name);
    return p;
}

static struct whole w;
static char *said; /* what was written to errors */
static char path[] = "/tmp/test_config_XXXXXX";

static int
load_from(const char *file)
{
    size_t bytes;
    memset(&w, 0, sizeof(w));
    free(said);
    FILE *errors = open_memstream(&said, &bytes);
    int rc = config_load(file, keys, ARRAY_SIZE(keys), on_section, &w, errors);
    fclose(errors);
    return rc;
}

static int
load(const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    return load_from(path);
}

static void
release(void)
{
    config_free(keys, ARRAY_SIZE(keys), "node", &w.node);
    for (unsigned i = 0; i < w.part_count; i++)
        config_free(keys, ARRAY_SIZE(keys), "partition", &w.parts[i]);
}

/* The file is refused and says exactly the one line ":LINE: text". */
static void
refused(const char *text, const char *expect)
{
    char line[1400];
    ck_assert_int_eq(load(text), -EINVAL);
    snprintf(line, sizeof(line), "%s%s\n", path, expect);
    ck_assert_str_eq(said, line);
    release();
}

START_TEST(unreadable)
{
    ck_assert_int_eq(load_from("/nonexistent/x.conf"), -ENOENT);
    ck_assert_str_eq(said, "/nonexistent/x.conf: cannot be read: No such file or directory\n");
    ck_assert_int_eq(load_from("/tmp"), -EISDIR);
    ck_assert_ptr_nonnull(strstr(said, "Is a directory"));
}
END_TEST

START_TEST(lines_that_are_nothing)
{
    refused("[node]\nname = a\nslots\n", ":3: neither [section] nor key = value");
    refused("[node]\nname = a\n[pool\n", ":3: neither [section] nor key = value");
    refused("[node]\nname = a\n[pool] x\n", ":3: neither [section] nor key = value");
    refused("name = a\n[node]\nname = a\n", ":1: name: stands before the first [section]");
    refused("[node]\nname = a\nslots = 1\x80\n", ":3: line is not UTF-8 text");
    refused("[node]\nname = a\nslots = 1\x1b[2J\n", ":3: line holds control characters");
    refused("[node]\nname = a\ndsn = \v;x\n", ":3: line holds control characters");
}
END_TEST

START_TEST(sections_refused)
{
    refused("[node]\nname = a\n[nod]\nx = 1\ny = 2\n", ":3: [nod]: unknown section");
    refused("[node]\nname = a\n\n[node]\nslots = 1\n", ":4: [node]: stands in line 1 already");
    refused("[node]\nname = a\n[partition p1]\ndsn = x\n[partition p1]\ndsn = x\n",
            ":5: [partition p1]: stands in line 3 already");
    refused("[node]\nname = a\n[partition]\ndsn = x\n",
            ":3: [partition]: needs a name: [partition NAME]");
    refused("[node]\nname = a\n[partition P1]\ndsn = x\n",
            ":3: [partition P1]: not a name (1 to 24 of a-z, 0-9 and -)");
    refused("[node]\nname = a\n[partition a]\ndsn=x\n[partition b]\ndsn=x\n[partition c]\ndsn=x\n",
            ":7: [partition c]: more than 2 partitions");
}
END_TEST

START_TEST(keys_refused)
{
    refused("[node]\nname = a\nslot = 1\n", ":3: [node] slot: unknown key");
    refused("[node]\nname = a\nhome = yes\n", ":3: [node] home: unknown key");
    refused("[node]\nname = a\nname = b\n", ":3: [node] name: stands here twice");
    refused("[node]\nname =\n", ":2: [node] name: has no value");
    refused("[node]\nslots = 1\n", ":1: [node] name: is required");
    refused("[node]\nname = a\n[partition p1]\n", ":3: [partition p1] dsn: is required");
    refused("; nothing\n", ":1: [node] name: is required");
}
END_TEST

START_TEST(values_refused)
{
#define BAD(line, reason) refused("[node]\nname = a\n" line "\n", ":3: [node] " reason)
    BAD("slots = 4x", "slots = \"4x\": not a whole number (1 to 4096)");
    BAD("slots = -1", "slots = \"-1\": not a whole number (1 to 4096)");
    BAD("slots = 4097", "slots = \"4097\": out of range (1 to 4096)");
    BAD("slots = 99999999999999999999",
        "slots = \"99999999999999999999\": out of range (1 to 4096)");
    BAD("slots = 5 # five", "slots = \"5 # five\": not a whole number (1 to 4096)");
    BAD("tick = 20", "tick = \"20\": not a time with its unit (ms, s, m, h, d) (5ms to 1s)");
    BAD("tick = 2s", "tick = \"2s\": out of range (5ms to 1s)");
    BAD("http = maybe", "http = \"maybe\": neither yes nor no");
    BAD("mode = triple", "mode = \"triple\": not one of: single pair");
    BAD("health = localhost:80", "health = \"localhost:80\": not an address (ip:port)");
    BAD("key = /nonexistent", "key = \"/nonexistent\": No such file or directory");
    BAD("key = /tmp", "key = \"/tmp\": not a regular file");
    BAD("state = /dev/null", "state = \"/dev/null\": not a directory");
    BAD("state = /nonexistent", "state = \"/nonexistent\": No such file or directory");
    refused("[node]\nname = N1\n",
            ":2: [node] name = \"N1\": not a name (1 to 24 of a-z, 0-9 and -)");
    refused("[node]\nname = a\tb\n",
            ":2: [node] name = \"a?b\": not a name (1 to 24 of a-z, 0-9 and -)");
}
END_TEST

START_TEST(all_faults_at_once)
{
    ck_assert_int_eq(load("[node]\nslots = 0\nbad\n[nod]\n[partition p1]\nhome = 2\n"), -EINVAL);
    unsigned lines = 0;
    for (const char *p = said; *p; p++)
        lines += *p == '\n';
    ck_assert_uint_eq(lines, 6);
    ck_assert_ptr_nonnull(strstr(said, ":2: [node] slots"));
    ck_assert_ptr_nonnull(strstr(said, ":3: neither"));
    ck_assert_ptr_nonnull(strstr(said, ":4: [nod]"));
    ck_assert_ptr_nonnull(strstr(said, ":6: [partition p1] home = \"2\""));
    ck_assert_ptr_nonnull(strstr(said, ":1: [node] name: is required"));
    ck_assert_ptr_nonnull(strstr(said, ":5: [partition p1] dsn: is required"));
    release();
}
END_TEST

START_TEST(unwritable_directory)
{
    if (geteuid() == 0)
        return; /* root may write everywhere */
    refused("[node]\nname = a\nstate = /\n", ":3: [node] state = \"/\": not writable");
}
END_TEST

START_TEST(long_lines)
{
    char value[1101], text[1400];
    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    snprintf(text, sizeof(text), "[node]\nname = a\ndsn = %s\n", value);
    refused(text, ":3: line is longer than 1000 bytes");

    value[880] = '\0';
    memcpy(value + 400, " a ", 3);
    snprintf(text, sizeof(text), "[node]\nname = a\ndsn = %s ; and words\nslots = 7\n", value);
    ck_assert_int_eq(load(text), 0);
    ck_assert_str_eq(w.node.dsn, value); /* nothing cut, though inih holds less */
    ck_assert_uint_eq(w.node.slots, 7);
    release();

    value[920 - 20] = 'x';
    memset(value, 'x', 910);
    value[910] = '\0';
    snprintf(text, sizeof(text), "[node]\nname = a\ndsn = %s\n", value);
    ck_assert_int_eq(load(text), -EINVAL);
    ck_assert_ptr_nonnull(strstr(said, "x\": too long\n"));
    release();

    memset(value, 'k', 300);
    snprintf(text, sizeof(text), "[node]\nname = a\n%.300s = 1\n", value);
    refused(text, ":3: neither [section] nor key = value");
}
END_TEST

START_TEST(a_good_file)
{
    ck_assert_int_eq(load("\xef\xbb\xbf; words\n# words\r\n[node]\r\n"
                          "  name = n1\n\tslots=64\nmode = pair\nhttp = on\ntick: 250ms ; inline\n"
                          "[partition p1]\ndsn = host=/run/pg dbname=p1 options='-c a=b' user=x;y\n"
                          "home = yes\n[partition p2]\ndsn = x"),
                     0);
    ck_assert_str_eq(said, "");
    ck_assert_str_eq(w.node.name, "n1");
    ck_assert_uint_eq(w.node.slots, 64);
    ck_assert_uint_eq(w.node.mode, 1);
    ck_assert(w.node.http);
    ck_assert_uint_eq(w.node.tick, 250000);
    ck_assert_str_eq(w.node.dsn, "");
    ck_assert_str_eq(w.node.key, "");
    ck_assert_str_eq(w.node.state, "/tmp");
    ck_assert_uint_eq(w.part_count, 2);
    ck_assert_str_eq(w.parts[0].name, "p1");
    ck_assert_str_eq(w.parts[0].dsn, "host=/run/pg dbname=p1 options='-c a=b' user=x;y");
    ck_assert(w.parts[0].home);
    ck_assert_str_eq(w.parts[1].dsn, "x");
    ck_assert(!w.parts[1].home);
    ck_assert_uint_eq(w.node_calls, 1);
    release();
    ck_assert_ptr_null(w.node.name);
}
END_TEST

START_TEST(an_absent_section_gets_fallbacks)
{
    static const struct config_key optional[] = {
        {.section = "node",
         .key = "slots",
         .kind = CONFIG_U32,
         .offset = N(slots),
         .fallback = "9",
         .min = 1,
         .max = 10},
        {.section = "partition",
         .key = "dsn",
         .kind = CONFIG_TEXT,
         .offset = offsetof(struct part, dsn)},
    };
    memset(&w, 0, sizeof(w));
    ck_assert_int_eq(config_load("/dev/null", optional, 2, on_section, &w, stderr), 0);
    ck_assert_uint_eq(w.node.slots, 9);
    ck_assert_uint_eq(w.part_count, 0);
}
END_TEST

int
main(void)
{
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    Suite *s = suite_create("config");
    TCase *t = tcase_create("config");
    tcase_add_test(t, unreadable);
    tcase_add_test(t, lines_that_are_nothing);
    tcase_add_test(t, sections_refused);
    tcase_add_test(t, keys_refused);
    tcase_add_test(t, values_refused);
    tcase_add_test(t, all_faults_at_once);
    tcase_add_test(t, unwritable_directory);
    tcase_add_test(t, long_lines);
    tcase_add_test(t, a_good_file);
    tcase_add_test(t, an_absent_section_gets_fallbacks);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    unlink(path);
    free(said);
    return failed ? 1 : 0;
}
