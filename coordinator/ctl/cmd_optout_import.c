/* cmd_optout_import.c - optout import FILE: batches of rows to every partition. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "coordinator/ctl/act.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/csvfile.h"
#include "coordinator/ctl/operands.h"
#include "coordinator/ctl/rejects.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/terminal.h"
#include "shared/parse.h"

#define COLUMNS 3u

struct optout_row { /* what a refusal by a driver is written with */
    uint64_t line;
    char *raw;
    size_t bytes;
    char phone[24];
};

struct optouts {
    const struct invocation *in;
    uint32_t country;
    usec_t timeout;
    struct asker *asker;
    struct csvfile *file;
    struct rejects *rejects;
    char *rejects_path;
    bool ignored[CSV_COLUMNS_MAX];
    int at[COLUMNS]; /* account, phone, reason: places in the file, -1 = not there */
    struct act_reach reach;
    unsigned count; /* rows of the batch */
    struct optout_row rows[ACT_ROWS_MAX];
    struct slice cells[ACT_ROWS_MAX * COLUMNS]; /* account and reason lie in raw's copy */
    struct act_result results[ACT_ROWS_MAX];
    uint64_t read, added, known, not_done;
    char scratch[CSV_ROW_BYTES_MAX]; /* of a row that is split again */
};

/* ---- the file ---- */

static bool
is_named(struct slice field, const char *name)
{
    return field.bytes == strlen(name) && strncasecmp(field.data, name, field.bytes) == 0;
}

/* `optout ls --format csv` is read too: what is not ours of its columns says nothing. */
static int
find_columns(struct optouts *o)
{
    static const char *const names[COLUMNS] = {"account", "phone", "reason"};
    const struct csv_row *header = csvfile_header(o->file);
    for (unsigned i = 0; i < COLUMNS; i++) {
        o->at[i] = -1;
        for (unsigned c = 0; c < header->count; c++)
            if (is_named(header->fields[c], names[i]))
                o->at[i] = (int) c;
    }
    for (unsigned c = 0; c < header->count; c++)
        o->ignored[c] =
            header->fields[c].bytes >= 7 && strncasecmp(header->fields[c].data, "reject_", 7) == 0;
    if (o->at[1] >= 0)
        return CTL_DONE;
    terminal_fault("%s: line %" PRIu64 ": no column \"phone\"", o->in->operands[0], header->line);
    return CTL_FAILED;
}

static int
read_delimiter(const struct invocation *in, char *ret)
{
    const char *text = in->options[OPTION_DELIMITER];
    *ret = !text ? '\0' : strcmp(text, "tab") == 0 ? '\t' : text[0];
    if (!text || *ret == '\t' || strcmp(text, ",") == 0 || strcmp(text, ";") == 0)
        return CTL_DONE;
    terminal_fault("--delimiter \"%s\": ',' ';' or 'tab'", text);
    return CTL_USAGE;
}

static int
open_files(struct optouts *o)
{
    char why[256], delimiter;
    const char *path = o->in->operands[0], *rejects = o->in->options[OPTION_REJECTS];
    int code = read_delimiter(o->in, &delimiter);
    if (code != CTL_DONE)
        return code;
    if (csvfile_open(&o->file, path, delimiter, why, sizeof(why)) < 0) {
        terminal_fault("%s: %s", path, why);
        return CTL_FAILED;
    }
    if ((code = find_columns(o)) != CTL_DONE)
        return code;
    if (asprintf(&o->rejects_path, "%s%s", rejects ? rejects : path,
                 rejects ? "" : ".rejects.csv") < 0) {
        o->rejects_path = NULL;
        return CTL_FAILED;
    }
    const struct rejects_config config = {.path = o->rejects_path,
                                          .header = csvfile_header(o->file),
                                          .ignored = o->ignored,
                                          .delimiter = csvfile_delimiter(o->file),
                                          .secret_field = -1};
    return rejects_new(&o->rejects, &config) < 0 ? CTL_FAILED : CTL_DONE;
}

/* ---- a batch ---- */

static int
reject(struct optouts *o, const struct csv_row *row, int field, const char *reason)
{
    return rejects_put(o->rejects, row, field < 0 ? 0 : (unsigned) field, ask_text(reason));
}

/* Settled rows are counted; those that a driver refused go to the rejects. */
static int
count_batch(struct optouts *o)
{
    struct csv_row row;
    int err = 0;
    for (unsigned i = 0; i < o->count && err == 0; i++) {
        switch (o->results[i].verdict) {
        case ACT_DONE: o->added++; break;
        case ACT_KNOWN: o->known++; break;
        case ACT_NOT_FOUND:
        case ACT_RETRY: o->not_done++; break;
        case ACT_REFUSED:
            csv_split((struct slice){o->rows[i].raw, o->rows[i].bytes}, csvfile_delimiter(o->file),
                      o->scratch, &row);
            row.line = o->rows[i].line;
            err = reject(o, &row, o->at[1], o->results[i].detail);
            break;
        }
    }
    return err;
}

static void
drop_batch(struct optouts *o)
{
    for (unsigned i = 0; i < o->count; i++)
        free(o->rows[i].raw);
    o->count = 0;
}

static int
send_batch(struct optouts *o)
{
    const struct action action = {"optout.add", COLUMNS, o->count, o->cells, o->timeout};
    int err = o->count > 0 ? act_everywhere(o->asker, &o->reach, &action, o->results) : 0;
    if (err == 0)
        err = count_batch(o);
    drop_batch(o);
    return err;
}

static struct slice
optional(const struct optouts *o, const struct csv_row *row, unsigned column, char **room,
         enum command_option option, const char *otherwise)
{
    int at = o->at[column];
    struct slice field =
        at >= 0 && (unsigned) at < row->count ? row->fields[at] : (struct slice){"", 0};
    if (field.bytes == 0)
        return ask_text(o->in->options[option] ? o->in->options[option] : otherwise);
    memcpy(*room, field.data, field.bytes);
    struct slice copy = {*room, field.bytes};
    *room += field.bytes;
    return copy;
}

static int
take_row(struct optouts *o, const struct csv_row *row)
{
    uint64_t phone;
    o->read++;
    if (row->fault)
        return reject(o, row, (int) row->fault_column, row->fault);
    struct slice field = row->fields[o->at[1]];
    enum phone_verdict verdict = parse_phone(field, o->country, &phone);
    if (verdict != PHONE_OK)
        return reject(o, row, o->at[1], parse_phone_why(verdict));
    struct optout_row *kept = &o->rows[o->count];
    kept->raw = malloc(2 * row->raw.bytes + 1); /* the row, and its fields without quotes */
    if (!kept->raw)
        return -ENOMEM;
    memcpy(kept->raw, row->raw.data, row->raw.bytes);
    kept->bytes = row->raw.bytes;
    kept->line = row->line;
    snprintf(kept->phone, sizeof(kept->phone), "%" PRIu64, phone);
    char *room = kept->raw + kept->bytes;
    struct slice *cells = o->cells + (size_t) o->count * COLUMNS;
    cells[0] = optional(o, row, 0, &room, OPTION_ACCOUNT, "main");
    cells[1] = ask_text(kept->phone);
    cells[2] = optional(o, row, 2, &room, OPTION_REASON, "");
    return ++o->count == ACT_ROWS_MAX ? send_batch(o) : 0;
}

static int
take_all(struct optouts *o)
{
    struct csv_row row;
    int r = 1, err = ask_map(o->asker);
    if (err == 0)
        act_reach_start(&o->reach, o->asker);
    while (err == 0 && (r = csvfile_next(o->file, &row)) > 0)
        err = asker_interrupted(o->asker) ? -EINTR : take_row(o, &row);
    if (err == 0 && r < 0)
        err = r;
    if (err == 0)
        err = send_batch(o);
    return err;
}

/* ---- the result ---- */

static int
print(const struct optouts *o)
{
    char a[32], b[32], c[32], d[32];
    uint64_t rejected = rejects_count(o->rejects);
    if (o->in->format == TABLE_TEXT) {
        printf("%s   added %s   known %s   rejected %s", o->in->operands[0],
               table_thousands(a, (int64_t) o->added), table_thousands(b, (int64_t) o->known),
               table_thousands(c, (int64_t) rejected));
        if (o->not_done > 0)
            printf("   not done %s", table_thousands(d, (int64_t) o->not_done));
        printf("   (= %s read)\n", table_thousands(a, (int64_t) o->read));
        if (rejected > 0) {
            printf("Rejected rows with their reasons: %s\n", o->rejects_path);
            rejects_show(o->rejects, stdout);
        }
        return fflush(stdout) == 0 ? 0 : -EPIPE;
    }
    static const char *const names[] = {"read", "added", "known", "rejected", "not_done"};
    const uint64_t values[] = {o->read, o->added, o->known, rejected, o->not_done};
    struct table *t = table_new(stdout, o->in->format);
    if (!t)
        return -ENOMEM;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        table_column(t, names[i], NULL, TABLE_COUNT);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        table_int(t, (int64_t) values[i]);
    return table_done(t);
}

static int
finish(struct optouts *o, int err)
{
    if (err < 0)
        return ask_failed(o->asker, err, "cannot import %s after %" PRIu64 " rows",
                          o->in->operands[0], o->read);
    int written = rejects_finish(o->rejects);
    if (written < 0) {
        terminal_fault("%s cannot be written: %s", o->rejects_path, strerror(-written));
        return CTL_FAILED;
    }
    if (print(o) < 0)
        return CTL_FAILED;
    int code = act_reach_tell(&o->reach, o->in->operands[0]);
    if (o->not_done > 0)
        terminal_next("the same command again");
    else if (rejects_count(o->rejects) > 0)
        terminal_next("after correcting: fleetcast optout import %s", o->rejects_path);
    return o->not_done > 0 || rejects_count(o->rejects) > 0 ? CTL_DEGRADED : code;
}

static int
run(struct optouts *o)
{
    const char *country = o->in->options[OPTION_COUNTRY];
    const char *timeout = o->in->options[OPTION_BATCH_TIMEOUT];
    struct slice reason;
    if (country && parse_u32(country, strlen(country), 1, 999, &o->country) < 0) {
        terminal_fault("--country \"%s\": a calling code of 1 to 3 digits, for example 60",
                       country);
        return CTL_USAGE;
    }
    o->timeout = 60 * USEC_PER_SEC;
    if (timeout && parse_span(timeout, USEC_PER_MSEC, 86400 * USEC_PER_SEC, &o->timeout) < 0) {
        terminal_fault("--timeout-per-batch \"%s\": a span such as 10s", timeout);
        return CTL_USAGE;
    }
    int code = operand_reason(o->in, &reason);
    if (code == CTL_DONE)
        code = open_files(o);
    if (code == CTL_DONE)
        code = asker_open(&o->asker, o->in, 0);
    return code == CTL_DONE ? finish(o, take_all(o)) : code;
}

int
cmd_optout_import(const struct invocation *in)
{
    struct optouts *o = calloc(1, sizeof(*o));
    if (!o)
        return CTL_FAILED;
    o->in = in;
    int code = run(o);
    drop_batch(o);
    asker_free(o->asker);
    rejects_free(o->rejects);
    csvfile_free(o->file);
    free(o->rejects_path);
    free(o);
    return code;
}
