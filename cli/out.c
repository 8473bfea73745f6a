#include "out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "base/utf8.h"

static int out_errno; /* of the first write that failed */

static bool result(bool ok)
{
    if (!ok && out_errno == 0) out_errno = errno ? errno : EIO;
    return ok;
}

bool cli_out(const char *text, size_t n)
{
    if (out_errno) return false;
    errno = 0;
    return result(fwrite(text, 1, n, stdout) == n);
}

bool cli_outf(const char *format, ...)
{
    if (out_errno) return false;
    va_list args;
    va_start(args, format);
    errno = 0;
    int n = vprintf(format, args);
    va_end(args);
    return result(n >= 0);
}

static bool out_clean(const char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = ig_utf8_decode(text + i, n - i, &cp);
        bool bad = len == 0 || (cp < 0x20 && cp != '\n' && cp != '\t') || (cp >= 0x7f && cp < 0xa0);
        if (!cli_out(bad ? "?" : text + i, bad ? 1 : len)) return false;
        i += len ? len : 1;
    }
    return true;
}

bool cli_out_stream(const char *text, size_t n)
{
    if (!(isatty(STDOUT_FILENO) ? out_clean(text, n) : cli_out(text, n))) return false;
    errno = 0;
    return result(fflush(stdout) == 0);
}

static int dump_piece(const char *text, size_t n, void *data)
{
    (void)data;
    return cli_out(text, n) ? 0 : -1;
}

bool cli_out_json(const json_t *object)
{
    return json_dump_callback(object, dump_piece, NULL, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 &&
           cli_out("\n", 1);
}

int cli_out_end(int code)
{
    errno = 0;
    result(fflush(stdout) == 0 && !ferror(stdout));
    if (out_errno == 0) return code;
    if (out_errno != EPIPE) fprintf(stderr, "ingle: cannot write to standard output: %s\n", strerror(out_errno));
    return code == CLI_DONE ? CLI_FAILED : code;
}

int cli_fail(const char *sentence)
{
    (void)fflush(stdout);
    fprintf(stderr, "ingle: %s\n", sentence);
    return CLI_FAILED;
}

int cli_usage(const char *sentence)
{
    cli_fail(sentence);
    return CLI_USAGE;
}

void cli_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
}

bool cli_bar_shows(void) { return isatty(STDERR_FILENO); }

void cli_bar(double share, const char *words)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    if (!cli_bar_shows()) return;
    for (int i = 0; i < WIDTH; i++) bar[i] = i < (int)(share * WIDTH) ? '#' : '.';
    bar[WIDTH] = 0;
    fprintf(stderr, "\r\x1b[K[%s] %3d %%  %.90s", bar, (int)(share * 100), words);
}

void cli_bar_end(void)
{
    if (cli_bar_shows()) fprintf(stderr, "\r\x1b[K");
}

const char *cli_bytes(uint64_t n, char out[16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)n;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) value /= 1024, unit++;
    (void)snprintf(out, 16, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}
