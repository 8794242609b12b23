/* statements.c - prints the SQL of a node's statements, and the settings of its sessions. */
#include <stdio.h>
#include <string.h>

#include "node/store.h"

static int
print_settings(void)
{
    for (const char *const *s = store_settings; *s; s += 2)
        printf("SET %s = '%s';\n", s[0], s[1]);
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--settings") == 0)
        return print_settings();
    for (unsigned i = 0; argc == 2 && i < STORE_COUNT; i++)
        if (strcmp(argv[1], store_statements[i].name) == 0)
            return printf("%s\n", store_statements[i].sql) < 0;
    fprintf(stderr, "usage: statements NAME | --settings\n");
    return 2;
}
