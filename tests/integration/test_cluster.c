/* test_cluster.c - whole campaigns through real processes; the provider misbehaves by each rule. */
#include <check.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/process.h"

#define SECONDS(n) ((n) *USEC_PER_SEC)

static struct cluster *cluster;

static void
away(void)
{
    cluster = cluster_free(cluster);
}

static struct audit_result
ends(uint64_t asked)
{
    cluster_finished(cluster, SECONDS(90));
    struct audit_result r = cluster_audit(cluster);
    ck_assert_uint_eq(r.asked, asked);
    ck_assert_uint_eq(r.waiting, 0);
    char *output;
    int code = cluster_fleetcast(cluster, &output, "verify");
    ck_assert_msg(code == 0, "verify: %d\n%s", code, output);
    free(output);
    return r;
}

START_TEST(campaign_is_sent_exactly_once)
{
    cluster = cluster_new(
        &(struct cluster_options){.devices = 90, .leads = 7, .min_delay = 20, .max_delay = 60});
    cluster_campaign(cluster);
    struct audit_result r = ends(630);
    ck_assert_uint_eq(r.sent, 630);
    ck_assert_uint_eq(r.received, 630);
    for (int i = 1; i <= 3; i++) { /* every node had its share */
        char partition[4] = {'p', (char) ('0' + i), '\0'};
        ck_assert_uint_eq(cluster_receipts(cluster, partition, NULL), 210);
    }
}
END_TEST

/* Starting it again, importing the same files again: nothing is added, nothing is sent again. */
START_TEST(everything_twice_changes_nothing)
{
    cluster = cluster_new(&(struct cluster_options){.devices = 12, .leads = 5});
    cluster_campaign(cluster);
    cluster_campaign(cluster);
    char words[256], *output;
    static const char *const files[] = {"devices", "leads"};
    for (int i = 0; i < 2; i++) {
        snprintf(words, sizeof(words), "import %s %s/%s.csv", files[i], cluster_dir(cluster),
                 files[i]);
        int code = cluster_fleetcast(cluster, &output, words);
        ck_assert_msg(code == 0 && strstr(output, "accepted 0"), "%d\n%s", code, output);
        free(output);
    }
    snprintf(words, sizeof(words), "apply-content %s/content.yaml", cluster_dir(cluster));
    ck_assert_int_eq(cluster_fleetcast(cluster, &output, words), 0);
    free(output);
    ck_assert_uint_eq(ends(60).received, 60);
}
END_TEST

struct misbehaviour {
    const char *rule;
    uint64_t unknown_min, unknown_max, failed_max;
};

/* Each rule hits 40 requests of 300; gaps are short, so that the breaker's probes end soon. */
static const struct misbehaviour misbehaviours[] = {
    {"{\"fault\":\"delay\",\"ms\":300,\"count\":40}", 0, 0, 0},
    {"{\"fault\":\"close\",\"count\":4}", 4, 4, 0},
    {"{\"fault\":\"reject_close\",\"count\":4}", 4, 4, 0},
    {"{\"fault\":\"hang\",\"count\":4}", 4, 4, 0},
    {"{\"fault\":\"reset\",\"count\":4}", 4, 4, 0},
    {"{\"fault\":\"reused\",\"count\":4}", 4, 4, 0},
    {"{\"fault\":\"html\",\"status\":503,\"count\":4}", 4, 4, 0},
    {"{\"fault\":\"html\",\"status\":200,\"taken\":true,\"count\":4}", 4, 4, 0},
    {"{\"fault\":\"empty\",\"status\":500,\"taken\":true,\"count\":4}", 4, 4, 0},
    {"{\"fault\":\"cut_body\",\"count\":4}", 4, 4, 0},
    {"{\"fault\":\"cut_head\",\"count\":4}", 4, 4, 0},
    {"{\"fault\":\"bad_chunk\",\"count\":4}", 0, 4, 0},
    {"{\"fault\":\"drip\",\"ms\":2,\"count\":10}", 0, 0, 0},
    {"{\"fault\":\"last\",\"count\":100}", 0, 0, 0},
    {"{\"fault\":\"empty\",\"status\":429,\"count\":4}", 0, 0, 0},
    {"{\"fault\":\"error\",\"code\":130429,\"status\":400,\"count\":10}", 0, 0, 0},
    {"{\"fault\":\"error\",\"code\":131056,\"status\":400,\"count\":10}", 0, 0, 0},
    {"{\"fault\":\"error\",\"code\":131026,\"status\":400,\"data\":true,\"count\":10}", 0, 0, 10},
    {"{\"fault\":\"error\",\"code\":2,\"status\":503,\"transient\":true,\"count\":4}", 4, 4, 0},
    {"{\"fault\":\"error\",\"code\":131000,\"status\":400,\"count\":4}", 4, 4, 0},
};

START_TEST(provider_misbehaves)
{
    const struct misbehaviour *m = &misbehaviours[_i];
    cluster = cluster_new(&(struct cluster_options){
        .nodes = 1, .devices = 30, .leads = 10, .min_delay = 20, .max_delay = 60});
    char json[256];
    snprintf(json, sizeof(json), "{\"rules\":[%s]}", m->rule);
    cluster_control(cluster, json, "taken");
    cluster_campaign(cluster);
    struct audit_result r = ends(300);
    ck_assert_msg(r.unknown >= m->unknown_min && r.unknown <= m->unknown_max, "%s: unknown %lu",
                  m->rule, (unsigned long) r.unknown);
    ck_assert_msg(r.failed <= m->failed_max, "%s: failed %lu", m->rule, (unsigned long) r.failed);
    ck_assert_uint_eq(r.sent + r.unknown + r.failed, 300);
}
END_TEST

/* An outage of everything costs at most the requests in flight at its start and the probes. */
START_TEST(outage_costs_slots_and_probes)
{
    cluster = cluster_new(&(struct cluster_options){
        .nodes = 1, .devices = 60, .leads = 10, .min_delay = 20, .max_delay = 60, .slots = 8});
    cluster_campaign(cluster);
    cluster_taken(cluster, 100, SECONDS(20));
    cluster_control(cluster, "{\"rules\":[{\"fault\":\"reject_close\"}]}", "taken");
    usec_t until = clock_boot() + SECONDS(4);
    while (clock_boot() < until)
        (void) cluster_control(cluster, "{}", "taken");
    cluster_control(cluster, "{\"rules\":[]}", "taken");
    struct audit_result r = ends(600);
    ck_assert_msg(r.unknown >= 1 && r.unknown <= 8 + 8,
                  "unknown %lu: 8 slots and a probe after 1, 2, 4 s", (unsigned long) r.unknown);
}
END_TEST

/* One revoked token of many devices: nothing lost; they go on when it works again. */
START_TEST(revoked_token_holds_its_device)
{
    cluster = cluster_new(&(struct cluster_options){
        .nodes = 1, .devices = 5, .leads = 6, .min_delay = 20, .max_delay = 60});
    cluster_control(cluster, "{\"revoke\":[\"token-3\"]}", "taken");
    cluster_campaign(cluster);
    cluster_taken(cluster, 24, SECONDS(30));
    ck_assert_int_eq(cluster_control(cluster, "{\"restore\":true}", "taken"), 24);
    ck_assert_uint_eq(ends(30).sent, 30);
}
END_TEST

static unsigned
port_of(const char *name, bool health)
{
    char path[128], who[32];
    unsigned rpc, web;
    snprintf(path, sizeof(path), "%s/ports", cluster_dir(cluster));
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    while (fscanf(f, "%31s %u %u", who, &rpc, &web) == 3)
        if (strcmp(who, name) == 0) {
            fclose(f);
            return health ? web : rpc;
        }
    ck_abort_msg("no port");
}

static int
dial(unsigned port)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t) port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *) &in, sizeof(in)), 0);
    return fd;
}

/* Half-open health clients, garbage and half handshakes on the control port: sending does not
 * notice. */
START_TEST(strangers_disturb_nothing)
{
    cluster = cluster_new(&(struct cluster_options){
        .nodes = 1, .devices = 30, .leads = 10, .min_delay = 20, .max_delay = 60});
    int fds[40];
    for (int i = 0; i < 40; i++) {
        fds[i] = dial(port_of("n1", i % 2));
        static const char garbage[] = "GET /status HTTP/1.1\r\nHost: ";
        static const char sp[] =
            "\0SP\0\0\x30\0\0\0\0\0\0\0\0\0\x10\x80\0\0\1\xdd\xff\xff\xff\xff\1\2\3\4\5\6\7";
        ck_assert_int_gt(write(fds[i], i % 2 ? garbage : sp,
                               i % 2 ? sizeof(garbage) - 1 : sizeof(sp) - 1),
                         0);
    }
    cluster_campaign(cluster);
    struct audit_result r = ends(300);
    ck_assert_uint_eq(r.sent, 300);
    for (int i = 0; i < 40; i++)
        close(fds[i]);
}
END_TEST

START_TEST(health_tells_the_truth)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = 1, .devices = 5, .leads = 2});
    static const char *const names[] = {"c1", "n1"}, *const paths[] = {"/livez", "/readyz",
                                                                       "/readyz?verbose", "/status",
                                                                       "/metrics"};
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 5; k++)
            ck_assert_msg(cluster_health(cluster, names[i], paths[k], NULL) == 200, "%s %s",
                          names[i], paths[k]);
    ck_assert_uint_eq(cluster_health(cluster, "n1", "/nothing", NULL), 404);
    cluster_signal(cluster, "c1", SIGKILL);
    ck_assert_uint_eq(cluster_health(cluster, "n1", "/readyz", NULL),
                      200); /* losing the coordinator changes nothing */
    cluster_pg(cluster, "stop");
    usec_t until = clock_boot() + SECONDS(20);
    unsigned status;
    while ((status = cluster_health(cluster, "n1", "/readyz", NULL)) == 200 && clock_boot() < until)
        continue;
    ck_assert_uint_eq(status, 503);
    char *body = NULL;
    (void) cluster_health(cluster, "n1", "/readyz?verbose", &body);
    ck_assert_msg(body && strstr(body, "[-]"), "%s", body);
    free(body);
    ck_assert_uint_eq(cluster_health(cluster, "n1", "/livez", NULL), 200);
    cluster_pg(cluster, "run");
    ck_assert(cluster_ready(cluster, "n1", SECONDS(30)));
}
END_TEST

START_TEST(observer_may_not_write)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = 1, .devices = 2, .leads = 1});
    char words[256], *output;
    snprintf(words, sizeof(words), "--config %s/watch.conf campaign start hello",
             cluster_dir(cluster));
    ck_assert_int_eq(cluster_fleetcast(cluster, &output, words), 4);
    free(output);
    snprintf(words, sizeof(words), "--config %s/watch.conf campaign ls", cluster_dir(cluster));
    ck_assert_int_eq(cluster_fleetcast(cluster, &output, words), 0);
    free(output);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("cluster");
    TCase *t = tcase_create("campaign");
    tcase_set_timeout(t, 150);
    tcase_add_checked_fixture(t, NULL, away);
    tcase_add_test(t, campaign_is_sent_exactly_once);
    tcase_add_test(t, everything_twice_changes_nothing);
    /* Under sanitizers the first kinds are enough: the rest differ in what the answer says only. */
    tcase_add_loop_test(t, provider_misbehaves, 0,
                        getenv("FLEETCAST_SHORT") ? 7 : (int) ARRAY_SIZE(misbehaviours));
    tcase_add_test(t, outage_costs_slots_and_probes);
    tcase_add_test(t, revoked_token_holds_its_device);
    tcase_add_test(t, strangers_disturb_nothing);
    tcase_add_test(t, health_tells_the_truth);
    tcase_add_test(t, observer_may_not_write);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int bad = srunner_ntests_failed(runner);
    srunner_free(runner);
    cluster_sweep();
    return bad == 0 ? 0 : 1;
}
