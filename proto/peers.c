/* peers.c - the peers file: who may speak in this cluster, one line each. */
#include <errno.h>
#include <string.h>

#include "proto/seal.h"
#include "shared/secret.h"

#define LINE_BYTES_MAX 256u

static const struct {
    const char *name;
    unsigned role;
} roles[] = {
    {"coordinator", ROLE_COORDINATOR},
    {"node", ROLE_NODE},
    {"admin", ROLE_ADMIN},
    {"observer", ROLE_OBSERVER},
};

const char *
role_name(unsigned role)
{
    for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
        if (roles[i].role == role)
            return roles[i].name;
    return "?";
}

const struct peer *
peers_find(const struct peers *p, const char *name)
{
    for (unsigned i = 0; i < p->count; i++)
        if (strcmp(p->peers[i].name, name) == 0)
            return &p->peers[i];
    return NULL;
}

static bool
is_name(const char *text, size_t bytes_max)
{
    size_t bytes = strlen(text);

    return bytes >= 1 && bytes <= bytes_max &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == bytes;
}

/* The line's words; the count, or more than `most` when there are too many. */
static unsigned
split(char *line, char **words, unsigned most)
{
    unsigned count = 0;
    char *rest = NULL;

    for (char *word = strtok_r(line, " \t\r\n", &rest); word;
         word = strtok_r(NULL, " \t\r\n", &rest)) {
        if (count == most)
            return most + 1;
        words[count++] = word;
    }
    return count;
}

/* NULL, or why the words do not make another peer. */
static const char *
add_peer(struct peers *p, char **words)
{
    struct peer peer = {.role = 0};

    if (!is_name(words[0], NAME_BYTES_MAX))
        return "a name is 1 to 24 of a-z, 0-9 and -";
    if (peers_find(p, words[0]))
        return "this name stands above already";
    for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
        if (strcmp(roles[i].name, words[1]) == 0)
            peer.role = roles[i].role;
    if (!peer.role)
        return "a role is coordinator, node, admin or observer";
    if (secret_unhex(peer.public_key, sizeof(peer.public_key), words[2], strlen(words[2])) < 0)
        return "a public key is 64 hex digits";
    for (unsigned i = 0; i < p->count; i++)
        if (memcmp(p->peers[i].public_key, peer.public_key, sizeof(peer.public_key)) == 0)
            return "this key stands above already, under another name";
    if (p->count == PEERS_MAX)
        return "more peers than this program holds";
    memcpy(peer.name, words[0], strlen(words[0]) + 1);
    p->peers[p->count++] = peer;
    return NULL;
}

static const char *
set_cluster(struct peers *p, const char *name)
{
    if (p->cluster[0])
        return "the cluster is named twice";
    if (!is_name(name, sizeof(p->cluster) - 1))
        return "a cluster's name is 1 to 64 of a-z, 0-9 and -";
    memcpy(p->cluster, name, strlen(name) + 1);
    return NULL;
}

static const char *
take_line(struct peers *p, char *line)
{
    char *words[3];
    unsigned count;
    char *comment = strchr(line, '#');

    if (comment)
        *comment = '\0';
    count = split(line, words, ARRAY_SIZE(words));
    if (count == 0)
        return NULL;
    if (count == 2 && strcmp(words[0], "cluster") == 0)
        return set_cluster(p, words[1]);
    if (count == 3)
        return add_peer(p, words);
    return "a line is \"cluster NAME\" or \"NAME ROLE PUBLIC-KEY\"";
}

static unsigned
read_lines(struct peers *p, FILE *f, const char *path, FILE *errors)
{
    char line[LINE_BYTES_MAX];
    unsigned number = 0, faults = 0;

    while (fgets(line, sizeof(line), f)) {
        const char *why;

        number++;
        if (strlen(line) == sizeof(line) - 1 && line[sizeof(line) - 2] != '\n') {
            fprintf(errors, "%s:%u: the line is longer than %u bytes\n", path, number,
                    LINE_BYTES_MAX - 2);
            return faults + 1; /* what follows would be read as lines of their own */
        }
        why = take_line(p, line);
        if (why) {
            fprintf(errors, "%s:%u: %s\n", path, number, why);
            faults++;
        }
    }
    if (!p->cluster[0]) {
        fprintf(errors, "%s:%u: no \"cluster NAME\" line\n", path, number);
        faults++;
    }
    return faults;
}

int
peers_load(struct peers *ret, const char *path, FILE *errors)
{
    struct peers p = {.count = 0};
    FILE *f = fopen(path, "re");
    unsigned faults;
    int err;

    if (!f) {
        err = errno;
        fprintf(errors, "%s:0: cannot be read: %s\n", path, strerror(err));
        return -err;
    }
    errno = 0;
    faults = read_lines(&p, f, path, errors);
    err = ferror(f) ? errno : 0;
    fclose(f);
    if (err) {
        fprintf(errors, "%s:0: cannot be read: %s\n", path, strerror(err));
        return -err;
    }
    if (faults)
        return -EINVAL;
    *ret = p;
    return 0;
}
