/* ingle: finds the verb, parses its arguments and runs it. Exit codes: 0 done, 1 the request cannot be met, 2 wrong
 * usage, 3 "no" from a check, 130 interrupted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "base/os.h"
#include "help.h"
#include "ingle.h"
#include "out.h"
#include "verbs.h"

static int unknown_verb(const char *word)
{
    const char *near = cli_nearest_verb(word);
    ig_error err;
    if (near)
        ig_fail(&err, IG_BAD_INPUT, 0, "there is no verb \"%.60s\", did you mean %s? Type: ingle help", word, near);
    else
        ig_fail(&err, IG_BAD_INPUT, 0, "there is no verb \"%.60s\", expected one like run or show. Type: ingle help",
                word);
    return cli_usage(err.text);
}

/* --store DIR of whatever verb stands for the variable that all of them read. */
static void set_store(const cli_call *call)
{
    for (size_t i = 0; i < call->verb->n_flags; i++)
        if (!strcmp(call->verb->flags[i].name, "store") && call->values[i].set)
            (void)setenv("INGLE_STORE", call->values[i].text, 1);
}

int main(int argc, char **argv)
{
    uint64_t start_ns = ig_now_ns();
    const char *word = argc > 1 ? argv[1] : NULL;
    cli_call call;
    ig_error err;
    if (!word) {
        help_overview(stderr);
        return CLI_USAGE;
    }
    if (!strcmp(word, "worker"))
        return cli_out_end(argc > 2 && !strcmp(argv[2], "engine") ? cli_bridge() : cli_worker(NULL));
    if (!strcmp(word, "-h") || !strcmp(word, "--help")) word = "help";
    if (!strcmp(word, "-V") || !strcmp(word, "--version")) word = "version";
    const cli_verb *verb = cli_verb_find(word);
    if (!verb) return unknown_verb(word);
    int code;
    if (cli_parse(&call, verb, argc - 2, argv + 2, &err) != IG_OK) {
        code = cli_usage(err.text);
    } else if (call.help) {
        help_verb(stdout, verb);
        code = CLI_DONE;
    } else {
        call.start_ns = start_ns;
        set_store(&call);
        code = verb->run(&call);
    }
    cli_call_fini(&call);
    return cli_out_end(code);
}

int cli_version(const cli_call *call)
{
    (void)call;
    cli_outf("ingle %s\n", ingle_version());
    return CLI_DONE;
}
