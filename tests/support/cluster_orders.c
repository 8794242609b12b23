/* cluster_orders.c - orders to a cluster under test, written down for the audit; looks at its
 * counts and databases. */
#include <check.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster.h"
#include "tests/support/process.h"

#define SILENCES_MAX 1024u

static FILE *
open_in(const struct cluster *c, const char *name, const char *mode)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", cluster_dir(c), name);
    return fopen(path, mode);
}

/* A row for the audit; the header comes first into a new file. */
static void
append(const struct cluster *c, const char *name, const char *header, const char *line)
{
    FILE *f = open_in(c, name, "ae");
    ck_assert_ptr_nonnull(f);
    if (header && fseek(f, 0, SEEK_END) == 0 && ftell(f) == 0)
        fputs(header, f);
    fputs(line, f);
    ck_assert_int_eq(fclose(f), 0);
}

void
cluster_must(struct cluster *c, int code, const char *words)
{
    char *output;
    int got = cluster_fleetcast(c, &output, words);
    ck_assert_msg(got == code, "%s: exit code %d, not %d\n%s", words, got, code, output);
    free(output);
}

void
cluster_silence(struct cluster *c, const char *kind, const char *what, const char *words)
{
    char line[256];
    cluster_must(c, 0, words);
    snprintf(line, sizeof(line), "%s,%s,%llu,0\n", kind, what, (unsigned long long) clock_boot());
    append(c, "silences", NULL, line);
}

void
cluster_reopen(struct cluster *c, const char *kind, const char *what, const char *words)
{
    usec_t began = clock_boot();
    static char lines[SILENCES_MAX][128];
    char start[128];
    unsigned count = 0;
    cluster_must(c, 0, words);
    snprintf(start, sizeof(start), "%s,%s,", kind, what);
    FILE *f = open_in(c, "silences", "re");
    ck_assert_ptr_nonnull(f);
    while (count < SILENCES_MAX && fgets(lines[count], sizeof(lines[0]), f))
        count++;
    fclose(f);
    bool closed = false;
    for (unsigned i = count; i-- > 0 && !closed;) {
        char *end = strstr(lines[i], ",0\n");
        closed = end && strncmp(lines[i], start, strlen(start)) == 0;
        if (closed)
            snprintf(end, 32, ",%llu\n", (unsigned long long) began);
    }
    ck_assert_msg(closed, "%s%s was not silent", kind, what);
    f = open_in(c, "silences", "we");
    for (unsigned i = 0; i < count; i++)
        fputs(lines[i], f);
    ck_assert_int_eq(fclose(f), 0);
}

void
cluster_direct(struct cluster *c, unsigned device, const char *phone, const char *text)
{
    char words[256], line[256];
    snprintf(words, sizeof(words), "send %u %s %s --key %s-%u", device, phone, text, text, device);
    cluster_must(c, 0, words);
    snprintf(line, sizeof(line), "%u,%s,%s\n", device, phone, text);
    append(c, "direct.csv", "device_id,phone,text\n", line);
}

void
cluster_enrol(struct cluster *c, unsigned device, const char *phone, const char *sequence)
{
    char words[256], line[256];
    snprintf(words, sizeof(words), "lead enrol %s %s --device %u", phone, sequence, device);
    cluster_must(c, 0, words);
    snprintf(line, sizeof(line), "%u,%s,%s\n", device, phone, sequence);
    append(c, "enrolments.csv", "device_id,phone,sequence\n", line);
}

void
cluster_started(struct cluster *c, const char *sources)
{
    cluster_put(c, "started", sources);
}

void
cluster_edit(struct cluster *c, const char *content, const char *mode)
{
    char from[128], to[128], words[256];
    snprintf(from, sizeof(from), "%s/content.yaml", cluster_dir(c));
    snprintf(to, sizeof(to), "%s/older.yaml", cluster_dir(c));
    ck_assert_int_eq(rename(from, to), 0);
    cluster_put(c, "content.yaml", content);
    snprintf(words, sizeof(words), "apply-content %s/content.yaml%s%s", cluster_dir(c),
             mode ? " --yes --for " : "", mode ? mode : "");
    cluster_must(c, 0, words);
}

/* ---- looks ---- */

static struct cluster_counts
counts_of(const json_t *source)
{
#define COUNT(name) .name = json_integer_value(json_object_get(source, #name))
    struct cluster_counts n = {COUNT(audience), COUNT(sent),      COUNT(waiting),
                               COUNT(unknown),  COUNT(failed),    COUNT(skipped),
                               COUNT(expired),  COUNT(cancelled), COUNT(not_in_audience)};
#undef COUNT
    snprintf(n.state, sizeof(n.state), "%s",
             json_string_value(json_object_get(source, "state")) ?: "");
    return n;
}

struct cluster_counts
cluster_look(struct cluster *c, const char *source)
{
    char *output;
    int code = cluster_fleetcast(c, &output, "status --format json");
    ck_assert_msg(code == 0 || code == 3, "status: exit code %d\n%s", code, output);
    json_error_t error;
    char *start = strchr(output, '{');
    json_t *status = start ? json_loads(start, JSON_DISABLE_EOF_CHECK, &error) : NULL, *s;
    ck_assert_msg(status, "status is not JSON: %s", output);
    struct cluster_counts ret = {0};
    size_t i;
    json_array_foreach(json_object_get(status, "sources"), i, s)
    {
        struct cluster_counts n = counts_of(s);
        const char *name = json_string_value(json_object_get(s, "name"));
        int64_t sum = n.sent + n.waiting + n.unknown + n.failed + n.skipped + n.expired +
                      n.cancelled + n.not_in_audience;
        ck_assert_msg(sum == n.audience && n.waiting >= 0,
                      "%s: audience %lld, its parts sum to %lld\n%s", name, (long long) n.audience,
                      (long long) sum, output);
        if (source && strcmp(name, source) == 0)
            ret = n;
    }
    json_decref(status);
    free(output);
    return ret;
}

int64_t
cluster_sql(struct cluster *c, const char *database, const char *sql)
{
    char dsn[256];
    PGconn *conn = PQconnectdb(cluster_dsn(c, database, dsn));
    ck_assert_msg(PQstatus(conn) == CONNECTION_OK, "%s", PQerrorMessage(conn));
    PGresult *r = PQexec(conn, sql);
    ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(r) == PGRES_COMMAND_OK,
                  "%s\n%s", sql, PQerrorMessage(conn));
    int64_t n = PQntuples(r) == 1 ? atoll(PQgetvalue(r, 0, 0)) : -1;
    PQclear(r);
    PQfinish(conn);
    return n;
}

static const char open_sql[] =
    "SELECT (SELECT count(*) FROM enrollment e JOIN source s USING (source_id)"
    " WHERE e.state IN (0, 1) AND s.state = 0)"
    " + (SELECT count(*) FROM lead l JOIN source s ON s.trigger = l.trigger"
    " WHERE l.trigger <> '' AND s.state = 0)"
    " + (SELECT count(*) FROM audience a JOIN source s USING (source_id)"
    " WHERE s.state = 0 AND s.kind = 1 AND a.cursor < a.upto)";

static bool
is_settled(void *arg)
{
    struct cluster *c = arg;
    char name[CLUSTER_NAME_BYTES], path[128];
    for (unsigned i = 1;; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        snprintf(path, sizeof(path), "%s/%s.conf", cluster_dir(c), name);
        FILE *f = fopen(path, "re");
        if (!f)
            return true;
        fclose(f);
        name[0] = 'p';
        if (cluster_sql(c, name, open_sql) != 0)
            return false;
    }
}

void
cluster_settles(struct cluster *c, usec_t limit)
{
    if (process_wait(limit, is_settled, c))
        return;
    char *output;
    cluster_fleetcast(c, &output, "status");
    ck_abort_msg("it has not settled in time\n%s", output);
}

void
cluster_verify(struct cluster *c)
{
    cluster_must(c, 0, "verify");
}

uint64_t
cluster_memory(const struct cluster *c, const char *name)
{
    char path[64];
    unsigned long long size, resident = 0;
    snprintf(path, sizeof(path), "/proc/%d/statm", (int) cluster_pid(c, name));
    FILE *f = fopen(path, "re");
    ck_assert(f && fscanf(f, "%llu %llu", &size, &resident) == 2);
    fclose(f);
    return resident * 4096;
}

void
cluster_expect(struct cluster *c, int code, const char *word, const char *format, ...)
{
    char words[1024], *output = NULL;
    va_list ap;
    va_start(ap, format);
    vsnprintf(words, sizeof(words), format, ap);
    va_end(ap);
    int got = cluster_fleetcast(c, &output, words);
    ck_assert_msg(got == code, "fleetcast %s: exit %d, not %d\n%s", words, got, code, output);
    ck_assert_msg(strstr(output, word) != NULL, "fleetcast %s: no \"%s\" in\n%s", words, word,
                  output);
    free(output);
}

json_t *
cluster_json(struct cluster *c, const char *words)
{
    char with_format[256], *output = NULL;
    json_error_t error;
    snprintf(with_format, sizeof(with_format), "%s --format json", words);
    int code = cluster_fleetcast(c, &output, with_format);
    ck_assert_msg(code == 0, "%s: exit %d\n%s", words, code, output);
    json_t *all = json_loads(output, 0, &error);
    ck_assert_msg(all != NULL, "%s: %s\n%s", words, error.text, output);
    free(output);
    return all;
}

struct audit_result
cluster_ends(struct cluster *c)
{
    cluster_settles(c, 90 * USEC_PER_SEC);
    cluster_look(c, NULL);
    struct audit_result r = cluster_audit(c);
    ck_assert_uint_eq(r.waiting, r.not_due);
    cluster_verify(c);
    return r;
}
