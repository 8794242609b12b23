/* process.c - runs programs and asks small HTTP questions for tests. */
#include "tests/support/process.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char *
read_all(int fd)
{
    char *text = NULL, buffer[8192];
    size_t size;
    FILE *f = open_memstream(&text, &size);
    ssize_t n;
    while ((n = read(fd, buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            fwrite(buffer, 1, (size_t) n, f);
    fclose(f);
    return text;
}

int
process_run(const char *const argv[], char **ret_output)
{
    int ends[2], status;
    pid_t pid;
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    int rc = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *) argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    ck_assert_msg(rc == 0, "%s: %s", argv[0], strerror(rc));
    char *output = read_all(ends[0]);
    close(ends[0]);
    while (waitpid(pid, &status, 0) < 0)
        ck_assert_int_eq(errno, EINTR);
    if (ret_output)
        *ret_output = output;
    else
        free(output);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool
process_wait(usec_t limit, bool (*done)(void *arg), void *arg)
{
    for (usec_t end = clock_boot() + limit; !done(arg);) {
        if (clock_boot() >= end)
            return false;
        poll(NULL, 0, 20);
    }
    return true;
}

unsigned
process_http(unsigned port, const char *path, const char *body, char **ret_body)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t) port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    unsigned status = 0;
    if (connect(fd, (struct sockaddr *) &in, sizeof(in)) == 0) {
        dprintf(fd,
                "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
                "%zu\r\n\r\n%s",
                body ? "POST" : "GET", path, body ? strlen(body) : 0, body ? body : "");
        if (body) /* the fake provider keeps connections: tell it that we are done */
            shutdown(fd, SHUT_WR);
        char *answer = read_all(fd), *start = strstr(answer, "\r\n\r\n");
        if (sscanf(answer, "HTTP/1.1 %u", &status) == 1 && ret_body)
            *ret_body = strdup(start ? start + 4 : "");
        free(answer);
    }
    close(fd);
    return status;
}
