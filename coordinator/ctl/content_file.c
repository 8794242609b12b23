/* content_file.c - the whole file in memory, parsed by shared/content. */
#include "coordinator/ctl/content_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/terminal.h"

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

int
content_file_read(const char *path, struct content *ret)
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

static int
each_of_template(const struct content_item *item, content_text_fn *each, void *arg)
{
    const struct content_template *t = &item->template_;
    char what[CONTENT_NAME_MAX + 48];
    int r = 0;
    snprintf(what, sizeof(what), "templates.%s", t->name);
    if (t->text)
        r = each(arg, item, what, t->text);
    for (unsigned i = 0; i < t->variant_count && r == 0; i++) {
        snprintf(what, sizeof(what), "templates.%s variant %u", t->name, i + 1);
        r = each(arg, item, what, t->variants[i]);
    }
    for (unsigned i = 0; i < t->parameter_count && r == 0; i++) {
        snprintf(what, sizeof(what), "templates.%s parameter %u", t->name, i + 1);
        r = each(arg, item, what, t->parameters[i]);
    }
    return r;
}

int
content_each_text(const struct content_item *item, content_text_fn *each, void *arg)
{
    char what[CONTENT_NAME_MAX + 48];
    int r = 0;
    if (item->kind == CONTENT_TEMPLATE)
        return each_of_template(item, each, arg);
    if (item->kind != CONTENT_SEQUENCE)
        return 0;
    const struct content_sequence *s = &item->sequence;
    for (unsigned i = 0; i < s->step_count && r == 0; i++) {
        snprintf(what, sizeof(what), "sequences.%s step %d", s->name, s->steps[i].step);
        if (s->steps[i].text)
            r = each(arg, item, what, s->steps[i].text);
    }
    return r;
}
