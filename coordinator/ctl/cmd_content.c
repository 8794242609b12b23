/* cmd_content.c - apply-content FILE: parsed and judged here, judged again and kept there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/content_edit.h"
#include "coordinator/ctl/content_file.h"
#include "coordinator/ctl/content_known.h"
#include "coordinator/ctl/terminal.h"
#include "shared/content.h"

static int
read_mode(const struct invocation *in, uint8_t *ret)
{
    const char *mode = in->options[OPTION_MODE];
    *ret = !mode ? APPLY_UNSAID : strcmp(mode, "new") == 0 ? APPLY_FOR_NEW : APPLY_FOR_ALL;
    if (!mode || strcmp(mode, "new") == 0 || strcmp(mode, "all") == 0)
        return CTL_DONE;
    terminal_fault("--for \"%s\": new (who is enrolled keeps the old steps) or all", mode);
    return CTL_USAGE;
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

/* All who are enrolled go on by other steps: seen and agreed to first. */
static int
confirm_edit(const struct invocation *in, struct asker *a, const struct content *content)
{
    int64_t changed = 0;
    unsigned silent = 0;
    struct view *v = view_new();
    int err = v ? ask_map(a) : -ENOMEM;
    if (err == 0)
        err = view_sources(v, a);
    if (err == 0)
        err = edit_print(a, v, content, in->format == TABLE_TEXT ? stdout : stderr, &changed,
                         &silent);
    view_free(v);
    if (err < 0)
        return ask_failed(a, err, "cannot count what %s changes", in->operands[0]);
    if (silent > 0)
        terminal_fault("leads of partitions that do not answer are not in these counts");
    fflush(stdout);
    if (in->options[OPTION_DRY_RUN] || in->options[OPTION_YES] || (changed == 0 && silent == 0))
        return CTL_DONE;
    switch (terminal_confirm("Change them?")) {
    case TERMINAL_YES: return CTL_DONE;
    case TERMINAL_NO: terminal_fault("nothing was changed"); return CTL_REFUSED;
    case TERMINAL_NONE: break;
    }
    terminal_fault("--for all changes what enrolled leads get, and there is nobody to ask");
    terminal_next("fleetcast apply-content %s --for all --yes", in->operands[0]);
    return CTL_REFUSED;
}

/* Where the item stands that the coordinator's words begin with (sequence "cold" ...); 0: none. */
static unsigned
line_of(const struct content *content, const char *why)
{
    for (unsigned i = 0; i < content->count; i++) {
        const struct content_item *item = &content->items[i];
        char words[CONTENT_NAME_MAX + 16];
        int n = snprintf(words, sizeof(words), "%s \"%s\"", content_kind_name(item->kind),
                         content_item_name(item));
        if (strncmp(why, words, (size_t) n) == 0)
            return item->line;
    }
    return 0;
}

static int
apply(const struct invocation *in, struct asker *a, const struct content *content, uint8_t mode)
{
    struct slice items[CONTENT_ITEMS_MAX];
    struct request q = {.kind = MESSAGE_APPLY,
                        .apply = {.dry_run = in->options[OPTION_DRY_RUN] != NULL,
                                  .items = items,
                                  .mode = mode}};
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
    unsigned line = err < 0 ? line_of(content, ask_why(a)) : 0;
    if (line > 0)
        return ask_failed(a, err, "%s:%u", in->operands[0], line);
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
    uint8_t mode;
    int code = read_mode(in, &mode);
    if (code == CTL_DONE)
        code = content_file_read(in->operands[0], &content);
    if (code != CTL_DONE)
        return code;
    code = asker_open(&a, in, in->timeout);
    if (code == CTL_DONE && !content.has_variables && !in->options[OPTION_ALLOW_UNKNOWN])
        code = content_check_columns(a, &content, in->operands[0]);
    if (code == CTL_DONE && mode == APPLY_FOR_ALL)
        code = confirm_edit(in, a, &content);
    if (code == CTL_DONE)
        code = apply(in, a, &content, mode);
    content_free(&content);
    asker_free(a);
    return code;
}
