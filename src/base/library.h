/* Libraries that are loaded when they are first needed, so that what does not need them starts without. */
#ifndef IG_BASE_LIBRARY_H
#define IG_BASE_LIBRARY_H

#include <stddef.h>

/* Opens the first of the file names names[0..n_names) that is there and writes the addresses of the functions
 * symbols[0..n_symbols) to `table`: consecutive function pointers, of any types. Returns the library's handle, or NULL
 * where no library is there or one of the functions is missing; `table` is then undefined. The handle is never closed:
 * the libraries in question hold global state. Any thread. */
void *ig_library_open(const char *const *names, size_t n_names, const char *const *symbols, size_t n_symbols,
                      void *table);

#endif
