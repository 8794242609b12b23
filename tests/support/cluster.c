/* cluster.c - drives tests/support/cluster and the command from a test. */
#include "tests/support/cluster.h"

#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/audit_read.h"
#include "tests/support/process.h"

struct cluster {
    char dir[64];
    char source[512], build[512], script[600];
    struct cluster_options o;
    bool provider;
};

static void
must(const char *what, int code, char *output)
{
    ck_assert_msg(code == 0, "%s: exit code %d\n%s", what, code, output ? output : "");
    free(output);
}

static void
script(struct cluster *c, const char *a, const char *b, const char *d)
{
    const char *const argv[] = {c->script, a, c->dir, b, d, NULL};
    char *output;
    int code = process_run(argv, &output);
    must(a, code, output);
}

static unsigned
or_default(unsigned value, unsigned fallback)
{
    return value ? value : fallback;
}

static void
number(char buf[static 16], unsigned value)
{
    snprintf(buf, 16, "%u", value);
}

/* Check runs each test in a child: the list belongs to the test program, its parent. */
static void
remember(const char *dir, pid_t program)
{
    char path[64];
    snprintf(path, sizeof(path), "/tmp/fleetcast-it.%d.list", (int) program);
    FILE *f = fopen(path, "ae");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "%s\n", dir);
    fclose(f);
}

/* Without Check: its assertions, even good ones, end a program that is running no test. */
static void
run_plain(const char *const argv[])
{
    pid_t pid;
    int status;
    if (posix_spawn(&pid, argv[0], NULL, NULL, (char *const *) argv, environ) != 0)
        return;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
}

static void
end_all(const char *dir)
{
    char path[600];
    snprintf(path, sizeof(path), "%s/tests/support/cluster",
             getenv("FLEETCAST_SOURCE") ? getenv("FLEETCAST_SOURCE") : ".");
    const char *const down[] = {path, "down", dir, NULL};
    const char *const gone[] = {"/bin/rm", "-rf", dir, NULL};
    run_plain(down);
    run_plain(gone);
}

void
cluster_sweep(void)
{
    char path[64], dir[128];
    snprintf(path, sizeof(path), "/tmp/fleetcast-it.%d.list", (int) getpid());
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    while (fscanf(f, "%127s", dir) == 1)
        if (access(dir, F_OK) == 0)
            end_all(dir);
    fclose(f);
    unlink(path);
}

struct cluster *
cluster_bare(const struct cluster_options *o)
{
    struct cluster *c = calloc(1, sizeof(*c));
    ck_assert_ptr_nonnull(c);
    c->o = *o;
    snprintf(c->dir, sizeof(c->dir), "/tmp/fleetcast-it.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(c->dir));
    ck_assert_int_eq(chmod(c->dir, 0755), 0);
    remember(c->dir, getppid());
    snprintf(c->source, sizeof(c->source), "%s",
             getenv("FLEETCAST_SOURCE") ? getenv("FLEETCAST_SOURCE") : ".");
    snprintf(c->build, sizeof(c->build), "%s",
             getenv("FLEETCAST_BUILD") ? getenv("FLEETCAST_BUILD") : "build/gcc");
    snprintf(c->script, sizeof(c->script), "%s/tests/support/cluster", c->source);
    char nodes[16], slots[16], pool[16], *output;
    number(nodes, or_default(o->nodes, 3));
    number(slots, or_default(o->slots, 512));
    number(pool, or_default(o->pool, 4));
    const char *const argv[] = {
        c->script, "make", c->dir,   "--nodes", nodes, "--timing", o->real_timing ? "real" : "fast",
        "--slots", slots,  "--pool", pool,      NULL};
    int code = process_run(argv, &output);
    must("make", code, output);
    return c;
}

void
cluster_put(const struct cluster *c, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", c->dir, name);
    FILE *f = fopen(path, "we");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    ck_assert_int_eq(fclose(f), 0);
}

static void
generate(struct cluster *c)
{
    char path[600], devices[16], leads[16], low[16], high[16], seed[16], sequences[16], delay[16],
        *output;
    snprintf(path, sizeof(path), "%s/tests/support/generate", c->build);
    number(devices, or_default(c->o.devices, 30));
    number(leads, or_default(c->o.leads, 5));
    number(low, or_default(c->o.min_delay, 50));
    number(high, or_default(c->o.max_delay, 150));
    number(seed, or_default(c->o.seed, 1));
    number(sequences, c->o.sequences);
    number(delay, or_default(c->o.step_delay, 1));
    const char *const argv[] = {path,      "--devices",    devices,
                                "--leads", leads,          "--min-delay",
                                low,       "--max-delay",  high,
                                "--seed",  seed,           "--sequences",
                                sequences, "--step-delay", delay,
                                "--dir",   c->dir,         NULL};
    int code = process_run(argv, &output);
    must("generate", code, output);
    if (c->o.devices_csv)
        cluster_put(c, "devices.csv", c->o.devices_csv);
    if (c->o.leads_csv)
        cluster_put(c, "leads.csv", c->o.leads_csv);
    if (c->o.content)
        cluster_put(c, "content.yaml", c->o.content);
}

struct cluster *
cluster_new(const struct cluster_options *o)
{
    struct cluster *c = cluster_bare(o);
    cluster_do(c, "start", "provider");
    cluster_do(c, "start", "c1");
    for (unsigned i = 1; i <= or_default(o->nodes, 3); i++) {
        char name[CLUSTER_NAME_BYTES];
        snprintf(name, sizeof(name), "n%u", i);
        cluster_do(c, "start", name);
    }
    char count[16];
    number(count, or_default(o->nodes, 3));
    script(c, "settled", count, NULL);
    if (o->latency_max_ms) {
        char json[64];
        snprintf(json, sizeof(json), "{\"latency_ms\":[%u,%u]}", o->latency_min_ms,
                 o->latency_max_ms);
        cluster_control(c, json, "taken");
    }
    generate(c);
    char words[256], *output;
    snprintf(words, sizeof(words), "import devices %s/devices.csv", c->dir);
    int code = cluster_fleetcast(c, &output, words);
    must(words, code, output);
    snprintf(words, sizeof(words), "import leads %s/leads.csv", c->dir);
    code = cluster_fleetcast(c, &output, words);
    must(words, code, output);
    snprintf(words, sizeof(words), "apply-content %s/content.yaml", c->dir);
    code = cluster_fleetcast(c, &output, words);
    must(words, code, output);
    return c;
}

struct cluster *
cluster_free(struct cluster *c)
{
    if (!c)
        return NULL;
    end_all(c->dir);
    free(c);
    return NULL;
}

const char *
cluster_dir(const struct cluster *c)
{
    return c->dir;
}

void
cluster_do(struct cluster *c, const char *verb, const char *name)
{
    script(c, verb, name, NULL);
}

pid_t
cluster_pid(const struct cluster *c, const char *name)
{
    char path[128];
    int pid = 0;
    snprintf(path, sizeof(path), "%s/%s.pid", c->dir, name);
    FILE *f = fopen(path, "re");
    ck_assert_msg(f && fscanf(f, "%d", &pid) == 1 && pid > 1, "%s has no process", name);
    fclose(f);
    return pid;
}

struct pid_gone {
    pid_t pid;
};

static bool
is_gone(void *arg)
{
    struct pid_gone *g = arg;
    return kill(g->pid, 0) < 0 && errno == ESRCH;
}

bool
cluster_gone(const struct cluster *c, const char *name, usec_t limit)
{
    struct pid_gone g = {cluster_pid(c, name)};
    return process_wait(limit, is_gone, &g);
}

void
cluster_signal(struct cluster *c, const char *name, int signal)
{
    ck_assert_int_eq(kill(cluster_pid(c, name), signal), 0);
    if (signal == SIGKILL)
        ck_assert(cluster_gone(c, name, 10 * USEC_PER_SEC));
}

struct exit_file {
    char path[128];
};

static bool
has_exit(void *arg)
{
    struct exit_file *e = arg;
    return access(e->path, R_OK) == 0;
}

int
cluster_exit(const struct cluster *c, const char *name, usec_t limit)
{
    struct exit_file e;
    int code = -1;
    snprintf(e.path, sizeof(e.path), "%s/%s.exit", c->dir, name);
    ck_assert_msg(process_wait(limit, has_exit, &e), "%s has not ended in time", name);
    FILE *f = fopen(e.path, "re");
    ck_assert(f && fscanf(f, "%d", &code) == 1);
    fclose(f);
    return code;
}

static unsigned
health_port(const struct cluster *c, const char *name)
{
    char path[128], who[32];
    unsigned rpc, health;
    snprintf(path, sizeof(path), "%s/ports", c->dir);
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    while (fscanf(f, "%31s %u %u", who, &rpc, &health) == 3)
        if (strcmp(who, name) == 0) {
            fclose(f);
            return health;
        }
    ck_abort_msg("%s has no port", name);
}

unsigned
cluster_health(const struct cluster *c, const char *name, const char *path, char **ret_body)
{
    return process_http(health_port(c, name), path, NULL, ret_body);
}

struct asked {
    const struct cluster *c;
    const char *name;
    uint64_t count;
};

static bool
is_ready(void *arg)
{
    struct asked *a = arg;
    return cluster_health(a->c, a->name, "/readyz", NULL) == 200;
}

bool
cluster_ready(const struct cluster *c, const char *name, usec_t limit)
{
    struct asked a = {c, name, 0};
    return process_wait(limit, is_ready, &a);
}

void
cluster_pg(struct cluster *c, const char *verb)
{
    char pg[600], dir[128], *output;
    snprintf(pg, sizeof(pg), "%s/tests/support/pg", c->source);
    snprintf(dir, sizeof(dir), "%s/pg", c->dir);
    const char *const argv[] = {pg, verb, dir, NULL};
    int code = process_run(argv, &output);
    must(verb, code, output);
}

const char *
cluster_dsn(const struct cluster *c, const char *database, char buf[static 256])
{
    snprintf(buf, 256, "host=%s/pg dbname=%s user=postgres", c->dir, database);
    return buf;
}

char *
cluster_log(const struct cluster *c, const char *name)
{
    char path[128], *text = NULL;
    size_t size = 0;
    snprintf(path, sizeof(path), "%s/%s.log", c->dir, name);
    FILE *in = fopen(path, "re"), *out = open_memstream(&text, &size);
    for (int ch; in && (ch = fgetc(in)) != EOF;)
        fputc(ch, out);
    if (in)
        fclose(in);
    fclose(out);
    return text;
}

int
cluster_fleetcast(struct cluster *c, char **ret_output, const char *words)
{
    char program[600], config[128], *copy = strdup(words), *save = NULL;
    const char *argv[64] = {program, "--config", config};
    unsigned n = 3;
    snprintf(program, sizeof(program), "%s/coordinator/ctl/fleetcast", c->build);
    snprintf(config, sizeof(config), "%s/ops.conf", c->dir);
    for (char *w = strtok_r(copy, " ", &save); w && n < ARRAY_SIZE(argv) - 1;
         w = strtok_r(NULL, " ", &save))
        argv[n++] = w;
    argv[n] = NULL;
    int code = process_run(argv, ret_output);
    free(copy);
    return code;
}

void
cluster_campaign(struct cluster *c)
{
    char *output;
    int code = cluster_fleetcast(c, &output, "campaign start hello");
    must("campaign start hello", code, output);
}

long
cluster_control(struct cluster *c, const char *json, const char *name)
{
    char path[128], *body = NULL;
    unsigned port = 0;
    snprintf(path, sizeof(path), "%s/provider.port", c->dir);
    FILE *f = fopen(path, "re");
    ck_assert(f && fscanf(f, "%u", &port) == 1);
    fclose(f);
    ck_assert_uint_eq(process_http(port, "/control", json, &body), 200);
    json_t *root = json_loads(body, 0, NULL);
    long value = (long) json_integer_value(json_object_get(root, name));
    json_decref(root);
    free(body);
    return value;
}

static bool
has_taken(void *arg)
{
    struct asked *a = arg;
    return (uint64_t) cluster_control((struct cluster *) a->c, "{}", "taken") >= a->count;
}

void
cluster_taken(struct cluster *c, uint64_t count, usec_t limit)
{
    struct asked a = {c, NULL, count};
    ck_assert_msg(process_wait(limit, has_taken, &a),
                  "the provider took %ld messages, not %lu, in time",
                  cluster_control(c, "{}", "taken"), (unsigned long) count);
}

struct counted {
    const char *prefix;
    uint64_t count;
    usec_t last;
};

static int
count_receipt(void *arg, const struct audit_receipt *r)
{
    struct counted *n = arg;
    if (strncmp(r->token, n->prefix, strlen(n->prefix)) == 0) {
        n->count++;
        n->last = MAX_OF(n->last, r->first);
    }
    return 0;
}

uint64_t
cluster_receipts(struct cluster *c, const char *partition, usec_t *ret_last)
{
    char path[128], prefix[64];
    snprintf(path, sizeof(path), "%s/receipts.log", c->dir);
    snprintf(prefix, sizeof(prefix), "v1.%s.", partition);
    struct counted n = {prefix, 0, 0};
    cluster_control(c, "{}", "taken"); /* flushes them */
    ck_assert_int_eq(audit_read_receipts(path, count_receipt, &n, stderr), 0);
    if (ret_last)
        *ret_last = n.last;
    return n.count;
}

void
cluster_finished(struct cluster *c, usec_t limit)
{
    char words[96], *output;
    snprintf(words, sizeof(words), "campaign watch hello --until-finished --timeout %us",
             (unsigned) (limit / USEC_PER_SEC));
    int code = cluster_fleetcast(c, &output, words);
    must(words, code, output);
}

/* NULL when no call made that file. */
static const char *
made(const struct cluster *c, const char *name, char path[static 128])
{
    snprintf(path, 128, "%s/%s", c->dir, name);
    return access(path, R_OK) == 0 ? path : NULL;
}

struct audit_result
cluster_audit(struct cluster *c)
{
    return cluster_audit_waiting(c, 0);
}

struct audit_result
cluster_audit_waiting(struct cluster *c, uint64_t waiting)
{
    char words[256], paths[9][128], sources[256] = "", *output;
    const char *list = made(c, "started", paths[8]);
    FILE *f = list ? fopen(list, "re") : NULL;
    ck_assert(!f || fgets(sources, sizeof(sources), f));
    if (f)
        fclose(f);
    snprintf(words, sizeof(words), "export messages --out %s/messages.csv", c->dir);
    int code = cluster_fleetcast(c, &output, words);
    must(words, code, output);
    cluster_control(c, "{}", "taken"); /* flushes the receipts */
    struct audit_input in = {.devices = made(c, "devices.csv", paths[0]),
                             .leads = made(c, "leads.csv", paths[1]),
                             .content = made(c, "content.yaml", paths[2]),
                             .receipts = made(c, "receipts.log", paths[3]),
                             .messages = made(c, "messages.csv", paths[4]),
                             .silences = made(c, "silences", paths[5]),
                             .older = made(c, "older.yaml", paths[6]),
                             .direct = made(c, "direct.csv", paths[7]),
                             .enrolments = made(c, "enrolments.csv", paths[8]),
                             .sources = f ? sources : NULL};
    struct audit_result r;
    ck_assert_int_eq(audit_run(&in, &r, waiting ? NULL : stderr, stderr), 0);
    audit_print(&r, in.receipts != NULL, stderr);
    ck_assert_uint_eq(r.lost, waiting);
    ck_assert_uint_eq(audit_offences(&r) - r.lost, 0);
    return r;
}
