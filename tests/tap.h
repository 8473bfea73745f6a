/* Test Anything Protocol for test programs in C: ok/not ok lines, skips with a reason, the plan at the end. */
#ifndef IG_TESTS_TAP_H
#define IG_TESTS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#define TAP_HAS(x) __has_feature(x)
#else
#define TAP_HAS(x) 0
#endif
/* Built with a sanitizer: code runs ten times slower and memory means nothing. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || TAP_HAS(address_sanitizer) ||                     \
    TAP_HAS(thread_sanitizer)
__attribute__((unused)) static const bool tap_sanitized = true;
#else
__attribute__((unused)) static const bool tap_sanitized = false;
#endif

static int tap_n, tap_failed;

__attribute__((format(printf, 2, 3), unused)) static bool tap_ok(bool pass, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%sok %d - ", pass ? "" : "not ", ++tap_n);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    if (!pass) tap_failed++;
    fflush(stdout);
    return pass;
}

__attribute__((format(printf, 2, 3), unused)) static void tap_skip(const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("ok %d - %s # SKIP ", ++tap_n, name);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
}

__attribute__((unused)) static int tap_done(void)
{
    printf("1..%d\n", tap_n);
    return tap_failed ? 1 : 0;
}

/* Folder with the reference data: INGLE_GOLDEN, or the default that the runner passes. */
__attribute__((unused)) static const char *tap_golden(void)
{
    const char *dir = getenv("INGLE_GOLDEN");
    return dir && *dir ? dir : "../shared/golden";
}

/* Folder with the repository's own data. */
__attribute__((unused)) static const char *tap_data(void)
{
    const char *dir = getenv("INGLE_DATA");
    return dir && *dir ? dir : "tests/data";
}

/* Whole file, *n bytes; NULL when it cannot be read. The caller frees. */
__attribute__((unused)) static void *tap_read(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    *n = 0;
    if (!f) return NULL;
    char *data = NULL;
    size_t cap = 0;
    for (size_t got = 1; got;) {
        if (*n + 65536 + 1 > cap) data = realloc(data, cap = cap * 2 + 131072);
        if (!data) abort();
        got = fread(data + *n, 1, 65536, f);
        *n += got;
    }
    data[*n] = 0;
    fclose(f);
    return data;
}

#endif
