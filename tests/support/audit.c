/* audit.c - compares the driver's own list with the provider's receipts and the exported states. */
#include "audit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define uthash_fatal(words) abort()
#include <uthash.h>

#include "audit_read.h"

#define NAMED_MAX 20u

struct sender { /* one device of devices.csv */
    long device_id;
    char *address;
    usec_t min_gap;
    UT_hash_handle by_id, by_address;
};

struct wish {  /* one message that was asked for */
    char *key; /* campaign \n address \n +phone */
    char *text;
    char state[16]; /* as exported; "" = no row */
    unsigned taken, right_text;
    struct wish *next_same; /* other campaigns for the same address and phone */
    UT_hash_handle hh, by_pair;
    char *pair; /* address \n +phone: head of next_same when hashed by_pair */
};

struct exported {
    char *token, *campaign, *state;
    UT_hash_handle hh;
};

struct send { /* a receipt, for the checks in time */
    usec_t first, last, end;
    char *address, *token, *to;
};

struct audit {
    const struct audit_input *in;
    struct audit_result r;
    FILE *details, *errors;
    struct audit_content content;
    struct sender *by_id, *by_address;
    struct wish *wishes, *pairs;
    struct exported *exported;
    struct send *sends;
    size_t send_count, send_room;
    usec_t first_seen, last_seen;
};

static void
offence(struct audit *a, uint64_t *count, const char *name, const char *what)
{
    if ((*count)++ < NAMED_MAX && a->details)
        fprintf(a->details, "%s: %s\n", name, what);
}

static char *
join(const char *x, const char *y)
{
    char *out = NULL;
    return asprintf(&out, "%s\n%s", x, y) < 0 ? NULL : out;
}

static int
on_device(void *arg, const struct audit_row *h, const struct audit_row *row)
{
    struct audit *a = arg;
    int id = audit_column(h, "device_id"), address = audit_column(h, "address"),
        gap = audit_column(h, "min_delay_ms");
    if (id < 0 || address < 0 || (unsigned) id >= row->count || (unsigned) address >= row->count)
        return 0; /* a rejected row is nobody's wish */
    struct sender *s = calloc(1, sizeof(*s)), *known;
    s->device_id = atol(row->fields[id]);
    s->address = strdup(row->fields[address]);
    s->min_gap = gap >= 0 && (unsigned) gap < row->count
                     ? (usec_t) atol(row->fields[gap]) * USEC_PER_MSEC
                     : 0;
    HASH_FIND(by_id, a->by_id, &s->device_id, sizeof(s->device_id), known);
    if (known) {
        free(s->address);
        free(s);
        return 0;
    }
    HASH_ADD(by_id, a->by_id, device_id, sizeof(s->device_id), s);
    HASH_ADD_KEYPTR(by_address, a->by_address, s->address, strlen(s->address), s);
    return 0;
}

/* "+60123..." from what stood in the file; "" when it holds no number. Own code on purpose. */
static void
plain_phone(char out[32], const char *text, const char *country)
{
    char digits[32] = "";
    size_t n = 0;
    bool plus = false;
    for (const char *p = text; *p && n < 24; p++) {
        if (*p == '+' && n == 0)
            plus = true;
        else if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
        else if (!strchr(" -.()/", *p)) {
            out[0] = '\0';
            return;
        }
    }
    digits[n] = '\0';
    char *d = digits;
    if (!plus && strncmp(d, "00", 2) == 0) {
        d += 2;
        plus = true;
    }
    if (!plus && d[0] == '0' && country)
        snprintf(out, 32, "+%.6s%.20s", country, d + 1);
    else
        snprintf(out, 32, "+%.24s", d);
    if (strlen(out) < 9 || strlen(out) > 16)
        out[0] = '\0';
}

static const char *
field(const struct audit_row *h, const struct audit_row *row, const char *name, size_t bytes)
{
    for (unsigned i = 0; i < h->count && i < row->count; i++)
        if (strlen(h->fields[i]) == bytes && strncasecmp(h->fields[i], name, bytes) == 0)
            return row->fields[i];
    return "";
}

/* {{variable|default}} with the row's own columns; the phone as it is sent. */
static char *
render(const char *text, const struct audit_row *h, const struct audit_row *row, const char *phone)
{
    char *out = NULL;
    size_t size;
    FILE *f = open_memstream(&out, &size);
    while (*text) {
        const char *open = strstr(text, "{{"), *close = open ? strstr(open, "}}") : NULL;
        if (!close) {
            fputs(text, f);
            break;
        }
        fwrite(text, 1, (size_t) (open - text), f);
        const char *name = open + 2, *bar = memchr(name, '|', (size_t) (close - name)),
                   *end = bar ? bar : close;
        while (*name == ' ')
            name++;
        size_t bytes = (size_t) (end - name);
        while (bytes && name[bytes - 1] == ' ')
            bytes--;
        const char *value =
            bytes == 5 && strncmp(name, "phone", 5) == 0 ? phone : field(h, row, name, bytes);
        if (value[0])
            fputs(value, f);
        else if (bar)
            fwrite(bar + 1, 1, (size_t) (close - bar - 1), f);
        text = close + 2;
    }
    fclose(f);
    return out;
}

static void
add_wish(struct audit *a, const struct audit_campaign *c, const char *address, const char *phone,
         char *text)
{
    struct wish *w = calloc(1, sizeof(*w)), *known, *head;
    w->pair = join(address, phone);
    w->key = join(c->name, w->pair);
    w->text = text;
    HASH_FIND_STR(a->wishes, w->key, known);
    if (known) { /* the same lead twice in the file is one wish */
        free(w->pair);
        free(w->key);
        free(w->text);
        free(w);
        return;
    }
    HASH_ADD_KEYPTR(hh, a->wishes, w->key, strlen(w->key), w);
    HASH_FIND(by_pair, a->pairs, w->pair, strlen(w->pair), head);
    if (head) {
        w->next_same = head->next_same;
        head->next_same = w;
    } else
        HASH_ADD_KEYPTR(by_pair, a->pairs, w->pair, strlen(w->pair), w);
    a->r.asked++;
}

static int
on_lead(void *arg, const struct audit_row *h, const struct audit_row *row)
{
    struct audit *a = arg;
    char phone[32];
    long id = atol(field(h, row, "device_id", 9));
    struct sender *s;
    HASH_FIND(by_id, a->by_id, &id, sizeof(id), s);
    plain_phone(phone, field(h, row, "phone", 5), a->in->country);
    if (!s || !phone[0])
        return 0;
    for (unsigned i = 0; i < a->content.count; i++) {
        const struct audit_campaign *c = &a->content.campaigns[i];
        bool fits = audit_campaign_has(c, id);
        for (unsigned k = 0; k < c->where_count; k++)
            fits &= strcmp(field(h, row, c->columns[k], strlen(c->columns[k])), c->values[k]) == 0;
        if (fits)
            add_wish(a, c, s->address, phone, render(c->text, h, row, phone));
    }
    return 0;
}

static int
on_message(void *arg, const struct audit_row *h, const struct audit_row *row)
{
    struct audit *a = arg;
    long id = atol(field(h, row, "device_id", 9));
    struct sender *s;
    HASH_FIND(by_id, a->by_id, &id, sizeof(id), s);
    const char *phone = field(h, row, "phone", 5), *state = field(h, row, "state", 5);
    char plus[40], *pair, *key;
    snprintf(plus, sizeof(plus), "%s%.30s", phone[0] == '+' ? "" : "+", phone);
    pair = join(s ? s->address : "?", plus);
    key = join(field(h, row, "source", 6), pair);
    struct wish *w;
    HASH_FIND_STR(a->wishes, key, w);
    /* Attempts that failed before a sent one do not hide it. */
    if (w && strcmp(w->state, "sent") != 0 &&
        !(strcmp(w->state, "unknown") == 0 && strcmp(state, "failed") == 0))
        snprintf(w->state, sizeof(w->state), "%s", state);
    free(pair);
    free(key);
    struct exported *e = calloc(1, sizeof(*e)), *known;
    e->token = strdup(field(h, row, "token", 5));
    e->campaign = strdup(field(h, row, "source", 6));
    e->state = strdup(state);
    HASH_FIND_STR(a->exported, e->token, known);
    if (known) {
        offence(a, &a->r.duplicates, "two exported rows with one token", e->token);
        free(e->token);
        free(e->campaign);
        free(e->state);
        free(e);
    } else
        HASH_ADD_KEYPTR(hh, a->exported, e->token, strlen(e->token), e);
    return 0;
}

/* The wish that a receipt answers: by its token's campaign, else by text, else the first of the
 * pair. */
static struct wish *
wish_of(struct audit *a, const struct audit_receipt *r, struct wish *head)
{
    struct exported *e;
    HASH_FIND_STR(a->exported, r->token, e);
    if (e) {
        char *key = join(e->campaign, head->pair);
        struct wish *w;
        HASH_FIND_STR(a->wishes, key, w);
        free(key);
        if (w)
            return w;
    }
    struct wish *same = NULL;
    for (struct wish *w = head; w; w = w->next_same)
        if (strcmp(w->text, r->text) == 0 && (!same || (same->taken && !w->taken)))
            same = w;
    return same ? same : head;
}

static int
on_receipt(void *arg, const struct audit_receipt *r)
{
    struct audit *a = arg;
    if (a->send_count == a->send_room) {
        a->send_room = a->send_room ? a->send_room * 2 : 1024;
        a->sends = realloc(a->sends, a->send_room * sizeof(*a->sends));
        if (!a->sends)
            return -ENOMEM;
    }
    a->sends[a->send_count++] = (struct send){r->first,           r->last,          r->end,
                                              strdup(r->address), strdup(r->token), strdup(r->to)};
    if (!r->taken)
        return 0;
    a->r.received++;
    if (!a->first_seen || r->first < a->first_seen)
        a->first_seen = r->first;
    if (r->first > a->last_seen)
        a->last_seen = r->first;
    char *pair = join(r->address, r->to);
    struct wish *head;
    HASH_FIND(by_pair, a->pairs, pair, strlen(pair), head);
    free(pair);
    if (!head) {
        offence(a, &a->r.phantom, "phantom: nobody asked for it", r->token);
        return 0;
    }
    struct wish *w = wish_of(a, r, head);
    w->taken++;
    if (strcmp(w->text, r->text) != 0)
        offence(a, &a->r.wrong_text, "wrong text", r->token);
    return 0;
}

static bool
ended_on_purpose(const char *state)
{
    return strcmp(state, "failed") == 0 || strcmp(state, "expired") == 0 ||
           strcmp(state, "skipped") == 0 || strcmp(state, "cancelled") == 0;
}

static void
judge_wishes(struct audit *a)
{
    for (struct wish *w = a->wishes; w; w = w->hh.next) {
        bool sent = strcmp(w->state, "sent") == 0 || strcmp(w->state, "delivered") == 0 ||
                    strcmp(w->state, "read") == 0;
        bool unknown = strcmp(w->state, "unknown") == 0;
        a->r.sent += sent;
        a->r.unknown += unknown;
        a->r.failed += strcmp(w->state, "failed") == 0;
        a->r.ended += ended_on_purpose(w->state) && strcmp(w->state, "failed") != 0;
        a->r.waiting += w->state[0] == '\0';
        if (!a->in->receipts)
            continue;
        for (unsigned i = 1; i < w->taken; i++)
            offence(a, &a->r.duplicates, "sent twice", w->key);
        if (sent && w->taken == 0)
            offence(a, &a->r.false_sent, "said to be sent, never received", w->key);
        if (w->taken == 0 && !sent && !unknown && !ended_on_purpose(w->state))
            offence(a, &a->r.lost, "lost", w->key);
        if (w->taken > 0 && !sent && !unknown)
            offence(a, &a->r.hidden_unknown, "received, but not shown as sent or unknown", w->key);
    }
}

static int
by_address_then_time(const void *x, const void *y)
{
    const struct send *a = x, *b = y;
    int c = strcmp(a->address, b->address);
    return c ? c : (a->first > b->first) - (a->first < b->first);
}

static uint64_t
epoch_of(const char *token, char partition[32])
{
    unsigned long long epoch = 0;
    partition[0] = '\0';
    return sscanf(token, "v1.%31[^.].%llu.", partition, &epoch) == 2 ? epoch : 0;
}

static void
judge_pace(struct audit *a)
{
    for (size_t i = 1; i < a->send_count; i++) {
        const struct send *p = &a->sends[i - 1], *q = &a->sends[i];
        struct sender *s;
        HASH_FIND(by_address, a->by_address, q->address, strlen(q->address), s);
        if (!s || strcmp(p->address, q->address) != 0)
            continue;
        usec_t from = p->end ? p->end : p->last, gap = q->first > from ? q->first - from : 0;
        if (!a->r.shortest_gap || gap < a->r.shortest_gap)
            a->r.shortest_gap = gap;
        if (gap < s->min_gap) {
            char what[256];
            snprintf(what, sizeof(what), "%.1f ms instead of %.1f ms before %s", (double) gap / 1e3,
                     (double) s->min_gap / 1e3, q->token);
            offence(a, &a->r.pacing_violations, "too early", what);
        }
    }
}

static int
by_time(const void *x, const void *y)
{
    const struct send *a = x, *b = y;
    return (a->first > b->first) - (a->first < b->first);
}

/* A partition's epochs never fall in the order of first bytes: else two drivers were at work. */
static void
judge_drivers(struct audit *a)
{
    struct {
        char name[32];
        uint64_t epoch;
    } seen[256] = {0};
    for (size_t i = 0; i < a->send_count; i++) {
        char partition[32];
        uint64_t epoch = epoch_of(a->sends[i].token, partition);
        size_t k = 0;
        while (k < ARRAY_SIZE(seen) - 1 && seen[k].name[0] && strcmp(seen[k].name, partition) != 0)
            k++;
        memcpy(seen[k].name, partition, sizeof(partition));
        if (epoch == 0 || epoch < seen[k].epoch)
            offence(a, &a->r.two_drivers, "an older epoch sends after a newer one",
                    a->sends[i].token);
        seen[k].epoch = MAX_OF(seen[k].epoch, epoch);
    }
}

static int
judge_optouts(struct audit *a)
{
    FILE *f = fopen(a->in->optouts, "re");
    if (!f) {
        fprintf(a->errors, "audit: %s: %s\n", a->in->optouts, strerror(errno));
        return -errno;
    }
    char phone[32];
    unsigned long long at;
    while (fscanf(f, "%31[^,],%llu\n", phone, &at) == 2)
        for (size_t i = 0; i < a->send_count; i++)
            if (a->sends[i].first > at &&
                strcmp(a->sends[i].to + 1, phone[0] == '+' ? phone + 1 : phone) == 0)
                offence(a, &a->r.after_optout, "sent after the opt-out was acknowledged",
                        a->sends[i].token);
    fclose(f);
    return 0;
}

static void
audit_done(struct audit *a)
{
    struct sender *s, *s2;
    HASH_CLEAR(by_address, a->by_address);
    HASH_ITER(by_id, a->by_id, s, s2)
    {
        HASH_DELETE(by_id, a->by_id, s);
        free(s->address);
        free(s);
    }
    struct wish *w, *w2;
    HASH_CLEAR(by_pair, a->pairs);
    HASH_ITER(hh, a->wishes, w, w2)
    {
        HASH_DEL(a->wishes, w);
        free(w->key);
        free(w->pair);
        free(w->text);
        free(w);
    }
    struct exported *e, *e2;
    HASH_ITER(hh, a->exported, e, e2)
    {
        HASH_DEL(a->exported, e);
        free(e->token);
        free(e->campaign);
        free(e->state);
        free(e);
    }
    for (size_t i = 0; i < a->send_count; i++) {
        free(a->sends[i].address);
        free(a->sends[i].token);
        free(a->sends[i].to);
    }
    free(a->sends);
    audit_content_done(&a->content);
}

int
audit_run(const struct audit_input *in, struct audit_result *ret, FILE *details, FILE *errors)
{
    struct audit a = {.in = in, .details = details, .errors = errors};
    int rc = audit_read_content(in->content, &a.content, errors);
    if (rc == 0)
        rc = audit_read_csv(in->devices, in->refused_devices, on_device, &a, errors);
    if (rc == 0)
        rc = audit_read_csv(in->leads, in->refused_leads, on_lead, &a, errors);
    if (rc == 0)
        rc = audit_read_csv(in->messages, NULL, on_message, &a, errors);
    if (rc == 0 && in->receipts)
        rc = audit_read_receipts(in->receipts, on_receipt, &a, errors);
    if (rc == 0) {
        judge_wishes(&a);
        if (a.send_count) {
            qsort(a.sends, a.send_count, sizeof(*a.sends), by_address_then_time);
            judge_pace(&a);
            qsort(a.sends, a.send_count, sizeof(*a.sends), by_time);
            judge_drivers(&a);
        }
        if (in->optouts)
            rc = judge_optouts(&a);
        if (a.last_seen > a.first_seen)
            a.r.messages_per_s =
                (double) (a.r.received - 1) * 1e6 / (double) (a.last_seen - a.first_seen);
        *ret = a.r;
    }
    audit_done(&a);
    return rc;
}

uint64_t
audit_offences(const struct audit_result *r)
{
    return r->lost + r->duplicates + r->phantom + r->false_sent + r->hidden_unknown +
           r->wrong_text + r->pacing_violations + r->after_optout + r->two_drivers;
}

void
audit_print(const struct audit_result *r, bool receipts, FILE *out)
{
    char received[32] = "not checked";
    if (receipts)
        snprintf(received, sizeof(received), "%llu", (unsigned long long) r->received);
    fprintf(out,
            "  asked %llu   received %s   sent %llu   unknown %llu   failed %llu   ended %llu   "
            "waiting %llu\n",
            (unsigned long long) r->asked, received, (unsigned long long) r->sent,
            (unsigned long long) r->unknown, (unsigned long long) r->failed,
            (unsigned long long) r->ended, (unsigned long long) r->waiting);
    if (!receipts)
        return;
    fprintf(out,
            "  lost %llu   twice %llu   phantom %llu   false sent %llu   hidden unknown %llu   "
            "wrong text %llu   too early %llu   after opt-out %llu   two drivers %llu\n",
            (unsigned long long) r->lost, (unsigned long long) r->duplicates,
            (unsigned long long) r->phantom, (unsigned long long) r->false_sent,
            (unsigned long long) r->hidden_unknown, (unsigned long long) r->wrong_text,
            (unsigned long long) r->pacing_violations, (unsigned long long) r->after_optout,
            (unsigned long long) r->two_drivers);
}
