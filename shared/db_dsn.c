/* Splits a DSN into hosts and makes the parameters of one connection attempt. */
#include "shared/db_dsn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARAMETERS_MAX 64u
#define OPTIONS_MAX    2048u

struct host {
    const char *name; /* "" = absent */
    const char *address;
    const char *port;
};

struct db_dsn {
    PQconninfoOption *options;
    char *names, *addresses, *ports; /* the lists, cut in place */
    struct host hosts[DB_HOSTS_MAX];
    unsigned host_count;
};

/* What every connection gets, whatever the DSN says. */
static const char *const forced[][2] = {
    {"target_session_attrs", "read-write"},
    {"client_encoding", "UTF8"},
    {"keepalives", "1"},
    {"keepalives_idle", "5"},
    {"keepalives_interval", "1"},
    {"keepalives_count", "3"},
    {"tcp_user_timeout", "5000"},
};

static const char *
option(const struct db_dsn *d, const char *keyword)
{
    for (const PQconninfoOption *o = d->options; o->keyword; o++)
        if (strcmp(o->keyword, keyword) == 0)
            return o->val ? o->val : "";
    return "";
}

/* Cuts *list (a copy of `text`) at its commas. Returns the number of parts, 0 for "". */
static int
cut(const char *text, char **list, const char *parts[static DB_HOSTS_MAX])
{
    int n = 0;
    char *rest;

    *list = rest = strdup(text);
    if (!*list)
        return -ENOMEM;
    if (*text == '\0')
        return 0;
    for (char *part; (part = strsep(&rest, ","));) {
        if (n == (int) DB_HOSTS_MAX)
            return -EINVAL;
        parts[n++] = part;
    }
    return n;
}

static int
split_hosts(struct db_dsn *d)
{
    const char *names[DB_HOSTS_MAX], *addresses[DB_HOSTS_MAX], *ports[DB_HOSTS_MAX];
    int name_count = cut(option(d, "host"), &d->names, names);
    int address_count = cut(option(d, "hostaddr"), &d->addresses, addresses);
    int port_count = cut(option(d, "port"), &d->ports, ports);

    if (name_count < 0 || address_count < 0 || port_count < 0)
        return name_count == -ENOMEM || address_count == -ENOMEM || port_count == -ENOMEM ? -ENOMEM
                                                                                          : -EINVAL;
    int count = MAX_OF(1, MAX_OF(name_count, address_count)); /* none: libpq's own default socket */
    if ((name_count && name_count != count) || (address_count && address_count != count) ||
        (port_count > 1 && port_count != count))
        return -EINVAL;
    for (int i = 0; i < count; i++) {
        d->hosts[i].name = name_count ? names[i] : "";
        d->hosts[i].address = address_count ? addresses[i] : "";
        d->hosts[i].port = port_count ? ports[port_count > 1 ? i : 0] : "";
    }
    d->host_count = (unsigned) count;
    return 0;
}

int
db_dsn_parse(struct db_dsn **ret, const char *dsn)
{
    struct db_dsn *d = calloc(1, sizeof(*d));

    if (!d)
        return -ENOMEM;
    d->options = PQconninfoParse(dsn, NULL);
    int r = d->options ? split_hosts(d) : -EINVAL;
    if (r < 0) {
        db_dsn_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

struct db_dsn *
db_dsn_free(struct db_dsn *d)
{
    if (!d)
        return NULL;
    PQconninfoFree(d->options);
    free(d->names);
    free(d->addresses);
    free(d->ports);
    free(d);
    return NULL;
}

unsigned
db_dsn_host_count(const struct db_dsn *d)
{
    return d->host_count;
}

const char *
db_dsn_name(const struct db_dsn *d, unsigned host)
{
    const struct host *h = &d->hosts[host];
    bool unix_socket = h->name[0] == '/' || h->name[0] == '@';

    return h->name[0] == '\0' || h->address[0] != '\0' || unix_socket ? NULL : h->name;
}

/* Appends " -c name=value"; blanks and backslashes are escaped as PostgreSQL's options want. */
static bool
append_setting(char *buf, size_t size, const char *name, const char *value)
{
    size_t used = strlen(buf);
    int n = snprintf(buf + used, size - used, " -c %s=", name);

    if (n < 0 || (size_t) n >= size - used)
        return false;
    used += (size_t) n;
    for (; *value; value++) {
        if (used + 3 > size)
            return false;
        if (*value == ' ' || *value == '\\')
            buf[used++] = '\\';
        buf[used++] = *value;
    }
    buf[used] = '\0';
    return true;
}

static bool
make_options(char *buf, size_t size, const char *from_dsn, const char *const *settings)
{
    if ((size_t) snprintf(buf, size, "%s", from_dsn) >= size)
        return false;
    /* Custom plans cost a planning for each of the first five runs, and then may come back. */
    if (!append_setting(buf, size, "plan_cache_mode", "force_generic_plan"))
        return false;
    for (; settings && settings[0]; settings += 2)
        if (!append_setting(buf, size, settings[0], settings[1]))
            return false;
    return true;
}

struct parameters {
    const char *keywords[PARAMETERS_MAX + 1];
    const char *values[PARAMETERS_MAX + 1];
    unsigned count;
};

/* A later value of the same keyword wins, as in libpq. */
static void
put(struct parameters *p, const char *keyword, const char *value)
{
    for (unsigned i = 0; i < p->count; i++)
        if (strcmp(p->keywords[i], keyword) == 0) {
            p->values[i] = value;
            return;
        }
    if (p->count < PARAMETERS_MAX) {
        p->keywords[p->count] = keyword;
        p->values[p->count++] = value;
    }
}

PGconn *
db_dsn_connect(const struct db_dsn *d, unsigned host, const char *address,
               const struct db_config *config)
{
    const struct host *h = &d->hosts[host];
    struct parameters p = {.count = 0};
    char options[OPTIONS_MAX];

    if (!make_options(options, sizeof(options), option(d, "options"), config->settings))
        return NULL;
    put(&p, "gssencmode",
        "disable"); /* a look for Kerberos tickets blocks; the DSN may ask for it */
    for (const PQconninfoOption *o = d->options; o->keyword; o++)
        if (o->val)
            put(&p, o->keyword, o->val);
    put(&p, "host", h->name);
    put(&p, "hostaddr", address ? address : h->address);
    put(&p, "port", h->port);
    put(&p, "application_name", config->application_name);
    put(&p, "options", options);
    for (size_t i = 0; i < ARRAY_SIZE(forced); i++)
        put(&p, forced[i][0], forced[i][1]);
    return PQconnectStartParams(p.keywords, p.values, 0);
}

const char *
db_dsn_judge(const char *dsn)
{
    struct db_dsn *d = NULL;
    const char *why = NULL;

    switch (db_dsn_parse(&d, dsn)) {
    case 0: break;
    case -ENOMEM: return "out of memory";
    default: return "not a connection string such as \"host=... dbname=... user=...\"";
    }
    for (const PQconninfoOption *o = d->options; o->keyword; o++)
        if (strcmp(o->keyword, "password") == 0 && o->val && o->val[0])
            why = "holds a password: put it into a file and name that with passfile=PATH";
    db_dsn_free(d);
    return why;
}
