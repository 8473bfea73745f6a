/* Who may reach the HTTP server: identity, listeners, sockets of systemd, TLS. */
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/fault.h"
#include "tests/unit/server_kit.h"

/* ---- identity ---- */

static void test_U01_identity(void)
{
    fix f;
    fix_init(&f, NULL);
    static const char get[] = GET("/who");
    char want[64];
    int fd = dial_unix(&f);
    answer a = talk(&f, fd, get, sizeof get - 1, ".", 1000);
    (void)snprintf(want, sizeof want, "known 1 uid %u pid %d", getuid(), getpid());
    tap_ok(strstr(a.text, want) && strstr(a.text, "transport 0 loopback 1") && strstr(a.text, "recheck 1"),
           "U01: a unix socket: %s", want);
    free(a.text);
    close(fd);
    int diag = ig_diag_open();
    ig_listen v6 = {.address = "tcp:[::1]:0"};
    ig_error err;
    bool has_v6 = ig_server_listen(f.server, &v6, &err) == IG_OK;
    for (int i = 0; i < 2; i++) {
        if (i && !has_v6) {
            tap_skip("U01: loopback, IPv6", "%s", err.text);
            continue;
        }
        fd = i ? connect_port(ig_server_port(f.server, 2), AF_INET6) : dial(&f);
        a = talk(&f, fd, get, sizeof get - 1, "recheck", 1000);
        (void)snprintf(want, sizeof want, "transport 1 loopback 1 known 1 uid %u pid 0", getuid());
        tap_ok(strstr(a.text, want) && strstr(a.text, i ? "peer [::1]:" : "peer 127.0.0.1:") &&
                   strstr(a.text, "recheck 1"),
               "U01: loopback, IPv%d: %s", i ? 6 : 4, a.text + (a.n > 80 ? a.n - 80 : 0));
        free(a.text);
        close(fd);
    }
    if (diag >= 0) close(diag);
    fix_fini(&f);
}

/* What an accepted socket says of its peer, before and after the peer is closed. */
static void test_U01_closed_peer(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t len = sizeof in;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), diag = ig_diag_open();
    ig_identity who, late, blind;
    if (bind(server, (struct sockaddr *)&in, len) || listen(server, 5) ||
        getsockname(server, (struct sockaddr *)&in, &len))
        abort();
    int client = connect_port(ntohs(in.sin_port), AF_INET), fd = accept(server, NULL, NULL);
    ig_identity_of(fd, diag, false, &who);
    ig_identity_of(fd, -1, false, &blind);
    tap_ok(who.known && who.uid == getuid() && ig_identity_recheck(diag, &who) &&
               ig_identity_peer(diag, &who) == IG_PEER_LIVE,
           "U01: a live peer is known");
    tap_ok(!blind.known && !ig_identity_recheck(-1, &who) && ig_identity_peer(-1, &who) == IG_PEER_UNSURE,
           "U01: where the kernel cannot be asked, the caller is nobody");
    shutdown(client, SHUT_WR);
    tap_ok(ig_identity_peer(diag, &who) == IG_PEER_LIVE && ig_identity_recheck(diag, &who),
           "U01: a half-closed peer is live");
    close(client);
    ig_identity_of(fd, diag, false, &late);
    tap_ok(!ig_identity_recheck(diag, &who) && ig_identity_peer(diag, &who) == IG_PEER_GONE,
           "U01: a closed peer is gone");
    tap_ok(!late.known && late.uid != 0, "U01: a closed peer is nobody, never uid 0");
    close(fd);
    tap_ok(ig_identity_peer(diag, &who) == IG_PEER_GONE, "U01: nor in TIME_WAIT");
    close(server);
    if (diag >= 0) close(diag);
}

static void ask_as(fix *f, uid_t uid, bool known)
{
    int out[2];
    if (pipe(out) < 0) abort();
    pid_t pid = fork();
    if (pid == 0) {
        static const char get[] = GET("/who");
        char text[1000] = "";
        if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)) _exit(1);
        int fd = dial(f);
        (void)fcntl(fd, F_SETFL, 0);
        (void)send(fd, get, sizeof get - 1, 0);
        ssize_t n = recv(fd, text, sizeof text - 1, 0);
        _exit(write(out[1], text, n > 0 ? (size_t)n : 0) < 0);
    }
    close(out[1]);
    pass_ms(f, 1);
    (void)wait_for(f, &f->n_requests, f->n_requests + 1, 2000);
    rounds(f, 3);
    char text[1000] = "", want[64];
    if (read(out[0], text, sizeof text - 1) < 0) text[0] = 0;
    (void)snprintf(want, sizeof want, "known %d uid %u", known, uid);
    tap_ok(strstr(text, want) != NULL, "U01: another user: %s", want);
    close(out[0]);
    (void)waitpid(pid, NULL, 0);
}

static void test_U01_other_user(void)
{
    if (geteuid() != 0) {
        tap_skip("U01: another user", "needs root to become one");
        return;
    }
    fix f;
    fix_init(&f, NULL);
    ask_as(&f, 12345, true);
    ask_as(&f, 65534, false);
    fix_fini(&f);
}

/* ---- listeners ---- */

static void test_H22_listeners(void)
{
    fix f;
    fix_init(&f, NULL);
    ig_error err = {0};
    char address[64], text[32];
    static const struct {
        const char *address;
        ig_status status;
        const char *says;
    } rows[] = {{"tcp:0.0.0.0:0", IG_DENIED, "TLS"},
                {"tcp:[::]:0", IG_DENIED, "TLS"},
                {"tcp:192.0.2.1:0", IG_DENIED, "TLS"},
                {"tcp:127.0.0.1", IG_BAD_INPUT, "tcp:HOST:PORT"},
                {"tcp:127.0.0.1:70000", IG_BAD_INPUT, "tcp:HOST:PORT"},
                {"tcp:127.0.0.1:1x", IG_BAD_INPUT, "tcp:HOST:PORT"},
                {"tcp:::1:0", IG_BAD_INPUT, "tcp:HOST:PORT"},
                {"http://localhost", IG_BAD_INPUT, "tcp:HOST:PORT"},
                {"unix:", IG_BAD_INPUT, "107 bytes"},
                {"unix:/nowhere/at/all/s", IG_IO, "/nowhere/at/all/s"},
                {"tcp:no-such-host.invalid:0", IG_BAD_INPUT, "no-such-host.invalid"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ig_listen l = {.address = rows[i].address};
        ig_status st = ig_server_listen(f.server, &l, &err);
        tap_ok(st == rows[i].status && strstr(err.text, rows[i].says), "H22: %s: %s", rows[i].address, err.text);
    }
    (void)snprintf(address, sizeof address, "tcp:127.0.0.1:%u", ig_server_port(f.server, 0));
    (void)snprintf(text, sizeof text, "process %d)", getpid());
    ig_listen taken = {.address = address};
    ig_status st = ig_server_listen(f.server, &taken, &err);
    tap_ok(st == IG_IO && strstr(err.text, text) && strstr(err.text, "ingle serve --listen tcp:"), "a taken port: %s",
           err.text);
    (void)snprintf(address, sizeof address, "http://127.0.0.1:%u", ig_server_port(f.server, 0));
    tap_ok(ig_server_n_listeners(f.server) == 2 && !strcmp(ig_server_address(f.server, 0), address) &&
               !strcmp(ig_server_address(f.server, 1), f.path) && ig_server_port(f.server, 1) == 0,
           "the listeners' names: %s, %s", ig_server_address(f.server, 0), ig_server_address(f.server, 1));
    fix_fini(&f);
}

static void test_U03_unix_socket(void)
{
    fix f;
    fix_init(&f, NULL);
    ig_error err;
    struct stat sb;
    char path[96], other[104], file[104];
    ig_listen l = {.address = f.path};
    (void)snprintf(path, sizeof path, "%s/s", f.folder);
    bool there = stat(path, &sb) == 0;
    tap_ok(there && S_ISSOCK(sb.st_mode) && (sb.st_mode & 0777) == 0660, "U03: the socket's mode is %o",
           sb.st_mode & 0777);
    tap_ok(ig_server_listen(f.server, &l, &err) == IG_IO && strstr(err.text, "another program already listens"),
           "U03: %s", err.text);
    tap_ok(stat(path, &sb) == 0, "U03: and its socket stays");
    (void)snprintf(other, sizeof other, "unix:%s/t", f.folder);
    (void)snprintf(file, sizeof file, "%s/t", f.folder);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", file);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(dead, (struct sockaddr *)&a, sizeof a)) abort();
    close(dead);
    l = (ig_listen){.address = other, .unix_mode = 0600};
    tap_ok(ig_server_listen(f.server, &l, &err) == IG_OK && stat(file, &sb) == 0 && (sb.st_mode & 0777) == 0600,
           "U03: a socket left behind is taken over");
    ig_server_stop(f.server, 0, NULL, NULL);
    rounds(&f, 3);
    tap_ok(stat(file, &sb) < 0 && stat(path, &sb) < 0, "U03: sockets are removed at the end");
    int plain = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(plain);
    tap_ok(ig_server_listen(f.server, &l, &err) == IG_BAD_INPUT && stat(file, &sb) == 0, "U03: %s", err.text);
    (void)unlink(file);
    fix_fini(&f);
}

/* In a child, so that descriptor 3 is free to take. */
static int activated(fix *f, const char *pid, bool listening)
{
    ig_error err;
    unsigned n = 99;
    ig_listen l = {0};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&in, sizeof in) || (listening && listen(fd, 5))) return 9;
    ig_server_free(f->server);
    ig_loop_free(f->loop);
    if (dup2(fd, 3) < 0) return 8;
    if (fd != 3) close(fd);
    (void)setenv("LISTEN_PID", pid, 1);
    (void)setenv("LISTEN_FDS", "1", 1);
    if (ig_loop_new(&f->loop, &err) != IG_OK || ig_server_new(f->loop, &handler, f, NULL, &f->server, &err) != IG_OK)
        return 7;
    ig_status st = ig_server_listen_inherited(f->server, &l, &n, &err);
    if (getenv("LISTEN_PID") || getenv("LISTEN_FDS")) return 6;
    if (!listening) return st == IG_BAD_INPUT && strstr(err.text, "ListenStream") ? 0 : 5;
    if (strtol(pid, NULL, 10) != getpid()) return st == IG_OK && n == 0 ? 0 : 4;
    if (st != IG_OK || n != 1 || !(fcntl(3, F_GETFD) & FD_CLOEXEC)) return 3;
    static const char get[] = GET("/a");
    int client = dial(f);
    answer a = talk(f, client, get, sizeof get - 1, "] .", 1000);
    bool ok = strstr(a.text, "[GET /a]") != NULL;
    free(a.text);
    close(client);
    ig_server_free(f->server);
    ig_loop_free(f->loop);
    return ok ? 0 : 2;
}

static void test_socket_activation(void)
{
    for (int i = 0; i < 3; i++) {
        fflush(stdout);
        fix f;
        fix_init(&f, NULL);
        pid_t child = fork();
        if (child == 0) {
            char pid[20];
            (void)snprintf(pid, sizeof pid, "%d", i == 1 ? 1 : getpid());
            _exit(activated(&f, pid, i != 2));
        }
        int status = 0;
        (void)waitpid(child, &status, 0);
        static const char *const what[] = {"a passed socket is served", "one for another process is left alone",
                                           "a socket that does not listen is refused"};
        tap_ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "socket activation: %s (%d)", what[i],
               WEXITSTATUS(status));
        fix_fini(&f);
    }
}

/* ---- TLS ---- */

static void write_pem(const char *cert, const char *key, long serial)
{
    EVP_PKEY *k = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    FILE *c = fopen(cert, "we"), *p = fopen(key, "we");
    if (!k || !x || !c || !p) abort();
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, k);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_sign(x, k, EVP_sha256());
    if (!PEM_write_X509(c, x) || !PEM_write_PrivateKey(p, k, NULL, NULL, 0, NULL, NULL)) abort();
    fclose(c);
    fclose(p);
    X509_free(x);
    EVP_PKEY_free(k);
}

/* Rounds until an SSL call is through; its result. */
static int drive(fix *f, SSL *s, int (*call)(SSL *s, void *p, int n), void *p, int n)
{
    int r = -1;
    for (int i = 0; i < 2000; i++) {
        r = call(s, p, n);
        if (r > 0 || (SSL_get_error(s, r) != SSL_ERROR_WANT_READ && SSL_get_error(s, r) != SSL_ERROR_WANT_WRITE)) break;
        (void)ig_loop_step(f->loop, 1, NULL);
    }
    return r;
}
static int call_connect(SSL *s, void *p, int n)
{
    (void)p;
    (void)n;
    return SSL_connect(s);
}
static int call_read(SSL *s, void *p, int n) { return SSL_read(s, p, n); }
static int call_write(SSL *s, void *p, int n) { return SSL_write(s, p, n); }

typedef struct tls_client {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
} tls_client;

static bool tls_open(fix *f, tls_client *c, unsigned port, int max_version)
{
    c->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(c->ctx, 0);
    SSL_CTX_set_max_proto_version(c->ctx, max_version);
    c->ssl = SSL_new(c->ctx);
    c->fd = connect_port(port, AF_INET);
    SSL_set_fd(c->ssl, c->fd);
    return drive(f, c->ssl, call_connect, NULL, 0) == 1;
}

static void tls_close(tls_client *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
}

static long serial_of(const tls_client *c)
{
    X509 *x = SSL_get1_peer_certificate(c->ssl);
    long serial = x ? ASN1_INTEGER_get(X509_get_serialNumber(x)) : -1;
    X509_free(x);
    return serial;
}

static bool tls_ask(fix *f, tls_client *c, char *request, const char *until)
{
    static char text[100000];
    int n = 0;
    text[0] = 0;
    if (drive(f, c->ssl, call_write, request, (int)strlen(request)) <= 0) return false;
    while (!strstr(text, until)) {
        int got = drive(f, c->ssl, call_read, text + n, (int)sizeof text - 1 - n);
        if (got <= 0) return false;
        n += got;
        text[n] = 0;
    }
    return true;
}

static void test_H30_tls(void)
{
    fix f;
    fix_init(&f, NULL);
    ig_error err = {0};
    char cert[96], key[96], get[] = GET("/a"), later[] = GET("/later"), who[] = GET("/who");
    (void)snprintf(cert, sizeof cert, "%s/cert", f.folder);
    (void)snprintf(key, sizeof key, "%s/key", f.folder);
    ig_listen l = {.address = "tcp:127.0.0.1:0", .tls_cert = cert, .tls_key = key};
    ig_status st = ig_server_listen(f.server, &l, &err);
    tap_ok(st == IG_BAD_INPUT, "H30: no certificate: %s", err.text);
    write_pem(cert, key, 1);
    st = ig_server_listen(f.server, &l, &err);
    tap_ok(st == IG_OK && ig_server_n_listeners(f.server) == 3 &&
               !strncmp(ig_server_address(f.server, 2), "https://127.0.0.1:", 18),
           "H30: a TLS listener: %s", ig_server_address(f.server, 2));
    ig_listen half = {.address = "tcp:127.0.0.1:0", .tls_cert = cert},
              open_one = {.address = "tcp:0.0.0.0:0", .tls_cert = cert, .tls_key = key};
    st = ig_server_listen(f.server, &half, &err);
    tap_ok(st == IG_BAD_INPUT, "H30: half of it: %s", err.text);
    st = ig_server_listen(f.server, &open_one, &err);
    tap_ok(st == IG_DENIED, "H22: TLS without keys is not enough: %s", err.text);
    open_one.keys_required = true;
    tap_ok(ig_server_listen(f.server, &open_one, &err) == IG_OK, "H22: TLS and keys are");
    unsigned port = ig_server_port(f.server, 2);
    tls_client c;
    bool opened = tls_open(&f, &c, port, TLS1_3_VERSION);
    tap_ok(opened && tls_ask(&f, &c, get, "[GET /a] .") && tls_ask(&f, &c, get, "[GET /a] ."), "H30: %s, two requests",
           SSL_get_version(c.ssl));
    char want[64];
    (void)snprintf(want, sizeof want, "transport 2 loopback 1 known 1 uid %u", getuid());
    tap_ok(tls_ask(&f, &c, who, want), "U01: on TLS over loopback the user is known too");
    char big[60200];
    int n = snprintf(big, sizeof big, "%s", POST("/b", 60000, "", ""));
    memset(big + n, 'x', 60000);
    big[n + 60000] = 0;
    tap_ok(tls_ask(&f, &c, big, "xx."), "H30: a body of several records");
    tls_client d, e, old;
    write_pem(cert, key, 2);
    bool reloaded = ig_server_reload_tls(f.server, cert, key, &err) == IG_OK,
         second = tls_open(&f, &d, port, TLS1_2_VERSION);
    tap_ok(reloaded && second && serial_of(&c) == 1 && serial_of(&d) == 2 && tls_ask(&f, &c, get, "[GET /a] .") &&
               tls_ask(&f, &d, get, "[GET /a] ."),
           "H30: a new certificate for new connections, TLS 1.2 spoken, old ones go on");
    (void)unlink(key);
    tap_ok(ig_server_reload_tls(f.server, cert, key, &err) == IG_BAD_INPUT && tls_open(&f, &e, port, TLS1_3_VERSION) &&
               serial_of(&e) == 2,
           "H30: a failed reload changes nothing: %s", err.text);
    tap_ok(!tls_open(&f, &old, port, TLS1_1_VERSION), "H30: TLS 1.1 is refused");
    unsigned gone = f.n_gone, before = f.n_requests;
    (void)drive(&f, e.ssl, call_write, later, (int)strlen(later));
    (void)wait_for(&f, &f.n_requests, before + 1, 1000);
    tls_close(&e);
    tap_ok(wait_for(&f, &f.n_gone, gone + 1, 1000), "H16: departure over TLS");
    int plain = connect_port(port, AF_INET);
    answer a = talk(&f, plain, get, strlen(get), NULL, 1000);
    tap_ok(a.closed && !strstr(a.text, "200 OK"), "H30: plain HTTP on the TLS port is closed");
    free(a.text);
    close(plain);
    tls_close(&c);
    tls_close(&d);
    tls_close(&old);
    tap_ok(wait_conns(&f, 0, 1000), "H30: no connection is left");
    (void)unlink(cert);
    fix_fini(&f);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    test_U01_identity();
    test_U01_closed_peer();
    test_U01_other_user();
    test_H22_listeners();
    test_U03_unix_socket();
    test_socket_activation();
    test_H30_tls();
    return tap_done();
}
