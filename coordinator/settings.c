/* The coordinator's configuration file, and whether what it names fits together. */
#include "coordinator/settings.h"

#include <errno.h>
#include <string.h>

#include "shared/config.h"
#include "shared/db.h"
#include "shared/parse.h"

#define TEXT_BYTES_MAX 1024u

#define AT(field) offsetof(struct coordinator_settings, field)

static const struct config_key keys[] = {
    {"coordinator", "name", CONFIG_NAME, AT(name), NULL, 0, 0, NULL},
    {"coordinator", "key", CONFIG_FILE, AT(key), NULL, 0, 0, NULL},
    {"coordinator", "peers", CONFIG_FILE, AT(peers_path), NULL, 0, 0, NULL},
    {"coordinator", "listen", CONFIG_TEXT, AT(listen), NULL, 0, ADDRESS_BYTES_MAX, NULL},
    {"coordinator", "feed", CONFIG_TEXT, AT(feed), NULL, 0, ADDRESS_BYTES_MAX, NULL},
    {"coordinator", "health", CONFIG_ADDRESS, AT(health), NULL, 0, 0, NULL},
    {"coordinator", "catalog", CONFIG_TEXT, AT(catalog), NULL, 0, TEXT_BYTES_MAX, NULL},
    {"timing", "dead", CONFIG_SPAN, AT(dead), "3s", 300 * USEC_PER_MSEC, 60 * USEC_PER_SEC, NULL},
    {"timing", "watchdog", CONFIG_SPAN, AT(watchdog), "5s", USEC_PER_SEC, 60 * USEC_PER_SEC, NULL},
};

static void *
on_section(void *arg, const char *section, const char *name, char *why)
{
    if (name[0] == '\0' && (strcmp(section, "coordinator") == 0 || strcmp(section, "timing") == 0))
        return arg;
    snprintf(why, 128, "no such section");
    return NULL;
}

/* A fault between keys, at the line of one of them. */
static int
fault(FILE *errors, const char *path, const char *key, const char *value, const char *reason)
{
    fprintf(errors, "%s:%u: [coordinator] %s = \"%s\": %s\n", path,
            config_line(path, "coordinator", key), key, value, reason);
    return -EINVAL;
}

static bool
judge_url(const char *path, const char *key, const char *url, FILE *errors)
{
    char ip[46];
    uint16_t port;
    if (strncmp(url, "tcp://", 6) == 0 && parse_address(url + 6, ip, &port) == 0)
        return true;
    fault(errors, path, key, url, "not of the form tcp://ip:port");
    return false;
}

/* The peers file must know us under this name, as coordinator, with this key. */
static bool
judge_identity(const struct coordinator_settings *s, const char *path, FILE *errors)
{
    const struct peer *me = peers_find(&s->peers, s->name);
    if (!me || me->role != ROLE_COORDINATOR) {
        fault(errors, path, "name", s->name, "the peers file has no coordinator of that name");
        return false;
    }
    if (memcmp(me->public_key, s->identity.public_key, SEAL_KEY_BYTES) != 0) {
        fault(errors, path, "key", s->key, "not the key that the peers file has for this name");
        return false;
    }
    return true;
}

static int
judge(struct coordinator_settings *s, const char *path, FILE *errors)
{
    bool urls = judge_url(path, "listen", s->listen, errors);
    urls = judge_url(path, "feed", s->feed, errors) && urls;
    int err = identity_load(&s->identity, s->key);
    if (err < 0) {
        fault(errors, path, "key", s->key,
              err == -EPERM    ? "mode must be 0600 or 0400"
              : err == -EINVAL ? "not a key file (64 hex digits)"
                               : strerror(-err));
        return err;
    }
    err = peers_load(&s->peers, s->peers_path, errors);
    if (err < 0)
        return err;
    const char *why = db_dsn_judge(s->catalog);
    if (why) /* its text may hold what nobody else should read */
        fault(errors, path, "catalog", "...", why);
    return judge_identity(s, path, errors) && urls && !why ? 0 : -EINVAL;
}

int
coordinator_settings_load(struct coordinator_settings *ret, const char *path, FILE *errors)
{
    struct coordinator_settings s = {0};
    int err = config_load(path, keys, ARRAY_SIZE(keys), on_section, &s, errors);
    if (err == 0)
        err = judge(&s, path, errors);
    if (err < 0)
        coordinator_settings_done(&s);
    else
        *ret = s;
    return err;
}

void
coordinator_settings_done(struct coordinator_settings *s)
{
    identity_wipe(&s->identity);
    config_free(keys, ARRAY_SIZE(keys), "coordinator", s);
    config_free(keys, ARRAY_SIZE(keys), "timing", s);
}
