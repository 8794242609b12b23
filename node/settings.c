/* settings.c - the table of keys with their bounds, and what must fit together. */
#include "node/settings.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "shared/config.h"
#include "shared/db.h"

#define TEXT_BYTES_MAX 1024u
#define MS(n)          ((n) *USEC_PER_MSEC)
#define SEC(n)         ((n) *USEC_PER_SEC)

#define AT(field)      offsetof(struct node_settings, field)
#define AT_PART(field) offsetof(struct partition_settings, field)

/* clang-format off */
static const struct config_key keys[] = {
    {"node", "name", CONFIG_NAME, AT(name), NULL, 0, 0, NULL},
    {"node", "state", CONFIG_DIR, AT(state_dir), NULL, 0, 0, NULL},
    {"node", "key", CONFIG_FILE, AT(key_path), NULL, 0, 0, NULL},
    {"node", "token_key", CONFIG_FILE, AT(token_key_path), NULL, 0, 0, NULL},
    {"node", "peers", CONFIG_FILE, AT(peers_path), NULL, 0, 0, NULL},
    {"node", "listen", CONFIG_ENDPOINT, AT(listen), NULL, 0, 0, NULL},
    {"node", "health", CONFIG_ADDRESS, AT(health), NULL, 0, 0, NULL},
    {"node", "weight", CONFIG_U32, AT(weight), "1", 1, 1000, NULL},
    {"coordinator", "name", CONFIG_NAME, AT(coordinator_name), NULL, 0, 0, NULL},
    {"coordinator", "rpc", CONFIG_ENDPOINT, AT(coordinator_url), NULL, 0, 0, NULL},
    {"coordinator", "feed", CONFIG_ENDPOINT, AT(feed_url), NULL, 0, 0, NULL},
    {"partition", "dsn", CONFIG_TEXT, AT_PART(dsn), NULL, 1, TEXT_BYTES_MAX, NULL},
    {"partition", "home", CONFIG_BOOL, AT_PART(home), "no", 0, 0, NULL},
    {"pool", "max", CONFIG_U32, AT(pool_max), "4", 1, DBPOOL_MAX, NULL},
    {"send", "slots", CONFIG_U32, AT(slots), "512", 1, SLOTS_MAX, NULL},
    {"send", "base_url", CONFIG_TEXT, AT(base_url), "https://graph.facebook.com", 1, LABEL_BYTES_MAX, NULL},
    {"send", "version", CONFIG_TEXT, AT(api_version), "v25.0", 1, 16, NULL},
    {"send", "ca_file", CONFIG_FILE, AT(ca_file), "", 0, 0, NULL},
    {"send", "timeout", CONFIG_SPAN, AT(timing.http), "20s", MS(100), SEC(120), NULL},
    {"send", "connect_timeout", CONFIG_SPAN, AT(connect_timeout), "3s", MS(100), SEC(60), NULL},
    {"send", "allow_http", CONFIG_BOOL, AT(allow_http), "no", 0, 0, NULL},
    {"pace", "warmup", CONFIG_TEXT, AT(warmup_text), "0:20,4:50,8:100,15:200,31:0", 1, 256, NULL},
    {"intake", "leads_max", CONFIG_U32, AT(intake.leads_max), "100000", 1, 10000000, NULL},
    {"intake", "disk_free_min", CONFIG_U32, AT(intake.disk_free_min), "10", 0, 90, NULL},
    {"retention", "message_days", CONFIG_U32, AT(retention.message_days), "90", 1, 3660, NULL},
    {"retention", "direct_days", CONFIG_U32, AT(retention.direct_days), "7", 1, 3660, NULL},
    {"retention", "rest", CONFIG_SPAN, AT(retention.rest), "60s", 0, SEC(3600), NULL},
    {"timing", "send_window", CONFIG_SPAN, AT(timing.send_window), "4s", MS(100), SEC(60), NULL},
    {"timing", "commit", CONFIG_SPAN, AT(timing.commit), "1500ms", MS(50), SEC(30), NULL},
    {"timing", "connect", CONFIG_SPAN, AT(timing.connect), "2s", MS(50), SEC(30), NULL},
    {"timing", "quarantine", CONFIG_SPAN, AT(timing.quarantine), "5s", MS(100), SEC(120), NULL},
    {"timing", "dead", CONFIG_SPAN, AT(timing.dead), "3s", MS(300), SEC(60), NULL},
    {"timing", "watchdog", CONFIG_SPAN, AT(timing.watchdog), "5s", 0, SEC(60), NULL},
    {"timing", "tick", CONFIG_SPAN, AT(timing.tick), "20ms", MS(1), MS(250), NULL},
    {"timing", "gap_min", CONFIG_SPAN, AT(timing.gap_min), "50ms", 0, SEC(60), NULL},
};
/* clang-format on */

static void *
on_section(void *arg, const char *section, const char *name, char *why)
{
    struct node_settings *s = arg;
    bool is_partition = strcmp(section, "partition") == 0;

    if (!is_partition && !*name)
        return s;
    if (!is_partition)
        snprintf(why, 128, "has no name");
    else if (!*name)
        snprintf(why, 128, "needs a name: [partition NAME]");
    else if (s->partition_count == PARTITIONS_MAX)
        snprintf(why, 128, "more than %u partitions", PARTITIONS_MAX);
    else {
        struct partition_settings *p = &s->partitions[s->partition_count++];
        snprintf(p->name, sizeof(p->name), "%s", name);
        return p;
    }
    return NULL;
}

/* A fault between keys, at the line of one of them. */
static _printf_(6, 7) int fault(FILE *errors, const char *path, const char *section,
                                const char *key, const char *value, const char *format, ...)
{
    va_list args;
    fprintf(errors, "%s:%u: [%s] %s = \"%s\": ", path, config_line(path, section, key), section,
            key, value);
    va_start(args, format);
    vfprintf(errors, format, args);
    va_end(args);
    fputc('\n', errors);
    return -EINVAL;
}

static int
key_fault(FILE *errors, const char *path, const char *key, const char *file, int err)
{
    return fault(errors, path, "node", key, file, "%s",
                 err == -EPERM    ? "mode must be 0600 or 0400"
                 : err == -EINVAL ? "not a key file (64 hex digits)"
                                  : strerror(-err));
}

/* The peers file must know us under this name, as a node, with this key; and the coordinator. */
static int
judge_peers(const struct node_settings *s, const char *path, FILE *errors)
{
    const struct peer *me = peers_find(&s->peers, s->name);
    const struct peer *coordinator = peers_find(&s->peers, s->coordinator_name);

    if (!me || me->role != ROLE_NODE)
        return fault(errors, path, "node", "name", s->name, "%s has no node of that name",
                     s->peers_path);
    if (memcmp(me->public_key, s->identity.public_key, SEAL_KEY_BYTES) != 0)
        return fault(errors, path, "node", "key", s->key_path, "not the key that %s has for %s",
                     s->peers_path, s->name);
    if (!coordinator || coordinator->role != ROLE_COORDINATOR)
        return fault(errors, path, "coordinator", "name", s->coordinator_name,
                     "%s has no coordinator of that name", s->peers_path);
    return 0;
}

static int
judge_partitions(const struct node_settings *s, const char *path, FILE *errors)
{
    unsigned home_count = 0;
    for (uint32_t n = 0; n < s->partition_count; n++)
        home_count += s->partitions[n].home;
    if (home_count >= 1 && home_count <= PARTITIONS_DRIVEN_MAX)
        return 0;
    fprintf(errors, "%s: %u [partition NAME] sections have home = yes: 1 to %u must\n", path,
            home_count, PARTITIONS_DRIVEN_MAX);
    return -EINVAL;
}

/* Where the first of the timing keys stands; 0 = only fallbacks. */
static unsigned
timing_line(const char *path)
{
    unsigned first = 0;
    for (size_t n = 0; n < ARRAY_SIZE(keys); n++) {
        bool timing = strcmp(keys[n].section, "timing") == 0;
        unsigned line = timing ? config_line(path, "timing", keys[n].key) : 0;
        if (line > 0 && (first == 0 || line < first))
            first = line;
    }
    return first;
}

/* The text itself is not shown: it may hold what nobody else should read. */
static int
judge_dsns(const struct node_settings *s, const char *path, FILE *errors)
{
    int err = 0;

    for (uint32_t n = 0; n < s->partition_count; n++) {
        const char *why = db_dsn_judge(s->partitions[n].dsn);
        char section[16 + NAME_BYTES_MAX];

        if (!why)
            continue;
        snprintf(section, sizeof(section), "partition %s", s->partitions[n].name);
        err = fault(errors, path, section, "dsn", "...", "%s", why);
    }
    return err;
}

static int
judge_pace(struct node_settings *s, const char *path, FILE *errors)
{
    const char *why;

    if (warmup_parse(&s->warmup, s->warmup_text, &why) < 0)
        return fault(errors, path, "pace", "warmup", s->warmup_text, "%s", why);
    return 0;
}

static int
judge_sending(const struct node_settings *s, const char *path, FILE *errors)
{
    char why[256];

    if (strncmp(s->base_url, "https://", 8) != 0 &&
        !(s->allow_http && strncmp(s->base_url, "http://", 7) == 0))
        return fault(errors, path, "send", "base_url", s->base_url,
                     "must begin with https:// (http:// needs allow_http = yes)");
    if (timing_check(&s->timing, why, sizeof(why)) < 0) {
        fprintf(errors, "%s:%u: [timing]: %s\n", path, timing_line(path), why);
        return -EINVAL;
    }
    return 0;
}

static int
judge(struct node_settings *s, const char *path, FILE *errors)
{
    int err = identity_load(&s->identity, s->key_path);
    if (err < 0)
        return key_fault(errors, path, "key", s->key_path, err);
    err = secret_key_read(s->token_key_path, s->token_key);
    if (err < 0)
        return key_fault(errors, path, "token_key", s->token_key_path, err);
    err = peers_load(&s->peers, s->peers_path, errors);
    if (err == 0)
        err = judge_peers(s, path, errors);
    if (err == 0)
        err = judge_partitions(s, path, errors);
    if (err == 0)
        err = judge_dsns(s, path, errors);
    if (err == 0)
        err = judge_pace(s, path, errors);
    if (err == 0)
        err = judge_sending(s, path, errors);
    return err;
}

int
settings_load(struct node_settings *ret, const char *path, FILE *errors)
{
    memset(ret, 0, sizeof(*ret));
    int err = config_load(path, keys, ARRAY_SIZE(keys), on_section, ret, errors);
    if (err == 0)
        err = judge(ret, path, errors);
    if (err < 0)
        settings_done(ret);
    return err;
}

void
settings_done(struct node_settings *s)
{
    static const char *const sections[] = {"node", "coordinator", "pool",      "send",
                                           "pace", "intake",      "retention", "timing"};

    identity_wipe(&s->identity);
    secret_wipe(s->token_key, sizeof(s->token_key));
    for (size_t n = 0; n < ARRAY_SIZE(sections); n++)
        config_free(keys, ARRAY_SIZE(keys), sections[n], s);
    for (uint32_t n = 0; n < s->partition_count; n++)
        config_free(keys, ARRAY_SIZE(keys), "partition", &s->partitions[n]);
}
