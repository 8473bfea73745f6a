/* Listeners: from an address to a bound socket; unix sockets left behind by a dead process; sockets passed by systemd;
 * who has taken a port. See server.h. Runs at start: may block for a moment. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "serve/conn.h"

enum { BACKLOG = 1024, LOCK_WAIT_MS = 2000 };

/* ---- who has the port ---- */

/* Inode of a listening socket at the port, from one of the kernel's tables; 0 without one. */
static unsigned long inode_at(const char *table, unsigned port)
{
    char line[512];
    unsigned long found = 0;
    FILE *f = fopen(table, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        unsigned at, state;
        unsigned long inode;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*u %*u %lu", &at, &state, &inode) == 3 &&
            at == port && state == 10)
            found = inode;
    }
    if (f) fclose(f);
    return found;
}

/* True when process `pid` holds the socket. */
static bool holds(const char *pid, unsigned long inode)
{
    char path[300], want[64], target[64];
    bool found = false;
    (void)snprintf(want, sizeof want, "socket:[%lu]", inode);
    (void)snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        (void)snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", pid, e->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n <= 0) continue;
        target[n] = 0;
        found = !strcmp(target, want);
    }
    if (d) closedir(d);
    return found;
}

/* " by NAME (process PID)" or "" where it cannot be seen. */
static void name_taker(unsigned port, char *out, size_t n)
{
    unsigned long inode = inode_at("/proc/self/net/tcp", port);
    if (!inode) inode = inode_at("/proc/self/net/tcp6", port);
    out[0] = 0;
    DIR *d = inode ? opendir("/proc") : NULL;
    for (struct dirent *e; d && !out[0] && (e = readdir(d));) {
        char path[64], name[64] = "";
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || !holds(e->d_name, inode)) continue;
        (void)snprintf(path, sizeof path, "/proc/%.20s/comm", e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fgets(name, sizeof name, f)) name[strcspn(name, "\n")] = 0;
        if (f) fclose(f);
        (void)snprintf(out, n, " by %s (process %.20s)", name[0] ? name : "another program", e->d_name);
    }
    if (d) closedir(d);
}

/* ---- TCP ---- */

typedef struct target {
    char host[256], port[8];
} target;

/* HOST:PORT or [V6]:PORT. */
static bool split(const char *text, target *out)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || !colon[1] || strlen(colon + 1) > 5 || colon[1 + strspn(colon + 1, "0123456789")])
        return false;
    size_t n = (size_t)(colon - text);
    if (text[0] == '[' && n > 2 && text[n - 1] == ']') {
        text++;
        n -= 2;
    } else if (memchr(text, ':', n)) {
        return false;
    }
    if (n >= sizeof out->host || strtoul(colon + 1, NULL, 10) > 65535) return false;
    (void)snprintf(out->host, sizeof out->host, "%.*s", (int)n, text);
    (void)snprintf(out->port, sizeof out->port, "%s", colon + 1);
    return true;
}

static bool loopback_address(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)a;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const void *)a;
    return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

/* H22: an address that others can reach needs both TLS and keys. */
static ig_status may_bind(const struct sockaddr *a, const char *name, const ig_listen *l, ig_error *err)
{
    if (a->sa_family == AF_UNIX || loopback_address(a) || (l->tls_cert && l->keys_required)) return IG_OK;
    return ig_fail(
        err, IG_DENIED, 0,
        "%.200s can be reached from other machines, which needs TLS (a certificate and a key) and API keys; give "
        "both, or listen at tcp:127.0.0.1:11434",
        name);
}

/* The real address of a bound socket as people type it, and its port. */
static void name_socket(int fd, bool tls, char *out, size_t n, unsigned *port)
{
    struct sockaddr_storage s = {0};
    socklen_t len = sizeof s;
    char host[64] = "?";
    *port = 0;
    (void)getsockname(fd, (struct sockaddr *)&s, &len);
    if (s.ss_family == AF_UNIX) {
        (void)snprintf(out, n, "unix:%s", ((const struct sockaddr_un *)&s)->sun_path);
        return;
    }
    const struct sockaddr_in *in = (const void *)&s;
    const struct sockaddr_in6 *in6 = (const void *)&s;
    bool v6 = s.ss_family == AF_INET6;
    (void)inet_ntop(s.ss_family, v6 ? (const void *)&in6->sin6_addr : (const void *)&in->sin_addr, host, sizeof host);
    *port = ntohs(v6 ? in6->sin6_port : in->sin_port);
    (void)snprintf(out, n, v6 ? "%s://[%s]:%u" : "%s://%s:%u", tls ? "https" : "http", host, *port);
}

static ig_status bind_failed(int e, const char *name, unsigned port, ig_error *err)
{
    char taker[128];
    if (e == EADDRINUSE) {
        name_taker(port, taker, sizeof taker);
        return ig_fail(err, IG_IO, 0,
                       "%.200s is taken%s; stop that, or choose another port: ingle serve --listen tcp:127.0.0.1:%u",
                       name, taker, port < 65535 ? port + 1 : 11435);
    }
    if (e == EACCES)
        return ig_fail(err, IG_DENIED, 0, "ports below 1024, as of %.200s, need root; choose a higher one", name);
    if (e == EADDRNOTAVAIL)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s is no address of this machine (ip address shows them)", name);
    return ig_fail_errno(err, IG_IO, e, "cannot listen at %.200s", name);
}

/* Adds a bound and listening socket with its TLS. */
static ig_status add_socket(ig_server *server, int fd, const ig_listen *l, char *unlink_path, ig_error *err)
{
    char name[160];
    unsigned port;
    ig_tls_context *tls = NULL;
    struct sockaddr_storage s = {0};
    socklen_t len = sizeof s;
    (void)getsockname(fd, (struct sockaddr *)&s, &len);
    bool tcp = s.ss_family != AF_UNIX;
    name_socket(fd, tcp && l->tls_cert, name, sizeof name, &port);
    ig_status st = may_bind((const struct sockaddr *)&s, name, l, err);
    if (st == IG_OK && !l->tls_cert != !l->tls_key)
        st = ig_fail(err, IG_BAD_INPUT, 0, "TLS needs a certificate and a key, only one of them is given");
    if (st == IG_OK && tcp && l->tls_cert) st = ig_tls_context_new(l->tls_cert, l->tls_key, &tls, err);
    if (st == IG_OK) return ig_server_add(server, fd, name, port, tls, unlink_path, err);
    close(fd);
    if (unlink_path) unlink(unlink_path);
    ig_free(unlink_path);
    return st;
}

static ig_status listen_at(ig_server *server, const struct addrinfo *a, const ig_listen *l, ig_error *err)
{
    int on = 1;
    unsigned port = ntohs(a->ai_family == AF_INET ? ((const struct sockaddr_in *)(const void *)a->ai_addr)->sin_port
                                                  : ((const struct sockaddr_in6 *)(const void *)a->ai_addr)->sin6_port);
    IG_TRY(may_bind(a->ai_addr, l->address, l, err)); /* before anybody can connect */
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return ig_fail_errno(err, IG_IO, errno, "cannot make a socket for %.200s", l->address);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6) (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        int e = errno;
        close(fd);
        return bind_failed(e, l->address, port, err);
    }
    return add_socket(server, fd, l, NULL, err);
}

static ig_status listen_tcp(ig_server *server, const char *text, const ig_listen *l, ig_error *err)
{
    target t;
    struct addrinfo *list = NULL, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    if (!split(text, &t))
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s is no address to listen at, expected tcp:HOST:PORT or unix:PATH",
                       l->address);
    int rc = getaddrinfo(t.host, t.port, &hints, &list);
    if (rc || !list)
        return ig_fail(err, IG_BAD_INPUT, 0, "cannot find the address of %.200s: %s", l->address, gai_strerror(rc));
    ig_status st = IG_OK;
    unsigned n = 0;
    for (const struct addrinfo *a = list; a && st == IG_OK; a = a->ai_next) {
        st = listen_at(server, a, l, err);
        if (st == IG_OK) n++;
        if (st == IG_IO && n && a->ai_family == AF_INET6)
            st = IG_OK;                       /* a name with an IPv6 address where there is none */
        if (n && !strcmp(t.port, "0")) break; /* any free port: one is enough */
    }
    freeaddrinfo(list);
    return st;
}

/* ---- unix sockets ---- */

/* Two starting at once must not each take the other's socket for a dead one: the folder is locked meanwhile. */
static int lock_folder(const char *path)
{
    char dir[sizeof((struct sockaddr_un *)0)->sun_path];
    (void)snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash) slash[slash == dir] = 0;
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int ms = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && ms < LOCK_WAIT_MS; ms += 20)
        (void)nanosleep(&(struct timespec){.tv_nsec = 20 * 1000000}, NULL);
    return fd;
}

/* Nobody answers at this socket file: it was left behind. */
static bool is_stale(const struct sockaddr_un *a)
{
    struct stat sb;
    if (lstat(a->sun_path, &sb) < 0 || !S_ISSOCK(sb.st_mode)) return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool stale = fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof *a) < 0 && errno == ECONNREFUSED;
    if (fd >= 0) close(fd);
    return stale;
}

static int bind_unix(int fd, const struct sockaddr_un *a, unsigned mode)
{
    mode_t old = umask(0777 & ~mode); /* so that there is no moment with other rights */
    int rc = bind(fd, (const struct sockaddr *)a, sizeof *a);
    int e = errno;
    umask(old);
    errno = e;
    return rc;
}

static ig_status unix_failed(int e, const char *path, ig_error *err)
{
    struct stat sb;
    if (e != EADDRINUSE) return ig_fail_errno(err, e == EACCES ? IG_DENIED : IG_IO, e, "cannot listen at %.200s", path);
    if (lstat(path, &sb) == 0 && !S_ISSOCK(sb.st_mode))
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s exists and is no socket; choose another path", path);
    return ig_fail(err, IG_IO, 0,
                   "another program already listens at %.200s; stop it, or choose another path with --listen unix:PATH",
                   path);
}

static ig_status listen_unix(ig_server *server, const char *path, const ig_listen *l, ig_error *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof a.sun_path)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "unix:%.120s has no path for a socket, expected unix:PATH with 1 to %zu bytes", path,
                       sizeof a.sun_path - 1);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    char *copy = ig_alloc(strlen(path) + 1);
    if (!copy) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the listener %.200s", path);
    (void)memcpy(copy, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), lock = lock_folder(path);
    unsigned mode = l->unix_mode ? l->unix_mode : 0660;
    int rc = fd < 0 ? -1 : bind_unix(fd, &a, mode);
    if (rc < 0 && fd >= 0 && errno == EADDRINUSE && is_stale(&a) && unlink(path) == 0) rc = bind_unix(fd, &a, mode);
    bool bound = rc == 0;
    if (rc == 0) rc = listen(fd, BACKLOG);
    int e = errno;
    if (lock >= 0) close(lock);
    if (rc == 0) return add_socket(server, fd, l, copy, err);
    if (bound) unlink(path);
    if (fd >= 0) close(fd);
    ig_free(copy);
    return unix_failed(e, path, err);
}

ig_status ig_server_listen(ig_server *server, const ig_listen *l, ig_error *err)
{
    if (!strncmp(l->address, "tcp:", 4)) return listen_tcp(server, l->address + 4, l, err);
    if (!strncmp(l->address, "unix:", 5)) return listen_unix(server, l->address + 5, l, err);
    return ig_fail(err, IG_BAD_INPUT, 0, "%.200s is no address to listen at, expected tcp:HOST:PORT or unix:PATH",
                   l->address);
}

/* ---- sockets passed by systemd ---- */

enum { FIRST_PASSED = 3, PASSED_MAX = 64 };

static bool is_listening_stream(int fd)
{
    int type = 0, accepting = 0;
    socklen_t n = sizeof type, m = sizeof accepting;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &m) == 0 && accepting;
}

ig_status ig_server_listen_inherited(ig_server *server, const ig_listen *l, unsigned *n, ig_error *err)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    bool ours = pid && fds && strtoul(pid, NULL, 10) == (unsigned long)getpid();
    unsigned long count = ours ? strtoul(fds, NULL, 10) : 0;
    *n = 0;
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    if (count > PASSED_MAX) return ig_fail(err, IG_BAD_INPUT, 0, "LISTEN_FDS names %lu sockets, at most 64", count);
    for (int fd = FIRST_PASSED; fd < FIRST_PASSED + (int)count; fd++) {
        if (!is_listening_stream(fd))
            return ig_fail(
                err, IG_BAD_INPUT, 0,
                "descriptor %d passed by systemd is no listening stream socket; use ListenStream= in the unit", fd);
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        IG_TRY(add_socket(server, fd, l, NULL, err));
        ++*n;
    }
    return IG_OK;
}
