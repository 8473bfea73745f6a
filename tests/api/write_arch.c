/* write_arch NAME FILE: a tiny random model of tests/golden/make_archs.c, for tests from outside. */
#include <stdio.h>

#include "tests/golden/make_archs.h"

int main(int argc, char **argv)
{
    if (argc == 3 && arch_case_write(argv[1], argv[2])) return 0;
    fprintf(stderr, "usage: write_arch NAME FILE\n");
    return 1;
}
