#include "line.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "base/mem.h"

enum { HISTORY_LINES = 1000, LINE_BYTES_MAX = 16 << 20, PATH_BYTES = 4096 };

struct cli_line {
    bool (*interrupted)(void);
    EditLine *edit; /* NULL: no terminal */
    History *history;
    HistEvent event;
    const char *prompt;
    char path[PATH_BYTES]; /* of the history, empty: none */
    bool silent;           /* nothing is added to it */
    char *line;            /* getline's */
    size_t cap;
    char *copy; /* the last line of libedit without its newline */
};

static char *get_prompt(EditLine *edit)
{
    cli_line *l = NULL;
    el_get(edit, EL_CLIENTDATA, &l);
    union {
        const char *in;
        char *out; /* libedit only reads it */
    } text = {.in = l->prompt};
    return text.out;
}

/* Waits for a byte. SIGINT comes through during the wait alone, so that none is missed between a look at the flag and
 * the wait. */
static bool wait_for_byte(const cli_line *l)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    sigset_t block, old;
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigprocmask(SIG_BLOCK, &block, &old);
    int ready = 0;
    while (!l->interrupted() && ready <= 0) {
        ready = ppoll(&p, 1, NULL, &old);
        if (ready < 0 && errno != EINTR) break;
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (!l->interrupted()) return ready > 0;
    errno = EINTR;
    return false;
}

/* One character for libedit: 1, 0 at the end, -1. */
static int get_char(EditLine *edit, wchar_t *out)
{
    cli_line *l = NULL;
    mbstate_t state = {0};
    el_get(edit, EL_CLIENTDATA, &l);
    for (;;) {
        char byte;
        if (!wait_for_byte(l)) return -1;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n <= 0) return n == 0 ? 0 : -1;
        if (byte == 0) byte = 4; /* Ctrl-D typed before the terminal was ours reads as NUL */
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-2) continue; /* more bytes */
        if (used != (size_t)-1) return 1;
        *out = L'?';
        return 1;
    }
}

/* Makes the folder, and the one above it. */
static void find_history(cli_line *l)
{
    char dir[PATH_BYTES - 32];
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (state && state[0] == '/')
        n = snprintf(dir, sizeof dir, "%s", state);
    else if (home && home[0] == '/')
        n = snprintf(dir, sizeof dir, "%s/.local/state", home);
    if (n < 0 || (size_t)n >= sizeof dir) return;
    for (char *p = strchr(dir + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        (void)mkdir(dir, 0700);
        *p = '/';
    }
    (void)mkdir(dir, 0700);
    (void)snprintf(l->path, sizeof l->path, "%s/ingle", dir);
    (void)mkdir(l->path, 0700);
    (void)snprintf(l->path, sizeof l->path, "%s/ingle/chat_history", dir);
}

static bool open_edit(cli_line *l)
{
    setlocale(LC_CTYPE, "");
    l->edit = el_init("ingle", stdin, stdout, stderr);
    l->history = history_init();
    if (!l->edit || !l->history) return false;
    history(l->history, &l->event, H_SETSIZE, HISTORY_LINES);
    history(l->history, &l->event, H_SETUNIQUE, 1);
    el_set(l->edit, EL_CLIENTDATA, l);
    el_set(l->edit, EL_PROMPT, get_prompt);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_HIST, history, l->history);
    el_set(l->edit, EL_SIGNAL, 0);
    el_set(l->edit, EL_GETCFN, get_char);
    el_set(l->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    find_history(l);
    if (l->path[0]) history(l->history, &l->event, H_LOAD, l->path);
    return true;
}

cli_line *cli_line_open(bool (*interrupted)(void))
{
    cli_line *l = ig_calloc(1, sizeof *l);
    if (!l) return NULL;
    l->interrupted = interrupted;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || open_edit(l)) return l;
    cli_line_close(l);
    return NULL;
}

void cli_line_close(cli_line *l)
{
    if (!l) return;
    if (l->history && l->path[0]) {
        mode_t old = umask(077);
        history(l->history, &l->event, H_SAVE, l->path);
        umask(old);
    }
    if (l->edit) el_end(l->edit);
    if (l->history) history_end(l->history);
    free(l->line);
    ig_free(l->copy);
    ig_free(l);
}

bool cli_line_is_terminal(const cli_line *l) { return l->edit != NULL; }
void cli_line_remember(cli_line *l, bool on) { l->silent = !on; }

static cli_line_result finish(char *line, size_t len, const char **text, size_t *n)
{
    if (len && line[len - 1] == '\n') len--;
    if (len && line[len - 1] == '\r') len--;
    line[len] = 0;
    *text = line, *n = len;
    return CLI_LINE_READ;
}

static cli_line_result read_edit(cli_line *l, const char **text, size_t *n)
{
    int len = 0;
    errno = 0;
    const char *line = el_gets(l->edit, &len);
    if (!line || len <= 0) {
        if (!l->interrupted()) return CLI_LINE_END;
        el_reset(l->edit);
        return CLI_LINE_INTERRUPTED;
    }
    if (!l->silent && len > 1) history(l->history, &l->event, H_ENTER, line);
    ig_free(l->copy);
    l->copy = ig_alloc((size_t)len + 1);
    if (!l->copy) return CLI_LINE_END;
    memcpy(l->copy, line, (size_t)len);
    return finish(l->copy, (size_t)len, text, n);
}

cli_line_result cli_line_read(cli_line *l, const char *prompt, const char **text, size_t *n)
{
    l->prompt = prompt;
    if (l->edit) return read_edit(l, text, n);
    if (isatty(STDIN_FILENO)) (void)fputs(prompt, stderr), (void)fflush(stderr);
    errno = 0;
    ssize_t len = getline(&l->line, &l->cap, stdin);
    if (len < 0) return errno == EINTR ? CLI_LINE_INTERRUPTED : CLI_LINE_END;
    if (len > LINE_BYTES_MAX) return CLI_LINE_END;
    return finish(l->line, (size_t)len, text, n);
}
