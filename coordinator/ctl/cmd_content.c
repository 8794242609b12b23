/* cmd_content.c - apply-content FILE: parsed and judged here, judged again and kept there. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/terminal.h"
#include "shared/content.h"

#define FILE_BYTES_MAX (8u << 20)

static int
read_file(const char *path, char **ret, size_t *ret_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), err = fd < 0 ? -errno : 0;
    char *text = NULL;
    size_t used = 0;
    if (err == 0 && !(text = malloc(FILE_BYTES_MAX + 1)))
        err = -ENOMEM;
    while (err == 0) {
        ssize_t n = read(fd, text + used, FILE_BYTES_MAX + 1 - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            err = n < 0 ? -errno : 0;
            break;
        }
        used += (size_t) n;
        if (used > FILE_BYTES_MAX)
            err = -EFBIG;
    }
    if (fd >= 0)
        close(fd);
    if (err < 0) {
        free(text);
        return err;
    }
    *ret = text;
    *ret_bytes = used;
    return 0;
}

static int
parse_file(const char *path, struct content *ret)
{
    char *text;
    size_t bytes;
    int err = read_file(path, &text, &bytes);
    if (err < 0) {
        terminal_fault("%s: %s", path, strerror(-err));
        return CTL_FAILED;
    }
    err = content_parse_yaml(ret, path, (struct slice){text, bytes}, stderr);
    free(text);
    if (err == 0)
        return CTL_DONE;
    terminal_fault("%s: %s", path,
                   err == -ENOMEM ? "out of memory" : "refused, nothing was changed");
    if (err != -ENOMEM)
        terminal_next("correct it, then: fleetcast apply-content --dry-run %s\n"
                      "        (a text with {{variables}} needs quotes around it)",
                      path);
    return CTL_FAILED;
}

static void
print_result(const struct invocation *in, const struct apply_reply *r)
{
    bool dry = in->options[OPTION_DRY_RUN] != NULL;
    if (in->format == TABLE_TEXT) {
        printf("%s   %s%u created, %u changed, %u unchanged   (content version %llu)\n",
               in->operands[0], dry ? "would be: " : "", r->created, r->changed, r->unchanged,
               (unsigned long long) r->version);
        return;
    }
    struct table *t = table_new(stdout, in->format);
    if (!t)
        return;
    table_column(t, "file", NULL, TABLE_WORDS);
    table_column(t, "dry_run", NULL, TABLE_WORDS);
    table_column(t, "created", NULL, TABLE_COUNT);
    table_column(t, "changed", NULL, TABLE_COUNT);
    table_column(t, "unchanged", NULL, TABLE_COUNT);
    table_column(t, "content_version", NULL, TABLE_NUMBER);
    table_words(t, "%s", in->operands[0]);
    table_bool(t, dry);
    table_int(t, r->created);
    table_int(t, r->changed);
    table_int(t, r->unchanged);
    table_int(t, (int64_t) r->version);
    if (table_done(t) < 0)
        terminal_fault("the output cannot be written");
}

static int
apply(const struct invocation *in, struct asker *a, const struct content *content)
{
    struct slice items[CONTENT_ITEMS_MAX];
    struct request q = {.kind = MESSAGE_APPLY,
                        .apply = {.dry_run = in->options[OPTION_DRY_RUN] != NULL, .items = items}};
    struct reply r;
    int err = 0;
    for (unsigned i = 0; i < content->count && err == 0; i++) {
        char *json = content_item_write(&content->items[i]);
        err = json ? 0 : -ENOMEM;
        if (json)
            items[q.apply.item_count++] = (struct slice){json, strlen(json)};
    }
    if (err == 0)
        err = ask_coordinator(a, &q, 0, &r);
    for (uint32_t i = 0; i < q.apply.item_count; i++)
        free((char *) items[i].data);
    if (err == -E2BIG) {
        terminal_fault("%s: more than one request can carry: split the file, templates first",
                       in->operands[0]);
        return CTL_FAILED;
    }
    if (err < 0)
        return ask_failed(a, err, "cannot apply %s", in->operands[0]);
    print_result(in, &r.apply);
    return fflush(stdout) == 0 ? CTL_DONE : CTL_FAILED;
}

int
cmd_apply_content(const struct invocation *in)
{
    struct content content = {0};
    struct asker *a = NULL;
    int code = parse_file(in->operands[0], &content);
    if (code != CTL_DONE)
        return code;
    code = asker_open(&a, in, in->timeout);
    if (code == CTL_DONE)
        code = apply(in, a, &content);
    content_free(&content);
    asker_free(a);
    return code;
}
