/* Judges one value by its kind and bounds. */
#include "shared/config_value.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/parse.h"

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz0123456789-"

bool
config_name_valid(const char *name)
{
    size_t bytes = strlen(name);
    return bytes >= 1 && bytes <= CONFIG_NAME_BYTES_MAX && strspn(name, NAME_CHARS) == bytes;
}

const char *
config_shown(char buf[static CONFIG_SHOWN_BYTES_MAX + 1], const char *value)
{
    size_t bytes = strnlen(value, CONFIG_SHOWN_BYTES_MAX);
    for (size_t i = 0; i < bytes; i++)
        buf[i] = (unsigned char) value[i] < 0x20 || value[i] == 0x7f ? '?' : value[i];
    buf[bytes] = '\0';
    return buf;
}

static void
span_text(char buf[static 24], usec_t span)
{
    static const struct {
        usec_t usec;
        const char *unit;
    } units[] = {{3600 * USEC_PER_SEC, "h"}, {60 * USEC_PER_SEC, "m"}, {USEC_PER_SEC, "s"}};
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (span && span % units[i].usec == 0) {
            snprintf(buf, 24, "%llu%s", (unsigned long long) (span / units[i].usec), units[i].unit);
            return;
        }
    }
    snprintf(buf, 24, "%llums", (unsigned long long) (span / USEC_PER_MSEC));
}

static bool
judge_u32(const struct config_key *key, const char *value, uint32_t *ret, char *why)
{
    int rc = parse_u32(value, strlen(value), (uint32_t) key->min, (uint32_t) key->max, ret);
    if (rc < 0)
        snprintf(why, CONFIG_WHY_SIZE, "%s (%u to %u)",
                 rc == -ERANGE ? "out of range" : "not a whole number", (unsigned) key->min,
                 (unsigned) key->max);
    return rc == 0;
}

static bool
judge_span(const struct config_key *key, const char *value, usec_t *ret, char *why)
{
    int rc = parse_span(value, key->min, key->max, ret);
    if (rc < 0) {
        char low[24], high[24];
        span_text(low, key->min);
        span_text(high, key->max);
        snprintf(why, CONFIG_WHY_SIZE, "%s (%s to %s)",
                 rc == -ERANGE ? "out of range" : "not a time with its unit (ms, s, m, h, d)", low,
                 high);
    }
    return rc == 0;
}

static bool
judge_choice(const struct config_key *key, const char *value, uint32_t *ret, char *why)
{
    size_t used = (size_t) snprintf(why, CONFIG_WHY_SIZE, "not one of:");
    for (uint32_t i = 0; key->choices[i]; i++) {
        if (strcmp(key->choices[i], value) == 0) {
            *ret = i;
            return true;
        }
        if (used < CONFIG_WHY_SIZE)
            used += (size_t) snprintf(why + used, CONFIG_WHY_SIZE - used, " %s", key->choices[i]);
    }
    return false;
}

/* Why the text cannot be the value of `key`, or NULL. */
static const char *
judge_text(const struct config_key *key, const char *value)
{
    size_t bytes = strlen(value);
    char ip[46];
    uint16_t port;
    struct stat st;
    switch (key->kind) {
    case CONFIG_TEXT:
        return bytes < key->min ? "too short" : key->max && bytes > key->max ? "too long" : NULL;
    case CONFIG_NAME: return config_name_valid(value) ? NULL : CONFIG_NAME_WHY;
    case CONFIG_ADDRESS:
        return parse_address(value, ip, &port) < 0 ? "not an address (ip:port)" : NULL;
    case CONFIG_ENDPOINT:
        if (strncmp(value, "tcp://", 6) == 0 && parse_address(value + 6, ip, &port) == 0)
            return NULL;
        return "not an endpoint (tcp://ip:port)";
    case CONFIG_FILE:
        if (stat(value, &st) < 0 || eaccess(value, R_OK) < 0)
            return strerror(errno);
        return S_ISREG(st.st_mode) ? NULL : "not a regular file";
    case CONFIG_DIR:
        if (stat(value, &st) < 0)
            return strerror(errno);
        if (!S_ISDIR(st.st_mode))
            return "not a directory";
        return eaccess(value, W_OK | X_OK) < 0 ? "not writable" : NULL;
    default: assert(false); return NULL;
    }
}

bool
config_kind_is_text(enum config_kind kind)
{
    return kind == CONFIG_TEXT || kind == CONFIG_NAME || kind == CONFIG_FILE ||
           kind == CONFIG_DIR || kind == CONFIG_ADDRESS || kind == CONFIG_ENDPOINT;
}

static int
store_text(const struct config_key *key, const char *value, char **field, char *why)
{
    const char *reason = *value ? judge_text(key, value) : NULL; /* "": a fallback that is none */
    if (reason) {
        snprintf(why, CONFIG_WHY_SIZE, "%s", reason);
        return -EINVAL;
    }
    char *copy = strdup(value);
    if (!copy)
        return -ENOMEM;
    *field = copy;
    return 0;
}

int
config_value_store(const struct config_key *key, const char *value, void *target, char *why)
{
    void *field = (char *) target + key->offset;
    bool ok;
    if (config_kind_is_text(key->kind))
        return store_text(key, value, field, why);
    switch (key->kind) {
    case CONFIG_U32: ok = judge_u32(key, value, field, why); break;
    case CONFIG_SPAN: ok = judge_span(key, value, field, why); break;
    case CONFIG_CHOICE: ok = judge_choice(key, value, field, why); break;
    default:
        assert(key->kind == CONFIG_BOOL);
        ok = parse_bool(value, field) == 0;
        snprintf(why, CONFIG_WHY_SIZE, "neither yes nor no");
    }
    return ok ? 0 : -EINVAL;
}
