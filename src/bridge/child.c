#include "bridge/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"

#define WHY_BYTES 400
static const char folder_form[] = "/tmp/ingle-engine-%d";

/* ------------------------------------------------------------------------------------------------ the address */

static void remove_folder(const char *folder)
{
    char path[128];
    snprintf(path, sizeof path, "%s/engine.sock", folder);
    (void)unlink(path);
    (void)rmdir(folder);
}

/* Folders of bridges that were killed. */
static void sweep(void)
{
    DIR *dir = opendir("/tmp");
    int pid;
    struct stat st;
    char path[300];
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (sscanf(e->d_name, "ingle-engine-%d", &pid) != 1 || pid < 2 || !kill(pid, 0) || errno != ESRCH) continue;
        snprintf(path, sizeof path, "/tmp/%.200s", e->d_name);
        if (!lstat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == getuid()) remove_folder(path);
    }
    if (dir) closedir(dir);
}

static bool make_socket_place(br_child *c, char *why)
{
    sweep();
    snprintf(c->folder, sizeof c->folder, folder_form, (int)getpid());
    if (mkdir(c->folder, 0700)) {
        snprintf(why, WHY_BYTES, "cannot make the folder %s for the engine's socket: %s", c->folder, strerror(errno));
        c->folder[0] = 0;
        return false;
    }
    snprintf(c->socket, sizeof c->socket, "%s/engine.sock", c->folder);
    return true;
}

/* A port that is free now. Who takes it instead is found out by br_child_owns. */
static bool find_port(br_child *c, char *why)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool fine = fd >= 0 && !bind(fd, (struct sockaddr *)&at, sizeof at) && !getsockname(fd, (struct sockaddr *)&at, &n);
    if (!fine) snprintf(why, WHY_BYTES, "there is no free port on 127.0.0.1 for the engine: %s", strerror(errno));
    if (fd >= 0) close(fd);
    c->port = fine ? ntohs(at.sin_port) : 0;
    return fine;
}

bool br_child_owns(const br_child *c)
{
    ig_buf text;
    ig_error err;
    bool found = false;
    if (!c->port) return true;
    ig_buf_init(&text, 16 << 20);
    if (ig_file_read("/proc/net/tcp", &text, &err) == IG_OK && ig_buf_add(&text, "", 1)) {
        for (const char *p = strchr(text.ptr, '\n'); p && !found; p = strchr(p + 1, '\n')) {
            unsigned port = 0, state = 0, uid = 0;
            int n = sscanf(p + 1, " %*d: %*8x:%4x %*8x:%*4x %2x %*8x:%*8x %*2x:%*8x %*8x %u", &port, &state, &uid);
            found = n == 3 && port == c->port && state == 10 && uid == getuid();
        }
    }
    ig_buf_fini(&text);
    return found;
}

/* ------------------------------------------------------------------------------------------------ words */

typedef struct words {
    char *item[BR_WORDS_MAX + 1];
    size_t n;
} words;

static void free_words(words *w)
{
    for (size_t i = 0; i < w->n; i++) ig_free(w->item[i]);
}

static void value_of(const br_child *c, const json_t *engine, const char *name, size_t n, char *out, size_t size)
{
    long long context = json_integer_value(json_object_get(engine, "context"));
    *out = 0;
    if (n == 6 && !memcmp(name, "socket", n)) snprintf(out, size, "%s", c->socket);
    if (n == 4 && !memcmp(name, "port", n)) snprintf(out, size, "%u", c->port);
    if (n == 3 && !memcmp(name, "key", n)) snprintf(out, size, "%s", c->key);
    if (n == 5 && !memcmp(name, "model", n) && c->n_fds) snprintf(out, size, "/proc/self/fd/%d", c->fds[0]);
    if (n == 7 && !memcmp(name, "context", n)) snprintf(out, size, "%lld", context);
}

/* The word with what stands in braces replaced, where it has a meaning. */
static char *fill_in(const br_child *c, const json_t *engine, const char *word)
{
    ig_buf out;
    char value[160];
    ig_buf_init(&out, 64 << 10);
    while (*word) {
        const char *open = strchr(word, '{'), *close = open ? strchr(open, '}') : NULL;
        size_t plain = close ? (size_t)(open - word) : strlen(word);
        ig_buf_add(&out, word, plain);
        word += plain;
        if (!close) break;
        value_of(c, engine, open + 1, (size_t)(close - open - 1), value, sizeof value);
        ig_buf_add(&out, *value ? value : open, *value ? strlen(value) : (size_t)(close + 1 - open));
        word = close + 1;
    }
    if (ig_buf_add(&out, "", 1) && !out.failed) return out.ptr;
    ig_buf_fini(&out);
    return NULL;
}

static bool add_words(const br_child *c, const json_t *engine, const char *list, words *w)
{
    json_t *v;
    size_t i;
    json_array_foreach(json_object_get(engine, list), i, v)
    {
        const char *z = json_string_value(v);
        if (!z || w->n == BR_WORDS_MAX || !(w->item[w->n] = fill_in(c, engine, z))) return false;
        w->n++;
    }
    return true;
}

/* Nothing of ours but the language: no key, no path of a person's. */
static bool add_environment(const br_child *c, const json_t *engine, words *w)
{
    static const char *const ours[] = {"LANG", "LC_ALL", "TZ"};
    json_t *base = json_pack("{s:[s]}", "environment", "PATH=/usr/local/bin:/usr/bin:/bin");
    bool fine = base && add_words(c, base, "environment", w);
    json_decref(base);
    for (size_t i = 0; fine && i < sizeof ours / sizeof *ours; i++) {
        const char *value = getenv(ours[i]);
        char text[200];
        if (!value || snprintf(text, sizeof text, "%s=%s", ours[i], value) >= (int)sizeof text) continue;
        fine = (w->item[w->n] = fill_in(c, engine, text)) != NULL;
        w->n += fine;
    }
    return fine && add_words(c, engine, "environment", w);
}

static bool uses(const json_t *engine, const char *what)
{
    json_t *v;
    size_t i;
    json_array_foreach(json_object_get(engine, "command"), i,
                       v) if (json_is_string(v) && strstr(json_string_value(v), what)) return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------ start */

/* In the child: only system calls. */
static void become(const br_child *c, int output, int report, pid_t parent, char **argv, char **env)
{
    struct rlimit none = {0, 0};
    sigset_t all;
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (int s = 1; s < 32; s++) signal(s, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    setrlimit(RLIMIT_CORE, &none);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (getppid() == parent && null >= 0 && dup2(null, 0) == 0 && dup2(output, 1) == 1 && dup2(output, 2) == 2 &&
        !chdir("/")) {
        syscall(SYS_close_range, 3u, ~0u, (unsigned)CLOSE_RANGE_CLOEXEC);
        for (size_t i = 0; i < c->n_fds; i++) fcntl(c->fds[i], F_SETFD, 0);
        execve(argv[0], argv, env);
    }
    int no = errno;
    (void)!write(report, &no, sizeof no);
    _exit(127);
}

static bool run(br_child *c, char **argv, char **env, char *why)
{
    int output[2], report[2], no = 0;
    pid_t parent = getpid();
    if (pipe2(output, O_CLOEXEC)) {
        snprintf(why, WHY_BYTES, "no pipe for the engine: %s", strerror(errno));
        return false;
    }
    if (pipe2(report, O_CLOEXEC)) {
        close(output[0]), close(output[1]);
        snprintf(why, WHY_BYTES, "no pipe for the engine: %s", strerror(errno));
        return false;
    }
    c->pid = fork();
    if (!c->pid) become(c, output[1], report[1], parent, argv, env);
    if (c->pid < 0) no = errno;
    close(output[1]), close(report[1]);
    if (c->pid > 0 && read(report[0], &no, sizeof no) != sizeof no) no = 0;
    close(report[0]);
    c->output = output[0];
    (void)fcntl(c->output, F_SETFL, O_NONBLOCK);
    if (no) snprintf(why, WHY_BYTES, "cannot start %.200s: %s", argv[0], strerror(no));
    return !no;
}

bool br_child_start(br_child *c, const json_t *engine, const int *fds, size_t n_fds, char *why)
{
    static words argv, env; /* of this process, once */
    unsigned char random[16];
    *c = (br_child){.output = -1};
    for (size_t i = 0; i < n_fds && i < BR_FILES_MAX; i++) c->fds[c->n_fds++] = fds[i];
    ig_random(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++) snprintf(c->key + 2 * i, 3, "%02x", random[i]);
    if (uses(engine, "{socket}") ? !make_socket_place(c, why) : !find_port(c, why)) return false;
    argv = env = (words){0};
    bool fine = add_words(c, engine, "command", &argv) && add_environment(c, engine, &env);
    if (!fine || !argv.n || argv.item[0][0] != '/') {
        snprintf(why, WHY_BYTES, "the command of the engine is no list of words that begins with an absolute path");
        fine = false;
    }
    if (fine) fine = run(c, argv.item, env.item, why);
    free_words(&argv);
    free_words(&env);
    for (size_t i = 0; i < c->n_fds; i++) close(c->fds[i]);
    return fine;
}

/* ------------------------------------------------------------------------------------------------ while it runs */

static void keep_last(br_child *c, const char *p, size_t n)
{
    size_t have = strlen(c->last);
    if (n > BR_LAST_WORDS) p += n - BR_LAST_WORDS, n = BR_LAST_WORDS;
    size_t drop = have + n > BR_LAST_WORDS ? have + n - BR_LAST_WORDS : 0;
    memmove(c->last, c->last + drop, have - drop);
    memcpy(c->last + have - drop, p, n);
    c->last[have - drop + n] = 0;
    for (char *z = c->last; *z; z++)
        if ((unsigned char)*z < ' ' || (unsigned char)*z > 126) *z = ' ';
}

void br_child_listen(br_child *c)
{
    char text[4096];
    for (int rounds = 0; c->output >= 0 && rounds < 16; rounds++) {
        ssize_t n = read(c->output, text, sizeof text);
        if (n < 0) return;
        if (n == 0) {
            close(c->output);
            c->output = -1;
            return;
        }
        for (ssize_t i = 0; i < n; i++)
            if (!text[i]) text[i] = ' ';
        if (!c->deaf) keep_last(c, text, (size_t)n);
    }
}

/* Group and resident pages of a process. */
static bool stat_of(const char *pid, int *group, unsigned long long *pages)
{
    char path[300], text[1024];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (n <= 0) return false;
    text[n] = 0;
    const char *end = strrchr(text, ')');
    return end &&
           sscanf(end + 1, " %*c %*d %d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %*u %*u %llu",
                  group, pages) == 2;
}

uint64_t br_child_bytes(const br_child *c)
{
    DIR *dir = opendir("/proc");
    unsigned long long sum = 0, pages;
    int group;
    (void)c;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || atoi(e->d_name) == getpid()) continue;
        if (stat_of(e->d_name, &group, &pages) && group == getpgrp()) sum += pages;
    }
    if (dir) closedir(dir);
    return sum * (unsigned long long)sysconf(_SC_PAGESIZE);
}

void br_child_clean(br_child *c)
{
    if (c->folder[0]) remove_folder(c->folder);
    c->folder[0] = 0;
    if (c->output >= 0) close(c->output);
    c->output = -1;
}
