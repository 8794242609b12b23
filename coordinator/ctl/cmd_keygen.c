/* cmd_keygen.c - keygen FILE: a key that only its owner has, and the line that others need. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/terminal.h"
#include "proto/seal.h"
#include "shared/secret.h"

static int
failed(const char *path, int err)
{
    terminal_fault("cannot make the key file %s: %s", path, strerror(-err));
    if (err != -EEXIST)
        return CTL_FAILED;
    terminal_next("a key in use is never replaced: take another name, or remove the file yourself");
    return CTL_REFUSED;
}

static int
make_shared(const char *path)
{
    uint8_t key[SECRET_KEY_BYTES];
    int err = secret_key_create(path, key);
    secret_wipe(key, sizeof(key));
    if (err < 0)
        return failed(path, err);
    terminal_next("copy %s to every node ([node] token_key), mode 0600, and nowhere else", path);
    return CTL_DONE;
}

/* "keys/n1.key" -> "n1" */
static void
name_from_path(char *name, size_t size, const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    snprintf(name, size, "%.*s", (int) (dot && dot > base ? dot - base : (long) strlen(base)),
             base);
}

static bool
is_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return n >= 1 && n <= NAME_BYTES_MAX && name[n] == '\0';
}

static bool
is_role(const char *role)
{
    static const unsigned roles[] = {ROLE_COORDINATOR, ROLE_NODE, ROLE_ADMIN, ROLE_OBSERVER};
    for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
        if (strcmp(role, role_name(roles[i])) == 0)
            return true;
    return false;
}

/* For people the line as the peers file takes it; the same fields for programs. */
static int
print_line(const struct invocation *in, const char *name, const char *role, const char *hex)
{
    if (in->format == TABLE_TEXT) {
        printf("%s%s%s%s%s\n", role ? name : "", role ? " " : "", role ? role : "", role ? " " : "",
               hex);
        return fflush(stdout) == 0 ? CTL_DONE : CTL_FAILED;
    }
    struct table *t = table_new(stdout, in->format);
    if (!t)
        return CTL_FAILED;
    table_column(t, "name", NULL, TABLE_WORDS);
    table_column(t, "role", NULL, TABLE_WORDS);
    table_column(t, "public_key", NULL, TABLE_WORDS);
    table_words(t, "%s", name);
    table_words(t, "%s", role ? role : "");
    table_words(t, "%s", hex);
    return table_done(t) == 0 ? CTL_DONE : CTL_FAILED;
}

int
cmd_keygen(const struct invocation *in)
{
    const char *path = in->operands[0], *role = in->options[OPTION_ROLE];
    char name[256], hex[2 * SEAL_KEY_BYTES + 1];
    if (in->options[OPTION_SHARED])
        return make_shared(path);
    if (in->options[OPTION_NAME])
        snprintf(name, sizeof(name), "%s", in->options[OPTION_NAME]);
    else
        name_from_path(name, sizeof(name), path);
    if (role && !is_role(role)) {
        terminal_fault("--role \"%s\": coordinator, node, admin or observer", role);
        return CTL_USAGE;
    }
    if (!is_name(name)) {
        terminal_fault("--name \"%s\": a to z, 0 to 9 and '-', at most %u", name, NAME_BYTES_MAX);
        return CTL_USAGE;
    }
    struct identity identity;
    int err = identity_create(&identity, path);
    if (err < 0)
        return failed(path, err);
    secret_hex(hex, sizeof(hex), identity.public_key, sizeof(identity.public_key));
    identity_wipe(&identity);
    int code = print_line(in, name, role, hex);
    if (!role)
        terminal_next("add a line to every peers file: %s ROLE %s", name, hex);
    return code;
}
