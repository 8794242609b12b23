/* What the end of a send proves, against a server that misbehaves in every known way. */
#include "node/transport.h"

#include <check.h>
#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "node/cloudapi_codes.h"
#include "proto/limits.h"
#include "shared/content.h"
#include "tests/unit/small_server.h"

static uv_loop_t loop;
static struct transport *transport;
static struct server *server;
static int descriptors_before;

struct sent {
    unsigned done; /* how often it ended */
    bool starting; /* inside transport_send */
    bool refuse;   /* what the guard says */
    unsigned guard_calls;
    struct outcome_report report;
    char id[256];
    char base_url[64];
};

static int
descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int count = 0;

    ck_assert_ptr_nonnull(d);
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

/* libuv keeps two descriptors of its own from the first loop on. */
static void
count_descriptors(void)
{
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    descriptors_before = descriptors();
}

static void
start_with(struct transport_config config)
{
    count_descriptors();
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(transport_start(&transport, &loop, &config), 0);
}

static void
start(unsigned slots, usec_t timeout)
{
    start_with((struct transport_config){
        .slots = slots, .timeout = timeout, .connect_timeout = timeout, .allow_http = true});
}

/* Everything is closed: the loop has no handle left, the process no descriptor. */
static void
stop(void)
{
    transport_stop(transport);
    ck_assert_uint_eq(transport_in_flight(transport), 0);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    transport = transport_free(transport);
    if (server)
        server_stop(server);
    server = NULL;
    ck_assert_int_eq(descriptors(), descriptors_before);
}

static void
serve(const enum act *acts, unsigned count)
{
    count_descriptors();
    server = server_start(acts, count);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(transport_start(&transport, &loop,
                                     &(struct transport_config){.slots = 8,
                                                                .timeout = USEC_PER_SEC / 2,
                                                                .connect_timeout = USEC_PER_SEC / 2,
                                                                .allow_http = true}),
                     0);
}

static struct slice
slice(const char *text)
{
    return (struct slice){.data = text, .bytes = strlen(text)};
}

static struct outgoing
hello(const struct sent *s)
{
    return (struct outgoing){.gateway = &gateway_cloudapi,
                             .base_url = slice(s->base_url),
                             .version = slice("v25.0"),
                             .address = slice("100"),
                             .bearer = slice("secret"),
                             .phone = 60123456789u,
                             .token = slice("v1.p1.7.42.018f2b1e-0000-7000-8000-000000000001"),
                             .text = slice("Hello"),
                             .send_by = clock_boot() + 60 * USEC_PER_SEC};
}

static bool
on_guard(void *arg, usec_t now)
{
    struct sent *s = arg;

    s->guard_calls++;
    ck_assert(!s->starting);
    ck_assert_uint_le(now, clock_boot());
    return !s->refuse;
}

static void
on_done(void *arg, const struct outcome_report *report)
{
    struct sent *s = arg;

    ck_assert(!s->starting);
    s->done++;
    s->report = *report;
    ck_assert_uint_lt(report->provider_id.bytes, sizeof s->id);
    if (report->provider_id.bytes > 0)
        memcpy(s->id, report->provider_id.data, report->provider_id.bytes);
    s->id[report->provider_id.bytes] = '\0';
}

static void
aim(struct sent *s, const char *host, uint16_t port)
{
    snprintf(s->base_url, sizeof s->base_url, "http://%s:%u", host, port);
}

static int
post(struct sent *s, const struct outgoing *o)
{
    int r;

    s->starting = true;
    r = transport_send(transport, o, on_guard, on_done, s);
    s->starting = false;
    return r;
}

static void
run_until_done(const struct sent *s)
{
    while (s->done == 0)
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert_uint_eq(s->done, 1);
}

/* One send to the server, to its end. */
static struct sent
send_one(void)
{
    struct sent s = {0};

    aim(&s, "127.0.0.1", server->port);
    struct outgoing o = hello(&s);

    ck_assert_int_eq(post(&s, &o), 0);
    run_until_done(&s);
    ck_assert_uint_eq(transport_in_flight(transport), 0);
    return s;
}

static void
is(const struct sent *s, enum verdict verdict, enum outcome outcome, enum reason reason,
   unsigned calls)
{
    ck_assert_int_eq(s->report.verdict, verdict);
    ck_assert_int_eq(s->report.outcome, outcome);
    ck_assert_str_eq(reason_name(s->report.reason), reason_name(reason));
    ck_assert_uint_eq(s->report.calls, calls);
    ck_assert((s->report.first_byte > 0) == (calls > 0 && !s->report.guarded));
    ck_assert_uint_ge(s->report.ended, s->report.first_byte);
    ck_assert((outcome == OUTCOME_SENT) == (s->id[0] != '\0'));
    if (outcome == OUTCOME_NOT_SENT && verdict == VERDICT_NOT_SENT)
        ck_assert_int_eq(s->report.refusal, REFUSAL_NONE);
}

static void
posts_are(unsigned posts, unsigned connections)
{
    ck_assert_uint_eq(atomic_load(&server->posts), posts);
    ck_assert_uint_eq(atomic_load(&server->connections), connections);
}

/* ---- the table of verdicts ---- */

START_TEST(verdicts)
{
    ck_assert_int_eq(transport_verdict(CURLE_OK, 1, false), VERDICT_ANSWERED);
    ck_assert_int_eq(transport_verdict(CURLE_ABORTED_BY_CALLBACK, 2, false), VERDICT_DOUBT);
    ck_assert_int_eq(transport_verdict(CURLE_ABORTED_BY_CALLBACK, 2, true), VERDICT_DOUBT);
    ck_assert_int_eq(transport_verdict(CURLE_ABORTED_BY_CALLBACK, 1, true), VERDICT_NOT_SENT);
    ck_assert_int_eq(transport_verdict(CURLE_ABORTED_BY_CALLBACK, 1, false), VERDICT_DOUBT);
    for (int code = 1; code < CURL_LAST; code++) {
        ck_assert_int_eq(transport_verdict(code, 0, false), VERDICT_NOT_SENT);
        ck_assert_int_eq(transport_verdict(code, 1, false), VERDICT_DOUBT);
    }
}
END_TEST

static struct sent
reused_connection_dies(enum act how)
{
    const enum act acts[] = {ANSWER, how, ANSWER};
    struct sent s, doubtful;

    serve(acts, 3);
    s = send_one();
    is(&s, VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 1);
    doubtful = send_one();
    ck_assert_uint_eq(doubtful.guard_calls, 1);
    s = send_one();
    is(&s, VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 1);
    ck_assert_uint_eq(atomic_load(&server->posts), 3); /* one each: no repeat has left */
    stop();
    return doubtful;
}

START_TEST(reused_connection_fin)
{
    struct sent s = reused_connection_dies(FIN);

    is(&s, VERDICT_DOUBT, OUTCOME_UNKNOWN, REASON_REPEAT_REFUSED, 2);
}
END_TEST

/* Seen as an error of the read (no repeat) or as a dead connection (repeat): a race in libcurl. */
START_TEST(reused_connection_rst)
{
    struct sent s = reused_connection_dies(RST);

    is(&s, VERDICT_DOUBT, OUTCOME_UNKNOWN,
       s.report.calls == 2 ? REASON_REPEAT_REFUSED : REASON_CONNECTION_LOST, s.report.calls);
    ck_assert(s.report.calls == 1 || s.report.calls == 2);
}
END_TEST

START_TEST(idle_connection_closed)
{
    const enum act acts[] = {ANSWER_CLOSE, ANSWER};
    struct sent s;

    serve(acts, 2);
    s = send_one();
    is(&s, VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 1);
    sem_wait(&server->closed);
    s = send_one();
    is(&s, VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 1);
    posts_are(2, 2);
    stop();
}
END_TEST

static const struct row {
    enum act act;
    enum verdict verdict;
    enum outcome outcome;
    enum reason reason;
    unsigned status;
} rows[] = {
    {FIN, VERDICT_DOUBT, OUTCOME_UNKNOWN, REASON_CONNECTION_LOST, 0},
    {RST, VERDICT_DOUBT, OUTCOME_UNKNOWN, REASON_CONNECTION_LOST, 0},
    {HANG, VERDICT_DOUBT, OUTCOME_UNKNOWN, REASON_TIMEOUT, 0},
    {BODY_CUT, VERDICT_DOUBT, OUTCOME_UNKNOWN, REASON_REPLY_UNREADABLE, 200},
    {CHUNK_CUT, VERDICT_DOUBT, OUTCOME_UNKNOWN, REASON_REPLY_UNREADABLE, 200},
    {HEADER_CUT, VERDICT_ANSWERED, OUTCOME_UNKNOWN, REASON_NO_PROVIDER_ID, 200},
    {LONGER_BODY, VERDICT_DOUBT, OUTCOME_UNKNOWN, REASON_REPLY_UNREADABLE, 200},
    {LONG_HEAD, VERDICT_DOUBT, OUTCOME_UNKNOWN, REASON_REPLY_UNREADABLE, 200},
    {NO_HTTP, VERDICT_DOUBT, OUTCOME_UNKNOWN, REASON_REPLY_UNREADABLE, 0},
    {REDIRECT, VERDICT_ANSWERED, OUTCOME_UNKNOWN, REASON_REPLY_UNREADABLE, 307},
    {HTML_502, VERDICT_ANSWERED, OUTCOME_UNKNOWN, REASON_SERVER_ERROR, 502},
    {REFUSE, VERDICT_ANSWERED, OUTCOME_FAILED, REASON_RECIPIENT, 400},
    {LONG_BODY, VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 200},
    {ANSWER, VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 200},
};

START_TEST(fresh_connection)
{
    const struct row *row = &rows[_i];
    struct sent s;

    serve(&row->act, 1);
    s = send_one();
    is(&s, row->verdict, row->outcome, row->reason, 1);
    ck_assert_uint_eq(s.report.status, row->status);
    ck_assert_uint_eq(s.guard_calls, 1);
    posts_are(1, 1);
    stop();
}
END_TEST

START_TEST(refused_by_the_guard)
{
    const enum act acts[] = {ANSWER};
    struct sent s = {.refuse = true};
    struct outgoing o;

    serve(acts, 1);
    aim(&s, "127.0.0.1", server->port);
    o = hello(&s);
    ck_assert_int_eq(post(&s, &o), 0);
    run_until_done(&s);
    is(&s, VERDICT_NOT_SENT, OUTCOME_NOT_SENT, REASON_NONE, 1);
    ck_assert(s.report.guarded);
    ck_assert_uint_eq(s.guard_calls, 1);
    s = (struct sent){.refuse = true}; /* also on a kept connection */
    send_one();
    aim(&s, "127.0.0.1", server->port);
    o = hello(&s);
    ck_assert_int_eq(post(&s, &o), 0);
    run_until_done(&s);
    is(&s, VERDICT_NOT_SENT, OUTCOME_NOT_SENT, REASON_NONE, 1);
    ck_assert_uint_eq(atomic_load(&server->posts), 1);
    stop();
}
END_TEST

/* Past send_by: nothing is even connected, and the guard of the caller is not asked. */
START_TEST(too_late)
{
    const enum act acts[] = {ANSWER};
    struct sent s = {0};
    struct outgoing o;

    serve(acts, 1);
    aim(&s, "127.0.0.1", server->port);
    o = hello(&s);
    o.send_by = clock_boot();
    ck_assert_int_eq(post(&s, &o), 0);
    run_until_done(&s);
    is(&s, VERDICT_NOT_SENT, OUTCOME_NOT_SENT, REASON_NONE, 0);
    ck_assert(s.report.guarded);
    ck_assert_uint_eq(s.guard_calls, 0);
    posts_are(0, 0);
    stop();
}
END_TEST

/* A listener whose backlog is full: the kernel lets further connections hang. */
struct full {
    int listener, fill[2];
    uint16_t port;
};

static struct full
listen_full(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct full f;

    f.listener = listen_anywhere(0, 0, &f.port);
    a.sin_port = htons(f.port);
    for (int i = 0; i < 2; i++) {
        f.fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(f.fill[i], (struct sockaddr *) &a, sizeof a); /* goes on by itself */
    }
    return f;
}

static void
close_full(const struct full *f)
{
    for (int i = 0; i < 2; i++)
        close(f->fill[i]);
    close(f->listener);
}

/* send_by passes while the connection is made: the last word refuses. */
START_TEST(too_late_at_the_last_word)
{
    struct full full;
    struct sent s = {0};
    struct outgoing o;

    start(1, 10 * USEC_PER_SEC);
    full = listen_full();
    aim(&s, "127.0.0.1", full.port);
    o = hello(&s);
    o.send_by = clock_boot() + 100 * USEC_PER_MSEC;
    ck_assert_int_eq(post(&s, &o), 0);
    while (clock_boot() < o.send_by)
        uv_run(&loop, UV_RUN_NOWAIT);
    ck_assert_uint_eq(s.done, 0);
    close(accept(full.listener, NULL, NULL)); /* room: the kernel's next try connects */
    close(accept(full.listener, NULL, NULL));
    run_until_done(&s);
    is(&s, VERDICT_NOT_SENT, OUTCOME_NOT_SENT, REASON_NONE, 1);
    ck_assert(s.report.guarded);
    ck_assert_uint_eq(s.guard_calls, 0);
    close_full(&full);
    stop();
}
END_TEST

static struct sent
never_reaches(const char *base_url)
{
    struct sent s = {0};
    struct outgoing o;

    snprintf(s.base_url, sizeof s.base_url, "%s", base_url);
    o = hello(&s);
    ck_assert_int_eq(post(&s, &o), 0);
    run_until_done(&s);
    is(&s, VERDICT_NOT_SENT, OUTCOME_NOT_SENT, REASON_NONE, 0);
    ck_assert(!s.report.guarded);
    ck_assert_uint_eq(s.guard_calls, 0);
    return s;
}

START_TEST(connection_refused)
{
    char url[64];
    uint16_t port;
    int listener;

    start(2, USEC_PER_SEC);
    listener = listen_anywhere(1, 0, &port);
    close(listener);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    never_reaches(url);
    stop();
}
END_TEST

START_TEST(no_such_name)
{
    start(2, USEC_PER_SEC); /* a resolver that is cut off itself answers later: the same end */
    never_reaches("http://nosuchhost.invalid");
    stop();
}
END_TEST

START_TEST(no_such_scheme)
{
    start(2, USEC_PER_SEC);
    never_reaches("gopher://127.0.0.1");
    never_reaches("file:///etc");
    never_reaches("http://");
    stop();
}
END_TEST

START_TEST(plain_http_only_when_allowed)
{
    const enum act acts[] = {ANSWER};
    struct server *s = server_start(acts, 1);
    char url[64];

    start_with((struct transport_config){.slots = 1,
                                         .timeout = USEC_PER_SEC,
                                         .connect_timeout = USEC_PER_SEC});
    snprintf(url, sizeof url, "http://127.0.0.1:%u", s->port);
    never_reaches(url);
    ck_assert_uint_eq(atomic_load(&s->connections), 0);
    stop();
    server_stop(s);
}
END_TEST

static void
start_with_short_connect(unsigned slots)
{
    start_with((struct transport_config){.slots = slots,
                                         .timeout = 30 * USEC_PER_SEC,
                                         .connect_timeout = 200 * USEC_PER_MSEC,
                                         .allow_http = true});
}

/* Nobody accepts. Again and again: the numbers of the descriptors come back. */
START_TEST(connect_timeout)
{
    struct full full;
    char url[64];

    start_with_short_connect(1);
    full = listen_full();
    snprintf(url, sizeof url, "http://127.0.0.1:%u", full.port);
    for (int i = 0; i < 3; i++) {
        usec_t begun = clock_boot();

        never_reaches(url);
        ck_assert_uint_ge(clock_boot() - begun, 190 * USEC_PER_MSEC);
    }
    close_full(&full);
    stop();
}
END_TEST

/* Accepted by the kernel, but no TLS ever comes. */
START_TEST(handshake_timeout)
{
    char url[64];
    uint16_t port;
    int listener;

    start_with_short_connect(1);
    listener = listen_anywhere(8, 0, &port);
    snprintf(url, sizeof url, "https://127.0.0.1:%u", port);
    for (int i = 0; i < 3; i++)
        never_reaches(url);
    close(listener);
    stop();
}
END_TEST

/* A connection that never came up was closed by libcurl alone; whatever gets its number next must
 * be watched as if nothing had been. */
START_TEST(descriptor_of_a_lost_connection)
{
    const enum act acts[] = {ANSWER};
    struct full full;
    char url[64];

    start_with_short_connect(2);
    server = server_start(acts, 1);
    full = listen_full();
    snprintf(url, sizeof url, "http://127.0.0.1:%u", full.port);
    for (int i = 0; i < 3; i++) {
        uv_poll_t poll;
        struct sent s;
        int pair[2];

        never_reaches(url);
        ck_assert_int_eq(pipe(pair), 0);
        ck_assert_int_eq(uv_poll_init(&loop, &poll, pair[0]), 0);
        uv_close((uv_handle_t *) &poll, NULL);
        uv_run(&loop, UV_RUN_NOWAIT);
        close(pair[0]);
        close(pair[1]);
        s = send_one();
        is(&s, VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 1);
    }
    close_full(&full);
    stop();
}
END_TEST

/* ---- TLS, by the openssl tool ---- */

static char certificate[128], key[128];

/* `in` of openssl s_server must stay open: at its end the server leaves. */
static pid_t
spawn(const char *const *arguments, int *ret_in, int *ret_out)
{
    int in[2], out[2];
    pid_t pid;

    ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        dup2(out[1], STDERR_FILENO);
        execvp(arguments[0], (char *const *) (uintptr_t) arguments);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    *ret_in = in[1];
    *ret_out = out[0];
    return pid;
}

/* Reads on until `word` was seen; false at the end of the output. */
static bool
wait_for_word(int fd, const char *word)
{
    char text[8192];
    size_t used = 0;
    ssize_t n;

    while (used < sizeof text - 1 && (n = read(fd, text + used, sizeof text - 1 - used)) > 0) {
        used += (size_t) n;
        text[used] = '\0';
        if (strstr(text, word))
            return true;
    }
    return false;
}

static bool
make_certificate(void)
{
    int in, out, status;
    pid_t pid;

    snprintf(certificate, sizeof certificate, "/tmp/fc-test-%d.crt", (int) getpid());
    snprintf(key, sizeof key, "/tmp/fc-test-%d.key", (int) getpid());
    const char *const request[] = {
        "openssl",   "req",   "-x509",         "-newkey", "rsa:2048",
        "-nodes",    "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
        "-days",     "2",     "-keyout",       key,       "-out",
        certificate, NULL};

    pid = spawn(request, &in, &out);
    wait_for_word(out, "no such word");
    close(in);
    close(out);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The request over TLS; the answer is what the server is given to say once it has read it. */
static void
send_over_tls(const char *url, int in, int out)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n"
                                 "{\"messages\":[{\"id\":\"wamid.tls\"}]}\n";
    struct sent s = {0};
    struct outgoing o;

    snprintf(s.base_url, sizeof s.base_url, "%s", url);
    o = hello(&s);
    ck_assert_int_eq(post(&s, &o), 0);
    while (s.guard_calls == 0 && s.done == 0)
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert_uint_eq(s.guard_calls, 1);
    ck_assert(wait_for_word(out, "POST /v25.0/100/messages HTTP/1.1"));
    ck_assert_int_eq(write(in, answer, sizeof answer - 1), sizeof answer - 1);
    run_until_done(&s);
    is(&s, VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 1);
    ck_assert_str_eq(s.id, "wamid.tls");
}

/* The certificate is its own issuer: not trusted by the system, trusted as ca_file. */
START_TEST(certificates)
{
    bool trusted = _i == 1;
    char port_text[16], url[64];
    int in, out, status;
    uint16_t port;
    pid_t pid;

    if (!make_certificate()) {
        fprintf(stderr, "certificates: skipped, no usable openssl tool\n");
        return;
    }
    close(listen_anywhere(1, 0, &port));
    snprintf(port_text, sizeof port_text, "%u", port);
    snprintf(url, sizeof url, "https://127.0.0.1:%u", port);
    const char *const serve_tls[] = {"openssl",   "s_server", "-accept", port_text, "-cert",
                                     certificate, "-key",     key,       NULL};

    pid = spawn(serve_tls, &in, &out);
    ck_assert(wait_for_word(out, "ACCEPT"));
    start_with((struct transport_config){.slots = 1,
                                         .timeout = 10 * USEC_PER_SEC,
                                         .connect_timeout = 10 * USEC_PER_SEC,
                                         .ca_file = trusted ? certificate : NULL});
    if (trusted)
        send_over_tls(url, in, out);
    else
        never_reaches(url);
    stop();
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    close(in);
    close(out);
    unlink(certificate);
    unlink(key);
}
END_TEST

/* ---- what leaves ---- */

START_TEST(the_request_itself)
{
    const enum act acts[] = {ANSWER};
    struct sent s;

    serve(acts, 1);
    s = send_one();
    ck_assert_str_eq(s.id, "wamid.0");
    ck_assert_ptr_eq(strstr(server->last, "POST /v25.0/100/messages HTTP/1.1\r\n"), server->last);
    ck_assert_ptr_nonnull(strstr(server->last, "\r\nAuthorization: Bearer secret\r\n"));
    ck_assert_ptr_nonnull(strstr(server->last, "\r\nContent-Type: application/json\r\n"));
    ck_assert_ptr_null(strstr(server->last, "Expect"));
    ck_assert_ptr_nonnull(strstr(server->last, "\"to\":\"+60123456789\""));
    ck_assert_ptr_nonnull(strstr(server->last, "\"body\":\"Hello\""));
    stop();
}
END_TEST

/* The longest text there is, six bytes a character, arrives whole. */
START_TEST(the_longest_request)
{
    static char text[CONTENT_CHARACTERS_MAX + 4096];
    const enum act acts[] = {ANSWER};
    struct sent s = {0};
    struct outgoing o;

    serve(acts, 1);
    memset(text, 1, sizeof text);
    aim(&s, "127.0.0.1", server->port);
    o = hello(&s);
    o.text = (struct slice){text, CONTENT_CHARACTERS_MAX};
    ck_assert_int_eq(post(&s, &o), 0);
    run_until_done(&s);
    is(&s, VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 1);
    o.text = (struct slice){text, sizeof text};
    ck_assert_int_eq(post(&s, &o), -E2BIG);
    o.text = slice("\xff");
    ck_assert_int_eq(post(&s, &o), -EINVAL);
    ck_assert_uint_eq(transport_in_flight(transport), 0); /* no slot is lost by it */
    ck_assert_uint_eq(s.done, 1);
    stop();
}
END_TEST

/* What the kernel still holds when we give up must not arrive later: the server reads only after
 * the time-out, and never gets the whole request. */
START_TEST(unsent_bytes_die_with_the_socket)
{
    static char text[CONTENT_CHARACTERS_MAX], got[65536];
    struct sent s = {0};
    struct outgoing o;
    size_t bytes = 0;
    uint16_t port;
    int listener, fd;
    ssize_t n;

    start(1, 300 * USEC_PER_MSEC);
    listener = listen_anywhere(4, 1, &port); /* the smallest receive buffer */
    memset(text, 1, sizeof text);
    aim(&s, "127.0.0.1", port);
    o = hello(&s);
    o.text = (struct slice){text, sizeof text};
    ck_assert_int_eq(post(&s, &o), 0);
    run_until_done(&s);
    is(&s, VERDICT_DOUBT, OUTCOME_UNKNOWN, REASON_TIMEOUT, 1);
    fd = accept(listener, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    while ((n = recv(fd, got + bytes, sizeof got - bytes, 0)) > 0)
        bytes += (size_t) n;
    ck_assert_int_lt(n, 0);
    ck_assert_int_eq(errno, ECONNRESET);
    ck_assert_uint_lt(bytes, 6 * CONTENT_CHARACTERS_MAX);
    close(fd);
    close(listener);
    stop();
}
END_TEST

/* ---- the pool ---- */

START_TEST(connections_are_kept)
{
    const enum act acts[] = {ANSWER};

    serve(acts, 1);
    for (int i = 0; i < 50; i++) {
        struct sent s = send_one();

        is(&s, VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 1);
    }
    posts_are(50, 1);
    stop();
}
END_TEST

START_TEST(slots_are_bounded)
{
    const enum act acts[] = {ANSWER};
    struct sent all[9] = {0};

    serve(acts, 1);
    for (int round = 0; round < 20; round++) {
        memset(all, 0, sizeof all);
        for (int i = 0; i < 9; i++) {
            struct outgoing o;

            aim(&all[i], "127.0.0.1", server->port);
            o = hello(&all[i]);
            ck_assert_int_eq(post(&all[i], &o), i < 8 ? 0 : -EAGAIN);
        }
        ck_assert_uint_eq(transport_in_flight(transport), 8);
        ck_assert_uint_eq(transport_free_slots(transport), 0);
        for (int i = 0; i < 8; i++) {
            while (all[i].done == 0)
                uv_run(&loop, UV_RUN_ONCE);
            is(&all[i], VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 1);
        }
        ck_assert_uint_eq(transport_free_slots(transport), 8);
        for (int i = 0; i < 9; i++)
            ck_assert_uint_eq(all[i].done, i < 8);
    }
    ck_assert_uint_eq(atomic_load(&server->posts), 160);
    ck_assert_uint_le(atomic_load(&server->connections), 8);
    stop();
}
END_TEST

/* Nobody accepts, so that the sockets of this process are the transport's. */
START_TEST(few_new_connections_in_a_turn)
{
    static struct sent all[40];
    int listener, before;
    uint16_t port;

    start(40, 10 * USEC_PER_SEC);
    listener = listen_anywhere(64, 0, &port);
    for (int i = 0; i < 40; i++) {
        struct outgoing o;

        aim(&all[i], "127.0.0.1", port);
        o = hello(&all[i]);
        ck_assert_int_eq(post(&all[i], &o), 0);
    }
    before = descriptors();
    uv_run(&loop, UV_RUN_NOWAIT);
    ck_assert_int_eq(descriptors() - before, 8);
    for (int turn = 2; turn <= 5; turn++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        ck_assert_int_le(descriptors() - before, 8 * turn);
    }
    while (descriptors() - before < 40)
        uv_run(&loop, UV_RUN_NOWAIT);
    transport_stop(transport);
    for (int i = 0; i < 40; i++)
        ck_assert_uint_eq(all[i].done, 1);
    close(listener);
    stop();
}
END_TEST

/* ---- chains: `done` starts the next send ---- */

struct chain {
    struct sent sent;
    struct outgoing outgoing;
    unsigned left, ended;
    bool in_send;
    bool stop_at_end;
};

static bool
always(void *arg, usec_t now)
{
    return true;
}

static void
on_link(void *arg, const struct outcome_report *report)
{
    struct chain *c = arg;

    ck_assert(!c->in_send);
    ck_assert_int_eq(report->outcome, OUTCOME_SENT);
    c->ended++;
    if (c->left == 0) {
        if (c->stop_at_end)
            transport_stop(transport);
        return;
    }
    c->left--;
    c->in_send = true;
    ck_assert_int_eq(transport_send(transport, &c->outgoing, always, on_link, c), 0);
    c->in_send = false;
}

START_TEST(done_may_send_and_stop)
{
    const enum act acts[] = {ANSWER};
    struct chain c = {.left = 99, .stop_at_end = true};

    serve(acts, 1);
    aim(&c.sent, "127.0.0.1", server->port);
    c.outgoing = hello(&c.sent);
    ck_assert_int_eq(transport_send(transport, &c.outgoing, always, on_link, &c), 0);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0); /* ends by itself: all is closed */
    ck_assert_uint_eq(c.ended, 100);
    posts_are(100, 1);
    ck_assert_int_eq(transport_send(transport, &c.outgoing, always, on_link, &c), -ESHUTDOWN);
    stop();
}
END_TEST

/* ---- the gateway that accepts at once ---- */

static struct outgoing
nothing(void)
{
    return (struct outgoing){.gateway = &gateway_null,
                             .token = slice("v1.p1.7.42.018f2b1e-0000-7000-8000-000000000001"),
                             .send_by = USEC_INFINITY};
}

START_TEST(null_gateway)
{
    struct outgoing o = nothing();
    struct sent s = {.refuse = true};

    start(4, USEC_PER_SEC);
    ck_assert_int_eq(post(&s, &o), 0);
    run_until_done(&s);
    is(&s, VERDICT_NOT_SENT, OUTCOME_NOT_SENT, REASON_NONE, 1);
    s = (struct sent){0};
    o.send_by = 1;
    ck_assert_int_eq(post(&s, &o), 0);
    run_until_done(&s);
    ck_assert_int_eq(s.report.outcome, OUTCOME_NOT_SENT);
    ck_assert_uint_eq(s.guard_calls, 0);
    s = (struct sent){0};
    o = nothing();
    ck_assert_int_eq(post(&s, &o), 0);
    ck_assert_uint_eq(s.done, 0);
    run_until_done(&s);
    is(&s, VERDICT_ANSWERED, OUTCOME_SENT, REASON_NONE, 1);
    ck_assert_uint_eq(s.guard_calls, 1);
    ck_assert_str_eq(s.id, "null.v1.p1.7.42.018f2b1e-0000-7000-8000-000000000001");
    s = (struct sent){0};
    ck_assert_int_eq(post(&s, &o), 0);
    transport_stop(transport);
    ck_assert_uint_eq(s.done, 1);
    ck_assert_int_eq(s.report.outcome, OUTCOME_NOT_SENT);
    stop();
}
END_TEST

static double
cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

START_TEST(null_gateway_is_fast)
{
    static struct chain chains[256];
    double begun, per_second;
    unsigned ended = 0;

    start(256, USEC_PER_SEC);
    begun = cpu_seconds();
    for (int i = 0; i < 256; i++) {
        chains[i].outgoing = nothing();
        chains[i].left = 399;
        ck_assert_int_eq(transport_send(transport, &chains[i].outgoing, always, on_link,
                                        &chains[i]),
                         0);
    }
    while (transport_in_flight(transport) > 0)
        uv_run(&loop, UV_RUN_ONCE);
    for (int i = 0; i < 256; i++)
        ended += chains[i].ended;
    ck_assert_uint_eq(ended, 256 * 400);
    per_second = ended / (cpu_seconds() - begun);
    if (!getenv("FLEETCAST_SLOW_TOOLS"))
        ck_assert_msg(per_second > 50000, "%.0f sends per CPU second", per_second);
    stop();
}
END_TEST

/* ---- stop ---- */

START_TEST(stop_ends_each_by_its_calls)
{
    const enum act acts[] = {HANG};
    struct sent read[3] = {0}, queued[3] = {0};

    serve(acts, 1);
    for (int i = 0; i < 3; i++) {
        struct outgoing o;

        aim(&read[i], "127.0.0.1", server->port);
        o = hello(&read[i]);
        ck_assert_int_eq(post(&read[i], &o), 0);
    }
    while (atomic_load(&server->posts) < 3)
        uv_run(&loop, UV_RUN_NOWAIT);
    for (int i = 0; i < 3; i++) {
        struct outgoing o;

        aim(&queued[i], "127.0.0.1", server->port);
        o = hello(&queued[i]);
        ck_assert_int_eq(post(&queued[i], &o), 0);
    }
    ck_assert_uint_eq(transport_in_flight(transport), 6);
    transport_stop(transport);
    transport_stop(transport); /* twice is no fault */
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(read[i].done, 1);
        is(&read[i], VERDICT_DOUBT, OUTCOME_UNKNOWN, REASON_CONNECTION_LOST, 1);
        ck_assert_uint_eq(queued[i].done, 1);
        is(&queued[i], VERDICT_NOT_SENT, OUTCOME_NOT_SENT, REASON_NONE, 0);
    }
    ck_assert_uint_eq(atomic_load(&server->posts), 3);
    stop();
}
END_TEST

/* A look-up runs in a thread of libcurl: giving it up must not wait for it. */
START_TEST(stop_during_a_look_up)
{
    struct sent s = {0};
    struct outgoing o;

    start(1, 5 * USEC_PER_SEC);
    snprintf(s.base_url, sizeof s.base_url, "http://nosuchhost.invalid");
    o = hello(&s);
    ck_assert_int_eq(post(&s, &o), 0);
    uv_run(&loop, UV_RUN_NOWAIT);
    transport_stop(transport);
    ck_assert_uint_eq(s.done, 1);
    is(&s, VERDICT_NOT_SENT, OUTCOME_NOT_SENT, REASON_NONE, 0);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    transport = transport_free(transport);
}
END_TEST

START_TEST(stop_at_once)
{
    ck_assert_ptr_null(transport_free(NULL));
    start(8, USEC_PER_SEC);
    stop();
    start_with((struct transport_config){.slots = 8,
                                         .timeout = USEC_PER_SEC,
                                         .connect_timeout = USEC_PER_SEC,
                                         .ca_file = "/nowhere/ca.pem"});
    never_reaches("https://127.0.0.1:1");
    stop();
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("transport");
    TCase *table = tcase_create("verdicts"), *pool = tcase_create("pool");
    SRunner *runner;
    int failed;

    tcase_add_test(table, verdicts);
    tcase_add_test(table, reused_connection_fin);
    tcase_add_test(table, reused_connection_rst);
    tcase_add_test(table, idle_connection_closed);
    tcase_add_loop_test(table, fresh_connection, 0, (int) ARRAY_SIZE(rows));
    tcase_add_test(table, refused_by_the_guard);
    tcase_add_test(table, too_late);
    tcase_add_test(table, too_late_at_the_last_word);
    tcase_add_test(table, connection_refused);
    tcase_add_test(table, no_such_name);
    tcase_add_test(table, no_such_scheme);
    tcase_add_test(table, plain_http_only_when_allowed);
    tcase_add_test(table, connect_timeout);
    tcase_add_test(table, handshake_timeout);
    tcase_add_test(table, descriptor_of_a_lost_connection);
    tcase_add_loop_test(table, certificates, 0, 2);
    tcase_add_test(pool, the_request_itself);
    tcase_add_test(pool, the_longest_request);
    tcase_add_test(pool, unsent_bytes_die_with_the_socket);
    tcase_add_test(pool, connections_are_kept);
    tcase_add_test(pool, slots_are_bounded);
    tcase_add_test(pool, few_new_connections_in_a_turn);
    tcase_add_test(pool, done_may_send_and_stop);
    tcase_add_test(pool, null_gateway);
    tcase_add_test(pool, null_gateway_is_fast);
    tcase_add_test(pool, stop_ends_each_by_its_calls);
    tcase_add_test(pool, stop_during_a_look_up);
    tcase_add_test(pool, stop_at_once);
    tcase_set_timeout(table, 30);
    tcase_set_timeout(pool, 30);
    suite_add_tcase(suite, table);
    suite_add_tcase(suite, pool);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
