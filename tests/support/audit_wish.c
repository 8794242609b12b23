/* audit_wish.c - what was asked for: content, leads, direct messages and people's enrolments. */
#include <errno.h>
#include <string.h>

#include "audit_inner.h"
#include "audit_read.h"

/* The ramp of accepted messages a day by the device's age: what stands in the settings unless told
 * otherwise. */
static const struct {
    long age, cap;
} ramp[] = {{0, 20}, {4, 50}, {8, 100}, {15, 200}, {31, 0}};

static const char *
field(const struct audit_row *h, const struct audit_row *row, const char *name, size_t bytes)
{
    for (unsigned i = 0; i < h->count && i < row->count; i++)
        if (strlen(h->fields[i]) == bytes && strncasecmp(h->fields[i], name, bytes) == 0)
            return row->fields[i];
    return "";
}

static const char *
column(const struct audit_row *h, const struct audit_row *row, const char *name)
{
    return field(h, row, name, strlen(name));
}

static long
daily_limit(const char *cap, const char *age)
{
    long limit = atol(cap);
    for (size_t i = ARRAY_SIZE(ramp); age[0] && i-- > 0;)
        if (atol(age) >= ramp[i].age) {
            long warm = ramp[i].cap;
            return limit == 0 ? warm : warm == 0 ? limit : MIN_OF(limit, warm);
        }
    return limit;
}

static int
on_device(void *arg, const struct audit_row *h, const struct audit_row *row)
{
    struct audit *a = arg;
    const char *id = column(h, row, "device_id"), *address = column(h, row, "address");
    if (!id[0] || !address[0])
        return 0; /* a rejected row is nobody's wish */
    struct audit_sender *s = calloc(1, sizeof(*s)), *known;
    s->device_id = atol(id);
    s->min_gap = (usec_t) atol(column(h, row, "min_delay_ms")) * USEC_PER_MSEC;
    s->daily_cap = daily_limit(column(h, row, "daily_cap"), column(h, row, "age"));
    s->hourly_cap = atol(column(h, row, "hourly_cap"));
    HASH_FIND(by_id, a->by_id, &s->device_id, sizeof(s->device_id), known);
    if (known) {
        free(s);
        return 0;
    }
    s->address = strdup(address);
    s->zone = strdup(column(h, row, "zone"));
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

/* FNV-1a, 64 bits, of the number's decimal digits, modulo the count: as documented. */
static unsigned
variant_of(const char *phone, unsigned count)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *p = phone; *p; p++)
        if (*p >= '0' && *p <= '9')
            hash = (hash ^ (uint64_t) *p) * 0x100000001b3u;
    return (unsigned) (hash % count);
}

/* {{variable|default}} with the row's own columns; the phone as it is sent. NULL: one has neither
 * value nor default. */
static char *
render(const char *text, const struct audit_row *h, const struct audit_row *row, const char *phone)
{
    char *out = NULL;
    size_t size;
    bool missing = false;
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
        else
            missing = true;
        text = close + 2;
    }
    fclose(f);
    if (missing)
        free(TAKE_PTR(out));
    return out;
}

char *
audit_wish_key(const char *source, long step, const char *pair)
{
    char *out = NULL;
    return asprintf(&out, "%s\n%ld\n%s", source, step, pair) < 0 ? NULL : out;
}

static struct audit_wish *
new_wish(struct audit *a, char *key, const char *pair)
{
    struct audit_wish *w = calloc(1, sizeof(*w)), *head;
    w->key = key;
    w->pair = strdup(pair);
    w->delay = USEC_INFINITY;
    HASH_ADD_KEYPTR(hh, a->wishes, w->key, strlen(w->key), w);
    HASH_FIND(by_pair, a->pairs, w->pair, strlen(w->pair), head);
    if (head) {
        w->next_same = head->next_same;
        head->next_same = w;
    } else
        HASH_ADD_KEYPTR(by_pair, a->pairs, w->pair, strlen(w->pair), w);
    a->r.asked++;
    return w;
}

struct lead { /* whose wishes are being added */
    const struct audit_row *header, *row;
    const char *phone;
    char *pair; /* address \n +phone */
    long device_id;
    unsigned contents; /* the bit of the content that is read */
};

/* The same lead twice in a file is one wish; *ret_new says whether it is one. */
static struct audit_wish *
add_step(struct audit *a, const struct lead *l, const struct audit_source *s,
         const struct audit_step *step, bool *ret_new)
{
    char *key = audit_wish_key(s->name, step->step, l->pair);
    struct audit_wish *w;
    HASH_FIND_STR(a->wishes, key, w);
    *ret_new = !w || !(w->contents & l->contents);
    if (w)
        free(key);
    else
        w = new_wish(a, key, l->pair);
    if (!*ret_new)
        return w;
    w->contents |= l->contents;
    if (!w->source)
        w->source = s;
    w->delay = MIN_OF(w->delay, step->delay);
    const char *text =
        step->texts[step->text_count > 1 ? variant_of(l->phone, step->text_count) : 0];
    char *rendered = text ? render(text, l->header, l->row, l->phone) : NULL;
    if (rendered)
        w->texts[w->text_count++] = rendered;
    return w;
}

/* The steps of `s`, then those of the sequences behind it. Who enters one in two ways has no known
 * step before its first. */
static void
add_journey(struct audit *a, const struct lead *l, const struct audit_content *c,
            const struct audit_source *s)
{
    struct audit_wish *before = NULL;
    for (unsigned hops = 0; s && hops < AUDIT_SOURCES_MAX; hops++) {
        for (unsigned i = 0; i < s->step_count; i++) {
            bool is_new;
            struct audit_wish *w = add_step(a, l, s, &s->steps[i], &is_new);
            if (!is_new) {
                if (w->before != before)
                    w->before = NULL;
                return;
            }
            if (!w->before)
                w->before = before;
            before = w;
        }
        s = s->next ? audit_content_find(c, s->next) : NULL;
    }
}

static bool
fits(const struct lead *l, const struct audit_source *s)
{
    bool fit = audit_source_has(s, l->device_id);
    for (unsigned k = 0; k < s->where_count; k++)
        fit &= strcmp(column(l->header, l->row, s->columns[k]), s->values[k]) == 0;
    if (s->is_sequence)
        fit &= s->trigger && strcmp(column(l->header, l->row, "trigger"), s->trigger) == 0;
    return fit;
}

static bool
is_started(const struct audit *a, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = a->in->sources; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || p[n] == '\0'))
            return true;
    return !a->in->sources;
}

/* A row of leads.csv, or of the enrolments (then `only` is the sequence). */
static void
add_lead(struct audit *a, const struct audit_row *h, const struct audit_row *row, const char *only)
{
    char phone[32];
    struct lead l = {.header = h, .row = row, .phone = phone, .device_id = 0};
    struct audit_sender *s;
    l.device_id = atol(column(h, row, "device_id"));
    HASH_FIND(by_id, a->by_id, &l.device_id, sizeof(l.device_id), s);
    plain_phone(phone, column(h, row, "phone"), a->in->country);
    if (!s || !phone[0])
        return;
    l.pair = audit_join(s->address, phone);
    const struct audit_content *contents[] = {&a->content, &a->older};
    for (unsigned k = 0; k < 2; k++) {
        l.contents = 1u << k;
        for (unsigned i = 0; i < contents[k]->count; i++) {
            const struct audit_source *source = &contents[k]->sources[i];
            if (only ? strcmp(source->name, only) == 0
                     : is_started(a, source->name) && fits(&l, source))
                add_journey(a, &l, contents[k], source);
        }
    }
    free(l.pair);
}

struct by_hand { /* one row of the enrolments */
    char *lead, *sequence;
    struct by_hand *next;
};
struct lead_reading {
    struct audit *a;
    struct by_hand *by_hand;
};

static int
on_enrolment(void *arg, const struct audit_row *h, const struct audit_row *row)
{
    struct lead_reading *g = arg;
    struct by_hand *e = calloc(1, sizeof(*e));
    e->lead = audit_join(column(h, row, "device_id"), column(h, row, "phone"));
    e->sequence = strdup(column(h, row, "sequence"));
    e->next = g->by_hand;
    g->by_hand = e;
    return 0;
}

static int
on_lead(void *arg, const struct audit_row *h, const struct audit_row *row)
{
    struct lead_reading *g = arg;
    add_lead(g->a, h, row, NULL);
    if (!g->by_hand)
        return 0;
    char *lead = audit_join(column(h, row, "device_id"), column(h, row, "phone"));
    for (struct by_hand *e = g->by_hand; e; e = e->next)
        if (strcmp(e->lead, lead) == 0)
            add_lead(g->a, h, row, e->sequence);
    free(lead);
    return 0;
}

static int
on_direct(void *arg, const struct audit_row *h, const struct audit_row *row)
{
    struct audit *a = arg;
    char phone[32];
    long id = atol(column(h, row, "device_id"));
    struct audit_sender *s;
    struct audit_wish *w;
    HASH_FIND(by_id, a->by_id, &id, sizeof(id), s);
    plain_phone(phone, column(h, row, "phone"), a->in->country);
    if (!s || !phone[0]) {
        fprintf(a->errors, "audit: %s: line %u has no device or number\n", a->in->direct,
                row->line);
        return -EINVAL;
    }
    char *pair = audit_join(s->address, phone), *key = audit_wish_key("(direct)", 0, pair);
    HASH_FIND_STR(a->wishes, key, w);
    if (w) {
        fprintf(a->errors, "audit: %s: line %u: two messages of one device to one number\n",
                a->in->direct, row->line);
        free(key);
        free(pair);
        return -EINVAL;
    }
    w = new_wish(a, key, pair);
    w->contents = 3;
    w->texts[w->text_count++] = strdup(column(h, row, "text"));
    free(pair);
    return 0;
}

int
audit_wishes_read(struct audit *a)
{
    struct lead_reading g = {.a = a};
    const struct audit_input *in = a->in;
    int rc = audit_content_read(in->content, &a->content, a->errors);
    if (rc == 0 && in->older)
        rc = audit_content_read(in->older, &a->older, a->errors);
    if (rc == 0)
        rc = audit_read_csv(in->devices, in->refused_devices, on_device, a, a->errors);
    if (rc == 0 && in->enrolments)
        rc = audit_read_csv(in->enrolments, NULL, on_enrolment, &g, a->errors);
    if (rc == 0)
        rc = audit_read_csv(in->leads, in->refused_leads, on_lead, &g, a->errors);
    if (rc == 0 && in->direct)
        rc = audit_read_csv(in->direct, NULL, on_direct, a, a->errors);
    for (struct by_hand *e; (e = g.by_hand);) {
        g.by_hand = e->next;
        free(e->lead);
        free(e->sequence);
        free(e);
    }
    return rc;
}

void
audit_wishes_done(struct audit *a)
{
    struct audit_sender *s, *s2;
    struct audit_wish *w, *w2;
    HASH_CLEAR(by_address, a->by_address);
    HASH_ITER(by_id, a->by_id, s, s2)
    {
        HASH_DELETE(by_id, a->by_id, s);
        free(s->address);
        free(s->zone);
        free(s);
    }
    HASH_CLEAR(by_pair, a->pairs);
    HASH_ITER(hh, a->wishes, w, w2)
    {
        HASH_DEL(a->wishes, w);
        free(w->key);
        free(w->pair);
        for (unsigned i = 0; i < w->text_count; i++)
            free(w->texts[i]);
        free(w);
    }
    audit_content_done(&a->content);
    audit_content_done(&a->older);
}
