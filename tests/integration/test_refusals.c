/* test_refusals.c - every kind of bad configuration, given to the real programs. */
#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/process.h"

static struct cluster *cluster;

/* One line of a good file is replaced (text), or a line is added behind it (more), or both. `line`
 * is compared as a whole; NULL in `text` keeps it, "" drops it. `says` must stand on stderr. */
struct bad {
    const char *line, *text, *more, *says;
    const char *at; /* where the fault is told, when that is another line */
};
struct program {
    const char *path, *config; /* of the build; NAME.conf of the cluster */
    bool daemon;
};
static const struct program node = {"node/fleetcast-node", "n1", true};
static const struct program coordinator = {"coordinator/fleetcast-coordinator", "c1", true};
static const struct program command = {"coordinator/ctl/fleetcast", "ops", false};

static void
put_file(const char *name, mode_t mode, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", cluster_dir(cluster), name);
    FILE *f = fopen(path, "we");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "%s\n", text);
    fclose(f);
    ck_assert_int_eq(chmod(path, mode), 0);
}

static void
files(void)
{
    cluster = cluster_bare(&(struct cluster_options){.nodes = 2});
    /* What the bad configurations name. */
    put_file("open.key", 0644, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    put_file("words.key", 0600, "these are no 64 hex digits");
}

static void
away(void)
{
    cluster = cluster_free(cluster);
}

/* "@/x" stands for the cluster's directory and x. */
static void
put_line(FILE *f, const char *text)
{
    for (; *text; text++)
        if (*text == '@')
            fputs(cluster_dir(cluster), f);
        else
            fputc(*text, f);
    fputc('\n', f);
}

static void
expand(char *out, size_t size, const char *text)
{
    FILE *f = fmemopen(out, size, "w");
    ck_assert_ptr_nonnull(f);
    put_line(f, text);
    fclose(f);
    out[strcspn(out, "\n")] = '\0';
}

/* A text that ends with "=" is meant with any value behind it. */
static bool
is_line(const char *line, const char *wanted)
{
    size_t bytes = strlen(wanted);
    return wanted[bytes - 1] == '=' ? strncmp(line, wanted, bytes) == 0 : strcmp(line, wanted) == 0;
}

static void
spoil(const struct program *p, const struct bad *b)
{
    char good[128], bad[128], line[1100];
    unsigned found = 0;
    snprintf(good, sizeof(good), "%s/%s.conf", cluster_dir(cluster), p->config);
    snprintf(bad, sizeof(bad), "%s/bad.conf", cluster_dir(cluster));
    FILE *in = fopen(good, "re"), *out = fopen(bad, "we");
    ck_assert(in && out);
    while (fgets(line, sizeof(line), in)) {
        line[strcspn(line, "\n")] = '\0';
        bool here = found == 0 && is_line(line, b->line);
        found += here;
        if (!here || !b->text || b->text[0])
            put_line(out, here && b->text ? b->text : line);
        if (here && b->more)
            put_line(out, b->more);
    }
    fclose(in);
    fclose(out);
    ck_assert_msg(found > 0, "%s has no line %s", good, b->line);
}

/* The last such line of bad.conf: what stands twice is told where it stands again. */
static unsigned
line_of(const struct bad *b)
{
    char path[128], line[1100], wanted[300];
    unsigned at = 0, found = 0;
    const char *text = b->at ? b->at : b->more ? b->more : b->text;
    expand(wanted, sizeof(wanted), text);
    snprintf(path, sizeof(path), "%s/bad.conf", cluster_dir(cluster));
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        at++;
        if (is_line(line, wanted))
            found = at;
    }
    fclose(f);
    ck_assert_msg(found > 0, "bad.conf has no line %s", wanted);
    return found;
}

static int
run(const struct program *p, bool check, char **ret_output)
{
    char program[700], config[128];
    snprintf(program, sizeof(program), "%s/%s", getenv("FLEETCAST_BUILD"), p->path);
    snprintf(config, sizeof(config), "%s/bad.conf", cluster_dir(cluster));
    const char *const daemon[] = {program, check ? "--check" : config, check ? config : NULL, NULL};
    const char *const verb[] = {program, "--config", config, "status", NULL};
    return process_run(p->daemon ? daemon : verb, ret_output);
}

static bool
listens(unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = connect(fd, (struct sockaddr *) &a, sizeof(a)) == 0;
    close(fd);
    return yes;
}

static void
nothing_listens(void)
{
    char path[128], who[32];
    unsigned rpc, health, count = 0;
    snprintf(path, sizeof(path), "%s/ports", cluster_dir(cluster));
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    for (; fscanf(f, "%31s %u %u", who, &rpc, &health) == 3; count++)
        ck_assert_msg(!listens(rpc) && !listens(health), "something listens for %s", who);
    fclose(f);
    ck_assert_uint_eq(count, 3);
}

static void
refuses(const struct program *p, const struct bad *b)
{
    spoil(p, b);
    unsigned line = line_of(b);
    for (int check = 0; check <= p->daemon; check++) {
        char place[160], says[400], *output;
        int code = run(p, check, &output);
        ck_assert_msg(code == 1, "%s: %s: exit code %d: %s", p->path, b->says, code, output);
        snprintf(place, sizeof(place), "%s/bad.conf:%u: ", cluster_dir(cluster), line);
        expand(says, sizeof(says), b->says);
        ck_assert_msg(strstr(output, place), "%s: not at line %u: %s", p->path, line, output);
        ck_assert_msg(strstr(output, says), "%s: does not say %s: %s", p->path, says, output);
        free(output);
    }
    nothing_listens();
}

START_TEST(node_refuses)
{
    static const struct bad cases[] = {
        {"[send]", NULL, "speed = 9", "[send] speed: unknown key", NULL},
        {"[send]", "[sned]", NULL, "[sned]: unknown section", NULL},
        {"name = n1", "name = N 1", NULL, "[node] name = \"N 1\": ", NULL},
        {"slots = 512", "slots = many", NULL, "[send] slots = \"many\": not a whole number", NULL},
        {"slots = 512", "slots = 0", NULL, "[send] slots = \"0\": out of range", NULL},
        {"max = 4", "max = 400000", NULL, "[pool] max = \"400000\": out of range", NULL},
        {"timeout = 2s", "timeout = 2", NULL, "[send] timeout = \"2\": not a time", NULL},
        {"allow_http = yes", "allow_http = maybe", NULL,
         "[send] allow_http = \"maybe\": neither yes nor no", NULL},
        {"allow_http = yes", NULL, "allow_http = no", "allow_http: stands here twice", NULL},
        {"listen =", "listen = 127.0.0.1:1", NULL, "[node] listen = \"127.0.0.1:1\": not an endp",
         NULL},
        {"health =", "health = here", NULL, "[node] health = \"here\": not an address", NULL},
        {"state =", "state = @/absent", NULL, "[node] state = \"@/absent\": ", NULL},
        {"key =", "key = @/absent", NULL, "[node] key = \"@/absent\": ", NULL},
        {"key =", "key = @/open.key", NULL, "[node] key = \"@/open.key\": mode must be 0600", NULL},
        {"key =", "key = @/words.key", NULL, "[node] key = \"@/words.key\": not a key file", NULL},
        {"key =", "key = @/n2.key", NULL, "[node] key = \"@/n2.key\": not the key that", NULL},
        {"token_key =", "token_key = @/open.key", NULL, "token_key = \"@/open.key\": mode must be",
         NULL},
        {"name = n1", "name = n9", NULL, "[node] name = \"n9\": ", NULL},
        {"name = n1", "name = ops", NULL, "[node] name = \"ops\": ", NULL},
        {"name = c1", "name = n2", NULL, "[coordinator] name = \"n2\": ", NULL},
        {"[partition p2]", "[partition p1]", NULL, "[partition p1]: stands in line ", NULL},
        {"base_url =", "base_url = ftp://x", NULL, "[send] base_url = \"ftp://x\": must begin",
         NULL},
        {"name = n1", "", NULL, "[node] name: is required", "[node]"},
        {"send_window = 500ms", "send_window = 5s", NULL, "[timing]: quarantine must", NULL},
        {"quarantine =", "quarantine = 600ms", NULL, "[timing]: quarantine must", "send_window ="},
        {"dead =", "dead = 199ms", NULL, "[timing] dead = \"199ms\": out of range", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        refuses(&node, &cases[i]);
}
END_TEST

START_TEST(coordinator_refuses)
{
    static const struct bad cases[] = {
        {"[coordinator]", NULL, "speed = 9", "[coordinator] speed: unknown key", NULL},
        {"catalog =", "catalog = x", NULL,
         "[coordinator] catalog = \"...\": not a connection string", NULL},
        {"catalog =", NULL, "[fleet]", "[fleet]: unknown section", NULL},
        {"catalog =", NULL, "[timing]\ndead = 1ms", "[timing] dead = \"1ms\": out of range",
         "dead ="},
        {"listen =", "listen = udp://1", NULL, "[coordinator] listen = \"udp://1\": not of the",
         NULL},
        {"feed =", "feed = x", NULL, "[coordinator] feed = \"x\": not of the form", NULL},
        {"health =", "health = here", NULL, "[coordinator] health = \"here\": not an address",
         NULL},
        {"key =", "key = @/absent", NULL, "[coordinator] key = \"@/absent\": ", NULL},
        {"key =", "key = @/open.key", NULL, "[coordinator] key = \"@/open.key\": mode must be",
         NULL},
        {"key =", "key = @/words.key", NULL, "key = \"@/words.key\": not a key file", NULL},
        {"key =", "key = @/n2.key", NULL, "[coordinator] key = \"@/n2.key\": not the key", NULL},
        {"name = c1", "name = c9", NULL, "[coordinator] name = \"c9\": ", NULL},
        {"name = c1", "name = n1", NULL, "[coordinator] name = \"n1\": ", NULL},
        {"name = c1", "", NULL, "[coordinator] name: is required", "[coordinator]"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        refuses(&coordinator, &cases[i]);
}
END_TEST

START_TEST(command_refuses)
{
    static const struct bad cases[] = {
        {"name = ops", NULL, "speed = 9", "[fleetcast] speed: unknown key", NULL},
        {"[fleetcast]", NULL, "name = OPS", "[fleetcast] name = \"OPS\": ", NULL},
        {"key =", "key = @/absent", NULL, "[fleetcast] key = \"@/absent\": ", NULL},
        {"key =", "key = @/open.key", NULL, "[fleetcast] key = \"@/open.key\": its mode must be",
         NULL},
        {"name = ops", "name = nobody", NULL, "[fleetcast] name = \"nobody\": ", NULL},
        {"name = ops", "name = n1", NULL, "[fleetcast] name = \"n1\": ", NULL},
        {"coordinator_name =", "coordinator_name = c9", NULL, "coordinator_name = \"c9\": ", NULL},
        {"name = ops", "", NULL, "[fleetcast] name: is required", "[fleetcast]"},
        {"coordinator_name =", NULL, "[fleet]", "[fleet]: unknown section", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        refuses(&command, &cases[i]);
}
END_TEST

START_TEST(good_files_pass)
{
    static const struct bad same[] = {{"name = n1", NULL, NULL, NULL, NULL},
                                      {"name = c1", NULL, NULL, NULL, NULL}};
    const struct program *programs[] = {&node, &coordinator};
    for (int i = 0; i < 2; i++) {
        char *output;
        spoil(programs[i], &same[i]);
        int code = run(programs[i], true, &output);
        ck_assert_msg(code == 0, "%s", output);
        free(output);
    }
    nothing_listens();
}
END_TEST

int
main(int argc, char **argv)
{
    Suite *suite = suite_create("refusals");
    TCase *t = tcase_create("configuration");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, files, away);
    tcase_add_test(t, node_refuses);
    tcase_add_test(t, coordinator_refuses);
    tcase_add_test(t, command_refuses);
    tcase_add_test(t, good_files_pass);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_NORMAL);
    int bad = srunner_ntests_failed(runner);
    srunner_free(runner);
    cluster_sweep();
    return bad == 0 ? 0 : 1;
}
