/* cmd_verify.c - verify: what must always hold, of the map and in every partition. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/terminal.h"

/* A check reads whole tables: it is not asked again while it is under way. */
#define CHECK_TIMEOUT (120 * USEC_PER_SEC)

struct finding {
    char partition[NAME_BYTES_MAX + 1], check[96], example[400];
    int64_t offences;
};

struct verify {
    struct asker *asker;
    const struct map *map;
    struct finding *findings; /* every check: offences 0 = holds */
    unsigned finding_count, partition_count, silent_count;
    uint64_t device_count;
    /* of the partition whose devices are being read */
    int64_t misplaced;
    char misplaced_example[200];
};

static int
add_finding(struct verify *v, struct slice partition, struct slice check, int64_t offences,
            struct slice example)
{
    struct finding *more = realloc(v->findings, (v->finding_count + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    v->findings = more;
    struct finding *f = &v->findings[v->finding_count++];
    f->offences = offences;
    snprintf(f->partition, sizeof(f->partition), "%.*s", (int) partition.bytes, partition.data);
    table_printable(f->check, sizeof(f->check), check);
    table_printable(f->example, sizeof(f->example), example);
    return 0;
}

static struct slice
text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

/* ---- of the map ---- */

static int
check_ranges(struct verify *v)
{
    uint32_t at = 0;
    char example[200] = "";
    int err = rangemap_check(&v->map->ranges, v->map->partition_count, &at);
    if (err < 0)
        snprintf(example, sizeof(example), "range %" PRId32 "-%" PRId32,
                 v->map->ranges.ranges[at].first, v->map->ranges.ranges[at].last);
    return add_finding(v, text("map"), text("ranges are sorted and do not overlap"), err < 0,
                       text(example));
}

/* By the last reports, which are a second old: two that say "open" in one epoch are two drivers. */
static int
check_drivers(struct verify *v)
{
    struct request q = {.kind = MESSAGE_NODES};
    struct reply r;
    char example[200] = "";
    int64_t offences = 0;
    int err = ask_coordinator(v->asker, &q, 0, &r);
    if (err < 0)
        return err;
    for (uint32_t i = 0; i < r.nodes.node_count; i++) {
        const struct report *a = &r.nodes.nodes[i].report;
        for (uint32_t k = i + 1; k < r.nodes.node_count; k++) {
            const struct report *b = &r.nodes.nodes[k].report;
            for (uint32_t m = 0; m < a->partition_count; m++) {
                for (uint32_t n = 0; n < b->partition_count; n++) {
                    const struct partition_report *x = &a->partitions[m], *y = &b->partitions[n];
                    if (x->epoch != y->epoch || x->epoch == 0 || x->name.bytes != y->name.bytes ||
                        memcmp(x->name.data, y->name.data, x->name.bytes) != 0)
                        continue;
                    offences++;
                    snprintf(example, sizeof(example), "%.*s in epoch %" PRIu64 ": %.*s and %.*s",
                             (int) x->name.bytes, x->name.data, x->epoch, (int) a->name.bytes,
                             a->name.data, (int) b->name.bytes, b->name.data);
                }
            }
        }
    }
    return add_finding(v, text("map"), text("one driver per partition and epoch"), offences,
                       text(example));
}

static bool
is_gone(const struct answer *page, uint32_t row, int column)
{
    struct slice s = answer_text(page, row, column);
    return s.bytes == 4 && memcmp(s.data, "gone", 4) == 0;
}

static int
on_devices(void *arg, struct slice partition, const struct answer *page)
{
    struct verify *v = arg;
    int id = answer_column(page, "device_id"), residence = answer_column(page, "residence");
    for (uint32_t row = 0; row < page->row_count; row++) {
        int64_t device = answer_number(page, row, id);
        const struct range *r = rangemap_find(&v->map->ranges, (int32_t) device);
        struct slice there = r ? v->map->partitions[r->partition].name : (struct slice){"none", 4};
        if (is_gone(page, row, residence))
            continue;
        v->device_count++;
        if (r && there.bytes == partition.bytes &&
            memcmp(there.data, partition.data, there.bytes) == 0)
            continue;
        if (v->misplaced++ == 0)
            snprintf(v->misplaced_example, sizeof(v->misplaced_example),
                     "device %" PRId64 ": the map says %.*s", device, (int) there.bytes,
                     there.data);
    }
    return 0;
}

/* ---- of a partition ---- */

static int
on_checks(void *arg, struct slice partition, const struct answer *page)
{
    struct verify *v = arg;
    int check = answer_column(page, "check"), ok = answer_column(page, "ok"),
        offences = answer_column(page, "offences"), example = answer_column(page, "example");
    if (check < 0 || ok < 0)
        return -EBADMSG;
    for (uint32_t row = 0; row < page->row_count; row++) {
        int64_t count = answer_number(page, row, ok)
                            ? 0
                            : MAX_OF(answer_number(page, row, offences), (int64_t) 1);
        int err = add_finding(v, partition, answer_text(page, row, check), count,
                              answer_text(page, row, example));
        if (err < 0)
            return err;
    }
    return 0;
}

static int
check_partition(struct verify *v, struct slice partition)
{
    static const struct question devices = {.name = "devices"};
    static const struct question checks = {.name = "verify", .timeout = CHECK_TIMEOUT};
    v->misplaced = 0;
    v->misplaced_example[0] = '\0';
    int err = ask_pages(v->asker, partition, &devices, on_devices, v);
    if (err == 0)
        err = add_finding(v, partition, text("its devices lie in its ranges"), v->misplaced,
                          text(v->misplaced_example));
    if (err == 0)
        err = ask_pages(v->asker, partition, &checks, on_checks, v);
    if (err == 0) {
        v->partition_count++;
    } else if (err == -ETIMEDOUT || err == -EAGAIN || err == -EIO) {
        terminal_fault("partition %.*s cannot be checked: %s", (int) partition.bytes,
                       partition.data, asker_why(v->asker));
        v->silent_count++;
        err = 0;
    }
    return err;
}

/* ---- the verdict ---- */

static unsigned
count_broken(const struct verify *v)
{
    unsigned broken = 0;
    for (unsigned i = 0; i < v->finding_count; i++)
        broken += v->findings[i].offences > 0;
    return broken;
}

/* "nothing was sent twice" -> "nothing-was-sent-twice": its heading in the run book. */
static void
anchor(char *out, size_t size, const char *check)
{
    size_t n = 0;
    for (; *check && n + 1 < size; check++)
        if (*check != ',')
            out[n++] = *check == ' ' ? '-' : *check;
    out[n] = '\0';
}

static void
print_words(const struct verify *v, usec_t spent)
{
    unsigned broken = count_broken(v);
    char devices[32], span[32], heading[96];
    const char *verdict = broken > 0 ? "BROKEN" : v->silent_count > 0 ? "INCOMPLETE" : "OK";
    terminal_verdict(stdout,
                     broken > 0            ? MOOD_BAD
                     : v->silent_count > 0 ? MOOD_WARNING
                                           : MOOD_GOOD,
                     verdict);
    if (broken > 0)
        printf("   %u of %u checks", broken, v->finding_count);
    else
        printf("   %u checks", v->finding_count);
    printf(", %u partitions, %s devices, %s\n", v->partition_count,
           table_thousands(devices, (int64_t) v->device_count), terminal_span(span, spent));
    for (unsigned i = 0; i < v->finding_count; i++) {
        const struct finding *f = &v->findings[i];
        if (f->offences == 0)
            continue;
        anchor(heading, sizeof(heading), f->check);
        printf("%s: not true that %s: %s times: %s\n    what to do: deploy/RUNBOOK.md#%s\n",
               f->partition, f->check, table_thousands(devices, f->offences), f->example, heading);
    }
}

static int
print_table(const struct verify *v, enum table_format format)
{
    struct table *t = table_new(stdout, format);
    if (!t)
        return -ENOMEM;
    table_column(t, "partition", NULL, TABLE_WORDS);
    table_column(t, "check", NULL, TABLE_WORDS);
    table_column(t, "ok", NULL, TABLE_WORDS);
    table_column(t, "offences", NULL, TABLE_COUNT);
    table_column(t, "example", NULL, TABLE_WORDS);
    for (unsigned i = 0; i < v->finding_count; i++) {
        const struct finding *f = &v->findings[i];
        table_words(t, "%s", f->partition);
        table_words(t, "%s", f->check);
        table_bool(t, f->offences == 0);
        table_int(t, f->offences);
        table_words(t, "%s", f->example);
    }
    return table_done(t);
}

static int
check_all(struct verify *v)
{
    int err = ask_map(v->asker);
    if (err < 0)
        return err;
    /* a question may load the map anew: this is then the newer one, never half of each */
    v->map = asker_map(v->asker);
    char names[PARTITIONS_MAX][NAME_BYTES_MAX + 1];
    uint32_t count = v->map->partition_count;
    for (uint32_t i = 0; i < count; i++)
        snprintf(names[i], sizeof(names[i]), "%.*s", (int) v->map->partitions[i].name.bytes,
                 v->map->partitions[i].name.data);
    if ((err = check_ranges(v)) == 0)
        err = check_drivers(v);
    for (uint32_t i = 0; i < count && err == 0; i++)
        err = check_partition(v, text(names[i]));
    return err;
}

int
cmd_verify(const struct invocation *in)
{
    struct verify v = {0};
    usec_t started = clock_boot();
    int code = asker_open(&v.asker, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    int err = check_all(&v);
    if (err < 0) {
        code = ask_failed(v.asker, err, "cannot verify");
    } else {
        if (in->format == TABLE_TEXT)
            print_words(&v, clock_boot() - started);
        else
            err = print_table(&v, in->format);
        bool broken = count_broken(&v) > 0;
        code = broken ? CTL_BROKEN : v.silent_count > 0 ? CTL_DEGRADED : CTL_DONE;
        if (err < 0 || fflush(stdout) != 0)
            code = CTL_FAILED;
    }
    free(v.findings);
    asker_free(v.asker);
    return code;
}
