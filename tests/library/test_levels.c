/* Run-time choice of kernels: test_levels LEVEL, the level that must be taken where nobody names one. Every weaker one
 * can be had by name, every stronger one is refused with what the CPU lacks, and so are other processors' ones. */
#include "kernel/kernel.h"
#include "tests/tap.h"

static void refused(const char *name, ig_status status, const char *words)
{
    ig_error err = {0};
    const ig_kernels *k = ig_kernels_get(name, &err);
    tap_ok(!k && err.status == status && strstr(err.text, words), "%s is refused: %s", name, err.text);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s LEVEL\n", argv[0]);
        return 2;
    }
    unsetenv("INGLE_KERNELS");
    const ig_kernels *best = ig_kernels_get(NULL, NULL);
    tap_ok(!strcmp(best->level, argv[1]), "the best level is %s, expected %s", best->level, argv[1]);
    bool beyond = false;
    for (const char *const *name = ig_kernel_levels(); *name; name++) {
        if (beyond)
            refused(*name, IG_UNSUPPORTED, "which this CPU lacks");
        else {
            const ig_kernels *k = ig_kernels_get(*name, NULL);
            tap_ok(k && !strcmp(k->level, *name), "%s can be had", *name);
        }
        if (!strcmp(*name, argv[1])) beyond = true;
    }
    setenv("INGLE_KERNELS", "ref", 1);
    tap_ok(!strcmp(ig_kernels_get(NULL, NULL)->level, "ref"), "INGLE_KERNELS=ref is obeyed");
    tap_ok(!strcmp(ig_kernels_get(argv[1], NULL)->level, argv[1]), "and a name is stronger");
#if defined(__aarch64__)
    refused("avx2", IG_UNSUPPORTED, "is not for this CPU");
#else
    refused("neon", IG_UNSUPPORTED, "is not for this CPU");
#endif
    refused("mmx", IG_BAD_INPUT, "is not known");
    return tap_done();
}
