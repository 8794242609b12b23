/*
 * transport.h - one send over HTTP: a pool of slots on the loop, and what its end proves.
 *
 * Edge: the only user of libcurl (transport*.c). No policy: it reports verdict and answer; the
 * gateway file (transport_cloudapi.c) says what an answer means. The PREREQ guard counts real
 * requests: libcurl's silent repeat of a POST on a dead kept-alive connection is call 2 and
 * aborted. Nothing is allocated of ours after transport_start. `done` exactly once per send, never
 * inside transport_send, also on stop.
 */
#pragma once
#include <uv.h>

#include "node/outcome.h"
#include "shared/base.h"
#include "shared/clock.h"

enum verdict { VERDICT_ANSWERED, VERDICT_NOT_SENT, VERDICT_DOUBT };

/* What a send needs; all texts are borrowed until done. */
struct outgoing {
    const struct gateway *gateway;
    struct slice base_url; /* "https://graph.facebook.com" */
    struct slice version;  /* "v25.0" */
    struct slice address;  /* phone-number id */
    struct slice bearer;   /* device token in the clear; never logged */
    uint64_t phone;        /* digits without + */
    struct slice token;    /* ours, echoed by the provider */
    bool is_template;
    struct slice text; /* free text */
    struct slice template_name, language;
    unsigned parameter_count;
    const struct slice *parameters;
    usec_t send_by; /* BOOTTIME: the guard refuses later */
};
/* Pure last word, called by PREREQ directly before the bytes: true = go. */
typedef bool send_guard_fn(void *arg, usec_t now);

struct outcome_report {
    enum outcome outcome;
    enum refusal refusal;
    enum reason reason;
    int code;        /* provider's error code, 0 = none */
    unsigned status; /* HTTP */
    enum verdict verdict;
    unsigned calls;           /* PREREQ calls */
    bool guarded;             /* refused by our guard in its first call */
    usec_t first_byte;        /* BOOTTIME at PREREQ, 0 = never */
    usec_t ended;             /* BOOTTIME of completion */
    usec_t retry_after;       /* hint for THROTTLE, STOP, RETRY; 0 = caller's choice */
    unsigned retries_max;     /* of a RETRY; 0 = ATTEMPTS_MAX */
    struct slice provider_id; /* borrowed for the call; 1-255 printable ASCII */
};
typedef void send_done_fn(void *arg, const struct outcome_report *report);

/* One gateway kind: builds requests and judges answers. Pure functions over buffers. */
struct gateway {
    const char *name; /* "cloudapi", "null" */
    bool echoes_token;
    /* Writes URL, one Authorization header line and body; -E2BIG when they do not fit, -EINVAL when
     * a text could not stand where it belongs (token with a blank, text that is no UTF-8). NULL: no
     * request is made; the send is accepted, and judge sees its token as the reply. */
    int (*build)(const struct outgoing *o, char *url, size_t url_size, char *authorization,
                 size_t authorization_size, char *body, size_t body_size, size_t *ret_body_bytes);
    /* Judges a complete answer (VERDICT_ANSWERED): sets outcome, refusal, reason, code,
     * retry_after, retries_max and provider_id, which id_buffer[256] holds. */
    void (*judge)(unsigned status, struct slice body, struct outcome_report *ret,
                  char id_buffer[static 256]);
};
extern const struct gateway gateway_cloudapi;
extern const struct gateway gateway_null; /* accepts at once without a request: benches only */
const struct gateway *gateway_find(struct slice name); /* NULL: no such transport */

struct transport;
struct transport_config {
    unsigned slots; /* requests on the wire at most */
    usec_t timeout; /* T_http: whole request */
    usec_t connect_timeout;
    const char *ca_file; /* NULL = system's */
    bool allow_http;     /* plain http: loopback and private gateways only */
};
int transport_start(struct transport **ret, uv_loop_t *loop,
                    const struct transport_config *config) _must_check_;
/* 0, -EAGAIN (no slot), -ESHUTDOWN (stopping), -E2BIG or -EINVAL (gateway.build; this message can
 * never be sent so). The texts of `o` are copied, except token: it is borrowed until done. */
int transport_send(struct transport *t, const struct outgoing *o, send_guard_fn *guard,
                   send_done_fn *done, void *arg) _must_check_;
unsigned transport_in_flight(const struct transport *t);
unsigned transport_free_slots(const struct transport *t);
/* Ends what is on the wire now (each with its verdict by calls), then closes. Called from within a
 * `done`, it does so when that returned to the transport. */
void transport_stop(struct transport *t);
struct transport *transport_free(struct transport *t); /* after the loop closed its handles */

/* The verdict table of a finished transfer, pure, for the test: curl's code, PREREQ calls, guard
 * flag. */
enum verdict transport_verdict(int curl_code, unsigned calls, bool guarded);
