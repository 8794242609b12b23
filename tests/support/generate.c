/*
 * generate.c - input files from a seed: devices.csv, leads.csv, content.yaml.
 *
 * --sequences N: COLD (5 steps) -> WARM (4) -> HOT (2) beside two campaigns; N of 1,000 leads have
 * a trigger (of those each tenth WARM, each fiftieth HOT), steps are --step-delay seconds apart.
 */
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

/* Texts are unlike one another, so that a message shows which step it is. */
static void
put_steps(FILE *c, const char *name, unsigned count, unsigned delay)
{
    for (unsigned i = 1; i <= count; i++) {
        fprintf(c, "      - { step: %u, delay: %us, ", i, i == 1 ? 0 : delay);
        if (i % 2 == 1)
            fprintf(c, "template: %s }\n", name);
        else
            fprintf(c, "text: \"%s %u for {{name|friend}}, {{phone}}: order {{order}}\" }\n", name,
                    i);
    }
}

static void
put_sequence(FILE *c, const char *name, const char *trigger, const char *next, unsigned steps,
             unsigned delay)
{
    fprintf(c, "  %s:\n    trigger: %s\n", name, trigger);
    if (next)
        fprintf(c, "    next_sequence: %s\n", next);
    fputs("    steps:\n", c);
    put_steps(c, name, steps, delay);
}

static void
put_content(FILE *c, bool sequences, unsigned delay)
{
    fputs("templates:\n  hello: { text: \"Hi {{name|there}}, your order {{order}} leaves for "
          "{{city|your town}} today.\" }\n",
          c);
    if (sequences)
        fputs("  spring: { text: \"Spring in {{city}}, {{name|friend}}!\" }\n"
              "  cold: { variants: [\"Cold greetings, {{name|you}}\", \"A cold hello to "
              "{{name|you}}\", \"{{name|You}}, it is cold\"] }\n"
              "  warm: { variants: [\"Warm greetings, {{name|you}}\", \"{{name|You}}, warm days\"] "
              "}\n"
              "  hot: { text: \"Hot news for {{name|you}} in {{city|town}}\" }\n",
              c);
    fputs("campaigns:\n  hello: { template: hello }\n", c);
    if (!sequences)
        return;
    fputs("  spring: { template: spring, priority: 5, audience: { where: { city: Penang } } }\n"
          "sequences:\n",
          c);
    put_sequence(c, "cold", "COLD", "warm", 5, delay);
    put_sequence(c, "warm", "WARM", "hot", 4, delay);
    put_sequence(c, "hot", "HOT", NULL, 2, delay);
}

static const char *
trigger_of(struct rng *r, unsigned permille)
{
    if (permille == 0 || rng_between(r, 0, 999) >= permille)
        return "NEW";
    unsigned kind = (unsigned) rng_between(r, 0, 49);
    return kind == 0 ? "HOT" : kind <= 5 ? "WARM" : "COLD";
}

int
main(int argc, char **argv)
{
    uint32_t devices = 90, leads = 7, low = 100, high = 300, seed = 4711, first = 1, triggers = 0,
             delay = 1;
    const char *dir = ".", *transport = "cloudapi";
    static const struct option options[] = {{"devices", 1, NULL, 'd'},
                                            {"leads", 1, NULL, 'l'},
                                            {"min-delay", 1, NULL, 'a'},
                                            {"max-delay", 1, NULL, 'b'},
                                            {"seed", 1, NULL, 's'},
                                            {"dir", 1, NULL, 'o'},
                                            {"transport", 1, NULL, 't'},
                                            {"first", 1, NULL, 'f'},
                                            {"sequences", 1, NULL, 'q'},
                                            {"step-delay", 1, NULL, 'y'},
                                            {0}};
    uint32_t *numbers[] = {['d'] = &devices, ['l'] = &leads, ['a'] = &low,      ['b'] = &high,
                           ['s'] = &seed,    ['f'] = &first, ['q'] = &triggers, ['y'] = &delay};
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
            fprintf(l, "%u,+601%04u%06u,%s,%s,", i, (unsigned) (i % 10000),
                    (unsigned) ((i / 10000) * 100000 + k),
                    names[rng_between(&r, 0, ARRAY_SIZE(names) - 1)], trigger_of(&r, triggers));
            put_quoted(l, cities[rng_between(&r, 0, ARRAY_SIZE(cities) - 1)]);
            fprintf(l, ",A-%u\n", (unsigned) rng_between(&r, 1, 99999));
        }
    }
    put_content(c, triggers > 0, delay);
    int bad = fclose(d) | fclose(l) | fclose(c);
    return bad ? 1 : 0;
}
