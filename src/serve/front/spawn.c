/* Starting a worker: a fresh process of this program with one descriptor. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/front/fr.h"

enum { WORKER_FD = 3 };

/* The variables that a worker may see: nothing that holds a key. */
static size_t worker_environment(char **out, size_t max)
{
    static const char *const allowed[] = {"INGLE_KERNELS",   "LANG",          "LC_ALL",       "TZ",
                                          "ASAN_OPTIONS",    "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS",
                                          "MALLOC_ARENA_MAX"};
    extern char **environ;
    size_t n = 0;
    for (char **e = environ; *e && n < max - 1; e++)
        for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
            size_t len = strlen(allowed[i]);
            if (!strncmp(*e, allowed[i], len) && (*e)[len] == '=') {
                out[n++] = *e;
                break;
            }
        }
    out[n] = NULL;
    return n;
}

pid_t fr_spawn_worker(const char *program, const char *engine, int fd)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    char name[] = "ingle", verb[] = "worker", kind[] = "engine", which[64] = "";
    char *argv[] = {name, verb, engine ? kind : NULL, which, NULL}, *env[32];
    if (engine) snprintf(which, sizeof which, "%s", engine);
    worker_environment(env, 32);
    if ((errno = posix_spawn_file_actions_init(&actions))) return -1;
    if ((errno = posix_spawnattr_init(&attr))) {
        posix_spawn_file_actions_destroy(&actions);
        return -1;
    }
    sigemptyset(&none);
    sigfillset(&all);
    pid_t pid = -1;
    int rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0 /* O_RDONLY */, 0);
    if (!rc) rc = posix_spawn_file_actions_adddup2(&actions, fd, WORKER_FD);
    if (!rc) rc = posix_spawnattr_setsigmask(&attr, &none);
    if (!rc) rc = posix_spawnattr_setsigdefault(&attr, &all);
    /* An own group: a Ctrl-C at the terminal stops the front, which stops its workers in order. */
    if (!rc) rc = posix_spawnattr_setpgroup(&attr, 0);
    if (!rc)
        rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    if (!rc) rc = posix_spawn(&pid, program, &actions, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    errno = rc;
    return rc ? -1 : pid;
}
