/* The kernel levels that tests of whole models walk through: all of this kind of processor, weakest first (a model says
 * which the CPU lacks), or those alone that INGLE_TEST_LEVELS names, as where an emulator is slow. */
#ifndef IG_TESTS_LEVELS_H
#define IG_TESTS_LEVELS_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__aarch64__)
static const char *const levels[] = {"ref", "neon", "dotprod", "i8mm"};
#else
static const char *const levels[] = {"ref", "avx2", "avxvnni", "avx512", "amx-emulated", "amx"};
#endif

/* Names in INGLE_TEST_LEVELS are separated by spaces. */
__attribute__((unused)) static bool level_wanted(const char *name)
{
    const char *all = getenv("INGLE_TEST_LEVELS");
    size_t n = strlen(name);
    if (!all || !*all) return true;
    for (const char *at = all; (at = strstr(at, name)); at += n)
        if ((at == all || at[-1] == ' ') && (!at[n] || at[n] == ' ')) return true;
    return false;
}

#endif
