#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

void *ig_library_open(const char *const *names, size_t n_names, const char *const *symbols, size_t n_symbols,
                      void *table)
{
    void *handle = NULL;
    for (size_t i = 0; i < n_names && !handle; i++) handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; i < n_symbols && handle; i++) {
        void *p = dlsym(handle, symbols[i]);
        if (!p) return NULL;
        memcpy((char *)table + i * sizeof p, &p, sizeof p); /* POSIX: a function's address fits a void pointer */
    }
    return handle;
}
