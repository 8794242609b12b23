/* settings.c - the table of fleetcast.conf. */
#include "coordinator/ctl/settings.h"

#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "shared/config.h"

#define KEY(key, kind, most)                                                                       \
    {                                                                                              \
        "fleetcast", #key, kind, offsetof(struct settings, key), NULL, 1, most, NULL               \
    }

static const struct config_key keys[] = {
    KEY(name, CONFIG_NAME, NAME_BYTES_MAX),
    KEY(key, CONFIG_FILE, 4096),
    KEY(peers, CONFIG_FILE, 4096),
    KEY(coordinator, CONFIG_TEXT, ADDRESS_BYTES_MAX),
    KEY(coordinator_name, CONFIG_NAME, NAME_BYTES_MAX),
};

static void *
on_section(void *arg, const char *section, const char *name, char *why)
{
    if (name[0] == '\0')
        return arg;
    snprintf(why, 128, "takes no name");
    return NULL;
}

int
settings_load(struct settings *ret, const char *path, FILE *errors)
{
    if (!path)
        path = getenv("FLEETCAST_CONFIG");
    if (!path || !path[0])
        path = "/etc/fleetcast/fleetcast.conf";
    struct settings s = {.path = path};
    int err = config_load(path, keys, ARRAY_SIZE(keys), on_section, &s, errors);
    if (err == 0)
        *ret = s;
    else
        settings_done(&s);
    return err;
}

void
settings_done(struct settings *s)
{
    config_free(keys, ARRAY_SIZE(keys), "fleetcast", s);
}
