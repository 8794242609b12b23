/* test_secrets.c - tokens, keys, numbers and texts stay where they belong while a campaign runs. */
#include <check.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/secret.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"

#define SECONDS(n) ((n) *USEC_PER_SEC)
#define DEVICES    3u
#define LEADS      20u
#define TOKEN      "CANARY-TOKEN-9f8e7d6c"
#define TEXT       "canary words of a message"

static struct cluster *cluster;

/* What must be nowhere: words, and where they came from. */
struct canary {
    const char *what;
    uint8_t bytes[72];
    size_t size;
    bool in_logs_only; /* the database and the provider need it */
};
static struct canary canaries[256];
static unsigned canary_count;

static void
add_canary(const char *what, const void *bytes, size_t size, bool in_logs_only)
{
    struct canary *c = &canaries[canary_count++];
    ck_assert(canary_count < ARRAY_SIZE(canaries) && size <= sizeof(c->bytes));
    *c = (struct canary){.what = what, .size = size, .in_logs_only = in_logs_only};
    memcpy(c->bytes, bytes, size);
}

static void
add_text(const char *what, const char *text, bool in_logs_only)
{
    add_canary(what, text, strlen(text), in_logs_only);
}

static void
add_key(const char *name)
{
    char path[128], hex[2 * SECRET_KEY_BYTES + 1];
    uint8_t key[SECRET_KEY_BYTES];
    snprintf(path, sizeof(path), "%s/%s.key", cluster_dir(cluster), name);
    ck_assert_int_eq(secret_key_read(path, key), 0);
    secret_hex(hex, sizeof(hex), key, sizeof(key));
    add_text("a key's digits", hex, false);
    add_canary("a key", key, sizeof(key), false);
}

static bool
holds(const struct canary *c, const void *data, size_t bytes)
{
    return memmem(data, bytes, c->bytes, c->size) != NULL;
}

static void
holds_none(const char *where, const void *data, size_t bytes, bool is_log)
{
    for (unsigned i = 0; i < canary_count; i++)
        ck_assert_msg((canaries[i].in_logs_only && !is_log) || !holds(&canaries[i], data, bytes),
                      "%s holds %s", where, canaries[i].what);
}

/* ---- the campaign ---- */

static FILE *
input(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", cluster_dir(cluster), name);
    FILE *f = fopen(path, "we");
    ck_assert_ptr_nonnull(f);
    return f;
}

static void
write_inputs(void)
{
    FILE *d = input("devices.csv"), *l = input("leads.csv"), *c = input("content.yaml");
    fputs("device_id,name,transport,address,token,min_delay_ms,max_delay_ms,zone\n", d);
    fputs("device_id,phone,name,trigger\n", l);
    for (unsigned i = 1; i <= DEVICES; i++) {
        fprintf(d, "%u,Shop %u,cloudapi,1065500%08u,%s-%u,50,80,UTC\n", i, i, i, TOKEN, i);
        for (unsigned k = 0; k < LEADS; k++) {
            char phone[24];
            snprintf(phone, sizeof(phone), "6019%03u%05u", i, 70000 + k);
            fprintf(l, "%u,+%s,Ann,\n", i, phone);
            add_text("a lead's number", phone, true);
        }
    }
    fputs("1,+60199x,Ann,\n", l); /* one that is refused: refusals are told too */
    fputs("templates:\n  hello: { text: \"Hi {{name}}, " TEXT "\" }\n", c);
    fputs("campaigns:\n  hello: { template: hello }\n", c);
    fclose(d);
    fclose(l);
    fclose(c);
    add_text("a token", TOKEN, false);
    add_text("a message's text", TEXT, true);
}

static void
begin(void)
{
    static const char *const keys[] = {"c1", "n1", "ops", "watch", "tokens"};
    static const char *const programs[] = {"provider", "c1", "n1"};
    char words[200];
    ck_assert_int_eq(secret_start(), 0);
    canary_count = 0;
    cluster = cluster_bare(&(struct cluster_options){.nodes = 1});
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
        add_key(keys[i]);
    write_inputs();
    for (unsigned i = 0; i < ARRAY_SIZE(programs); i++)
        cluster_do(cluster, "start", programs[i]);
    cluster_do(cluster, "settled", "1");
    static const struct {
        const char *verb, *file;
        int code;
    } steps[] = {{"import devices", "devices.csv", 0},
                 {"import devices", "devices.csv", 0}, /* nothing new in it */
                 {"import leads", "leads.csv", 3},
                 {"apply-content", "content.yaml", 0}};
    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        char *output;
        snprintf(words, sizeof(words), "%s %s/%s", steps[i].verb, cluster_dir(cluster),
                 steps[i].file);
        int code = cluster_fleetcast(cluster, &output, words);
        ck_assert_msg(code == steps[i].code, "%s: %d\n%s", words, code, output);
        holds_none(words, output, strlen(output), false);
        free(output);
    }
    cluster_campaign(cluster);
    cluster_taken(cluster, DEVICES * LEADS / 3, SECONDS(20));
}

static void
away(void)
{
    cluster = cluster_free(cluster);
}

/* ---- places ---- */

static unsigned files_seen;

/* The provider's receipts are its own book, not a log. */
static bool
is_log(const char *path)
{
    size_t bytes = strlen(path);
    return bytes > 4 && strcmp(path + bytes - 4, ".log") == 0 && !strstr(path, "/receipts.log");
}

static void
look_into(const char *path, const struct stat *st, bool log)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) /* PostgreSQL removed it meanwhile */
        return;
    void *data = mmap(NULL, (size_t) st->st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    ck_assert_ptr_ne(data, MAP_FAILED);
    holds_none(path, data, (size_t) st->st_size, log);
    munmap(data, (size_t) st->st_size);
    close(fd);
    files_seen++;
}

static int
on_log(const char *path, const struct stat *st, int type, struct FTW *at)
{
    if (type == FTW_F && st->st_size > 0 && is_log(path))
        look_into(path, st, true);
    return 0;
}

/* What PostgreSQL keeps, with its write-ahead log. */
static int
on_database_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
    if (type == FTW_F && st->st_size > 0 && strstr(path, "/data/"))
        look_into(path, st, false);
    return 0;
}

static void
logs_are_clean(void)
{
    char *log = cluster_log(cluster, "n1");
    ck_assert_msg(strstr(log, "partition.taken"), "the node logs nothing: %s", log);
    free(log);
    cluster_finished(cluster, SECONDS(30));
    cluster_do(cluster, "stop", "n1");
    files_seen = 0;
    ck_assert_int_eq(nftw(cluster_dir(cluster), on_log, 16, FTW_PHYS), 0);
    ck_assert_uint_ge(files_seen, 3); /* n1, c1, provider at least */
}

static unsigned
look_into_process(const char *pid)
{
    static const char *const names[] = {"environ", "cmdline"};
    unsigned seen = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        char path[300];
        static char data[1024 * 1024];
        snprintf(path, sizeof(path), "/proc/%s/%s", pid, names[i]);
        FILE *f = fopen(path, "re"); /* it may have ended, or be another user's */
        size_t bytes = f ? fread(data, 1, sizeof(data), f) : 0;
        holds_none(path, data, bytes, true);
        seen += bytes > 0;
        if (f)
            fclose(f);
    }
    return seen;
}

static void
processes_are_clean(void)
{
    char pid[16];
    DIR *proc = opendir("/proc");
    ck_assert_ptr_nonnull(proc);
    for (struct dirent *e; (e = readdir(proc));)
        if (isdigit((unsigned char) e->d_name[0]))
            look_into_process(e->d_name);
    closedir(proc);
    for (int i = 0; i < 2; i++) {
        snprintf(pid, sizeof(pid), "%d", (int) cluster_pid(cluster, i ? "c1" : "n1"));
        ck_assert_uint_eq(look_into_process(pid), 2);
    }
}

static void
database_is_clean(void)
{
    char dsn[256];
    PGconn *c = PQconnectdb(cluster_dsn(cluster, "p1", dsn));
    ck_assert_msg(PQstatus(c) == CONNECTION_OK, "%s", PQerrorMessage(c));
    PGresult *r = PQexec(c, "SELECT token, d::text FROM device d");
    ck_assert_int_eq(PQntuples(r), (int) DEVICES);
    for (int row = 0; row < PQntuples(r); row++) {
        size_t bytes;
        unsigned char *token = PQunescapeBytea((unsigned char *) PQgetvalue(r, row, 0), &bytes);
        ck_assert_uint_gt(bytes, strlen(TOKEN)); /* it is there, sealed */
        holds_none("device.token", token, bytes, false);
        holds_none("device", PQgetvalue(r, row, 1), strlen(PQgetvalue(r, row, 1)), false);
        PQfreemem(token);
    }
    PQclear(r);
    PQclear(PQexec(c, "CHECKPOINT"));
    PQfinish(c);
    char path[128];
    snprintf(path, sizeof(path), "%s/pg", cluster_dir(cluster));
    files_seen = 0;
    ck_assert_int_eq(nftw(path, on_database_file, 16, FTW_PHYS), 0);
    ck_assert_uint_gt(files_seen, 100);
}

static void
health_is_clean(void)
{
    static const char *const names[] = {"n1", "c1"};
    static const char *const paths[] = {"/status", "/metrics", "/readyz?verbose"};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        for (unsigned k = 0; k < ARRAY_SIZE(paths); k++) {
            char *body = NULL;
            ck_assert_uint_eq(cluster_health(cluster, names[i], paths[k], &body), 200);
            ck_assert_uint_gt(strlen(body), 20);
            holds_none(paths[k], body, strlen(body), true);
            free(body);
        }
}

/* The search finds what is there: each token in the input, each number in the provider's book. */
static void
search_finds(void)
{
    static const struct {
        const char *file, *what;
    } places[] = {{"devices.csv", "a token"},
                  {"leads.csv", "a lead's number"},
                  {"content.yaml", "a message's text"},
                  {"ops.key", "a key's digits"}};
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        char path[128], data[8192];
        unsigned found = 0;
        snprintf(path, sizeof(path), "%s/%s", cluster_dir(cluster), places[i].file);
        FILE *f = fopen(path, "re");
        ck_assert_ptr_nonnull(f);
        size_t bytes = fread(data, 1, sizeof(data), f);
        fclose(f);
        for (unsigned k = 0; k < canary_count; k++)
            found +=
                strcmp(canaries[k].what, places[i].what) == 0 && holds(&canaries[k], data, bytes);
        ck_assert_msg(found > 0, "the search does not find %s in %s", places[i].what, path);
    }
}

/* One cluster for all: each place is looked at while it sends, the logs after the end. */
START_TEST(nothing_leaks)
{
    search_finds();
    processes_are_clean();
    health_is_clean();
    database_is_clean();
    logs_are_clean();
}
END_TEST

int
main(int argc, char **argv)
{
    Suite *suite = suite_create("secrets");
    TCase *t = tcase_create("campaign");
    tcase_set_timeout(t, 90);
    tcase_add_checked_fixture(t, begin, away);
    tcase_add_test(t, nothing_leaks);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_NORMAL);
    int bad = srunner_ntests_failed(runner);
    srunner_free(runner);
    cluster_sweep();
    return bad == 0 ? 0 : 1;
}
