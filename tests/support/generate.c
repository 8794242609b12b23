/* generate.c - input files from a seed: devices.csv, leads.csv, content.yaml. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "shared/base.h"
#include "shared/parse.h"
#include "shared/rng.h"

static const char *const names[] = {"Ann", "Bo",    "Chen",     "Dewi", "Eka",  "Farah",
                                    "Goh", "Hani",  "Iskandar", "Jun",  "Kavi", "Li",
                                    "Mei", "Nurul", "Ømer",     "Priya"};
static const char *const cities[] = {"Kuala Lumpur",      "Penang",  "Johor, South",
                                     "Ipoh \"old town\"", "Kuching", ""};

static FILE *
open_in(const char *dir, const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    if (!f)
        fprintf(stderr, "generate: %s: %s\n", path, strerror(errno));
    return f;
}

static void
put_quoted(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', f);
        fputc(*text, f);
    }
    fputc('"', f);
}

int
main(int argc, char **argv)
{
    uint32_t devices = 90, leads = 7, low = 100, high = 300, seed = 4711, first = 1;
    const char *dir = ".", *transport = "cloudapi";
    static const struct option options[] = {
        {"devices", 1, NULL, 'd'},   {"leads", 1, NULL, 'l'}, {"min-delay", 1, NULL, 'a'},
        {"max-delay", 1, NULL, 'b'}, {"seed", 1, NULL, 's'},  {"dir", 1, NULL, 'o'},
        {"transport", 1, NULL, 't'}, {"first", 1, NULL, 'f'}, {0}};
    uint32_t *numbers[] = {['d'] = &devices, ['l'] = &leads, ['a'] = &low,
                           ['b'] = &high,    ['s'] = &seed,  ['f'] = &first};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == '?')
            return 2;
        if (o == 'o')
            dir = optarg;
        else if (o == 't')
            transport = optarg;
        else if (parse_u32(optarg, strlen(optarg), 0, 100000000, numbers[o]) < 0) {
            fprintf(stderr, "generate: \"%s\" is not a number in range\n", optarg);
            return 2;
        }
    }
    struct rng r;
    rng_seed(&r, seed);
    FILE *d = open_in(dir, "devices.csv"), *l = open_in(dir, "leads.csv"),
         *c = open_in(dir, "content.yaml");
    if (!d || !l || !c)
        return 1;
    fputs("device_id,name,transport,address,token,min_delay_ms,max_delay_ms,zone,account\n", d);
    fputs("device_id,phone,name,trigger,city,order\n", l);
    for (uint32_t i = first; i < first + devices; i++) {
        fprintf(d, "%u,Shop %u,%s,10655%07u,token-%u,%u,%u,Asia/Kuala_Lumpur,main\n", i, i,
                transport, i, i, low, high);
        for (uint32_t k = 0; k < leads; k++) {
            fprintf(l, "%u,+601%04u%06u,%s,NEW,", i, (unsigned) (i % 10000),
                    (unsigned) ((i / 10000) * 100000 + k),
                    names[rng_between(&r, 0, ARRAY_SIZE(names) - 1)]);
            put_quoted(l, cities[rng_between(&r, 0, ARRAY_SIZE(cities) - 1)]);
            fprintf(l, ",A-%u\n", (unsigned) rng_between(&r, 1, 99999));
        }
    }
    fputs("templates:\n  hello: { text: \"Hi {{name|there}}, your order {{order}} leaves for "
          "{{city|your town}} today.\" }\n"
          "campaigns:\n  hello: { template: hello }\n",
          c);
    int bad = fclose(d) | fclose(l) | fclose(c);
    return bad ? 1 : 0;
}
