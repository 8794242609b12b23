/* inih finds keys and values; lines and sections are judged here, values by config_value. */
#include "shared/config.h"

#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "shared/config_value.h"
#include "shared/parse.h"

#define LINE_BYTES_MAX 1000u
#define KEY_COUNT_MAX  128u
#define WHY_SIZE       128u /* promised to config_section_fn */

struct section {
    char *word, *name; /* "[partition p1]": "partition", "p1" */
    unsigned line;
    void *target; /* NULL: refused, its keys are passed over */
    bool seen[KEY_COUNT_MAX];
};

struct loader {
    const char *path;
    const struct config_key *keys;
    size_t key_count;
    config_section_fn *on_section;
    void *arg;
    FILE *errors;
    FILE *file;
    unsigned fault_count;
    bool out_of_memory;
    int read_error; /* -errno */

    char *line; /* the line that inih is reading, trimmed, without its comment; whole */
    size_t line_size;
    unsigned line_number;
    bool expects_key; /* inih has yet to find a key in it */

    struct section **sections; /* the last one is open */
    size_t section_count;
};

static _printf_(3, 4) void fault(struct loader *l, unsigned line, const char *format, ...)
{
    va_list arguments;
    l->fault_count++;
    fprintf(l->errors, "%s:%u: ", l->path, line);
    va_start(arguments, format);
    vfprintf(l->errors, format, arguments);
    va_end(arguments);
    fputc('\n', l->errors);
}

static const char *
section_title(char buf[static 64], const struct section *s)
{
    snprintf(buf, 64, "[%.32s%s%.24s]", s->word, *s->name ? " " : "", s->name);
    return buf;
}

/* ---- sections and keys ---- */

static void
take_value(struct loader *l, struct section *s, size_t key_index, unsigned line, const char *value)
{
    char why[CONFIG_WHY_SIZE], title[64], text[CONFIG_SHOWN_BYTES_MAX + 1];
    const struct config_key *key = &l->keys[key_index];
    int rc = config_value_store(key, value, s->target, why);
    if (rc == -ENOMEM)
        l->out_of_memory = true;
    else if (rc < 0)
        fault(l, line, "%s %s = \"%s\": %s", section_title(title, s), key->key,
              config_shown(text, value), why);
}

static bool
section_known(const struct loader *l, const char *word)
{
    for (size_t i = 0; i < l->key_count; i++) {
        if (strcmp(l->keys[i].section, word) == 0)
            return true;
    }
    return false;
}

static const struct section *
section_find(const struct loader *l, const char *word, const char *name)
{
    for (size_t i = 0; i < l->section_count; i++) {
        const struct section *s = l->sections[i];
        if (strcmp(s->word, word) == 0 && (!name || strcmp(s->name, name) == 0))
            return s;
    }
    return NULL;
}

static void
section_free(struct section *s)
{
    if (!s)
        return;
    free(s->word);
    free(s->name);
    free(s);
}

/* Opens "word name"; NULL: out of memory. */
static struct section *
section_add(struct loader *l, struct slice word, const char *name, unsigned line)
{
    struct section *s = calloc(1, sizeof(*s));
    struct section **all = reallocarray(l->sections, l->section_count + 1, sizeof(*all));
    if (all)
        l->sections = all;
    if (s) {
        s->word = strndup(word.data, word.bytes);
        s->name = strdup(name);
        s->line = line;
    }
    if (!all || !s || !s->word || !s->name) {
        l->out_of_memory = true;
        section_free(s);
        return NULL;
    }
    l->sections[l->section_count++] = s;
    return s;
}

static void
open_section(struct loader *l, const char *header)
{
    char title[64], why[WHY_SIZE] = "refused";
    size_t word_bytes = strcspn(header, " \t");
    const char *name = header + word_bytes + strspn(header + word_bytes, " \t");
    struct section *s = section_add(l, (struct slice){header, word_bytes}, name, l->line_number);
    if (!s)
        return;
    const struct section *twin = section_find(l, s->word, s->name);
    section_title(title, s);
    if (!section_known(l, s->word))
        fault(l, s->line, "%s: unknown section", title);
    else if (*name && !config_name_valid(name))
        fault(l, s->line, "%s: %s", title, CONFIG_NAME_WHY);
    else if (twin != s)
        fault(l, s->line, "%s: stands in line %u already", title, twin->line);
    else if (!(s->target = l->on_section(l->arg, s->word, s->name, why)))
        fault(l, s->line, "%s: %.*s", title, (int) WHY_SIZE - 1, why);
}

static void
take_key(struct loader *l, const char *name, const char *value)
{
    char title[64], text[CONFIG_SHOWN_BYTES_MAX + 1];
    if (l->section_count == 0) {
        fault(l, l->line_number, "%s: stands before the first [section]", config_shown(text, name));
        return;
    }
    struct section *s = l->sections[l->section_count - 1];
    if (!s->target)
        return;
    size_t i = 0;
    while (i < l->key_count &&
           (strcmp(l->keys[i].section, s->word) != 0 || strcmp(l->keys[i].key, name) != 0))
        i++;
    section_title(title, s);
    if (i == l->key_count)
        fault(l, l->line_number, "%s %s: unknown key", title, config_shown(text, name));
    else if (s->seen[i])
        fault(l, l->line_number, "%s %s: stands here twice", title, l->keys[i].key);
    else if (!*value)
        fault(l, l->line_number, "%s %s: has no value", title, l->keys[i].key);
    else
        take_value(l, s, i, l->line_number, value);
    if (i < l->key_count)
        s->seen[i] = true;
}

/* After the file: what was not said gets its fallback. */
static void
complete_section(struct loader *l, struct section *s)
{
    char title[64];
    for (size_t i = 0; s->target && i < l->key_count; i++) {
        const struct config_key *key = &l->keys[i];
        if (s->seen[i] || strcmp(key->section, s->word) != 0)
            continue;
        if (key->fallback)
            take_value(l, s, i, s->line, key->fallback);
        else
            fault(l, s->line, "%s %s: is required", section_title(title, s), key->key);
    }
}

/* Sections of the table that the file lacks: all their values are fallbacks. */
static void
add_absent_sections(struct loader *l)
{
    for (size_t i = 0; i < l->key_count; i++) {
        const char *word = l->keys[i].section;
        char why[WHY_SIZE] = "";
        if (section_find(l, word, NULL))
            continue;
        struct section *s = section_add(l, (struct slice){word, strlen(word)}, "", l->line_number);
        if (!s)
            return;
        s->target = l->on_section(l->arg, word, "", why); /* NULL: may be absent */
    }
}

/* ---- lines ---- */

/* Cuts comment and blanks; returns where the text begins. */
static char *
clean(char *line)
{
    if (strncmp(line, "\xef\xbb\xbf", 3) == 0)
        line += 3;
    line += strspn(line, " \t");
    for (char *p = line; *p; p++) {
        bool first = p == line;
        if ((*p == ';' && (first || p[-1] == ' ' || p[-1] == '\t')) || (*p == '#' && first)) {
            *p = '\0';
            break;
        }
    }
    size_t bytes = strlen(line);
    while (bytes && strchr(" \t\r\n", line[bytes - 1]))
        line[--bytes] = '\0';
    return line;
}

static void
judge_key_found(struct loader *l)
{
    if (l->expects_key)
        fault(l, l->line_number, "neither [section] nor key = value");
    l->expects_key = false;
}

/* Blanks that inih strips and we do not (\v, \f), and what could move the cursor of a terminal. */
static bool
has_control(const char *text)
{
    for (; *text; text++) {
        if (((unsigned char) *text < 0x20 && *text != '\t') || *text == 0x7f)
            return true;
    }
    return false;
}

/* Opens the section that l->line begins, or gives its key and value to inih in `buf`. */
static void
take_line(struct loader *l, char *buf, int size)
{
    char *text = clean(l->line);
    size_t bytes = strlen(text);
    memmove(l->line, text, bytes + 1);
    if (has_control(l->line)) {
        fault(l, l->line_number, "line holds control characters");
    } else if (*l->line == '[' && l->line[bytes - 1] == ']') {
        l->line[bytes - 1] = '\0';
        open_section(l, l->line + 1);
    } else if (bytes) {
        l->expects_key = true;
        snprintf(buf, (size_t) size, "%.*s\n", size - 2, l->line);
    }
}

/*
 * inih's reader. It tells no line numbers and cuts lines at its own (build-time) limit: so it gets
 * one line a call, and of a long one the beginning only; the value is taken from l->line.
 */
static char *
next_line(char *buf, int size, void *arg)
{
    struct loader *l = arg;
    judge_key_found(l);
    ssize_t bytes = getline(&l->line, &l->line_size, l->file);
    if (bytes < 0) {
        if (ferror(l->file))
            l->read_error = -errno;
        return NULL;
    }
    l->line_number++;
    snprintf(buf, (size_t) size, "\n");
    if ((size_t) bytes > LINE_BYTES_MAX)
        fault(l, l->line_number, "line is longer than %u bytes", LINE_BYTES_MAX);
    else if (!parse_utf8_valid((struct slice){l->line, (size_t) bytes}))
        fault(l, l->line_number, "line is not UTF-8 text");
    else
        take_line(l, buf, size);
    return buf;
}

static int
found_key(void *arg, const char *section _unused_, const char *name, const char *value)
{
    struct loader *l = arg;
    const char *whole = l->line + strcspn(l->line, "=:") + 1;
    whole += strspn(whole, " \t");
    assert(l->expects_key && strncmp(whole, value, strlen(value)) == 0);
    l->expects_key = false;
    take_key(l, name, whole);
    return 1;
}

int
config_load(const char *path, const struct config_key *keys, size_t key_count,
            config_section_fn *on_section, void *arg, FILE *errors)
{
    assert(key_count <= KEY_COUNT_MAX);
    struct loader l = {.path = path,
                       .keys = keys,
                       .key_count = key_count,
                       .on_section = on_section,
                       .arg = arg,
                       .errors = errors,
                       .file = fopen(path, "re")};
    int rc = l.file ? 0 : -errno;
    if (l.file) {
        if (ini_parse_stream(next_line, &l, found_key, &l) == -2)
            l.out_of_memory = true;
        rc = l.read_error;
        fclose(l.file);
    }
    if (rc < 0) {
        fprintf(errors, "%s: cannot be read: %s\n", path, strerror(-rc));
    } else {
        add_absent_sections(&l);
        for (size_t i = 0; i < l.section_count; i++)
            complete_section(&l, l.sections[i]);
    }
    for (size_t i = 0; i < l.section_count; i++)
        section_free(l.sections[i]);
    free(l.sections);
    free(l.line);
    if (l.out_of_memory)
        return -ENOMEM;
    return rc < 0 ? rc : l.fault_count ? -EINVAL : 0;
}

void
config_free(const struct config_key *keys, size_t key_count, const char *section, void *target)
{
    for (size_t i = 0; i < key_count; i++) {
        if (strcmp(keys[i].section, section) != 0 || !config_kind_is_text(keys[i].kind))
            continue;
        char **field = (char **) ((char *) target + keys[i].offset);
        free(*field);
        *field = NULL;
    }
}

unsigned
config_line(const char *path, const char *section, const char *key)
{
    char line[LINE_BYTES_MAX + 2], title[64] = "";
    unsigned number = 0, found = 0;
    FILE *file = fopen(path, "re");

    while (file && !found && fgets(line, sizeof(line), file)) {
        const char *at = line + strspn(line, " \t");
        size_t bytes = strcspn(at, " \t=");
        number++;
        if (*at == '[')
            snprintf(title, sizeof(title), "%.*s", (int) strcspn(at + 1, "]"), at + 1);
        else if (strcmp(title, section) == 0 && strlen(key) == bytes &&
                 strncmp(at, key, bytes) == 0)
            found = number;
    }
    if (file)
        fclose(file);
    return found;
}

int
config_read_told(const char *program, config_read_fn *read, void *arg)
{
    char *faults = NULL;
    size_t bytes = 0;
    FILE *errors = open_memstream(&faults, &bytes);

    if (!errors) {
        fprintf(stderr, "%s: out of memory\n", program);
        return -ENOMEM;
    }
    int err = read(arg, errors);
    fclose(errors);
    for (const char *line = faults; *line;) {
        size_t length = strcspn(line, "\n");
        fprintf(stderr, "%s: %.*s\n", program, (int) length, line);
        line += length + (line[length] == '\n');
    }
    free(faults);
    return err;
}
