/* ingle grammar check: does a text match a grammar or a schema, and can the grammar be enforced at all. */
#include <string.h>

#include "input.h"
#include "out.h"
#include "verbs.h"

static ingle_status open_grammar(const cli_call *call, ingle_grammar **out, ingle_error *err)
{
    const char *schema = cli_text(call, "json-schema"), *file = schema ? schema : cli_text(call, "grammar");
    ig_buf source;
    *out = NULL;
    ingle_status st = input_text(NULL, file, &source, err);
    if (st == INGLE_OK)
        st = ingle_grammar_open(schema ? INGLE_GRAMMAR_JSON_SCHEMA : INGLE_GRAMMAR_GBNF, source.ptr, source.len, out,
                                err);
    ig_buf_fini(&source);
    return st;
}

int cli_grammar(const cli_call *call)
{
    ingle_grammar *grammar = NULL;
    ingle_error err;
    ig_buf text;
    bool match = false;
    size_t n_fits = 0;
    if (strcmp(call->args[0], "check") != 0)
        return cli_usage(
            "grammar knows only \"check\". Type: ingle grammar check --json-schema FILE | --grammar FILE [--file F]");
    if (cli_set(call, "json-schema") == cli_set(call, "grammar"))
        return cli_usage(
            "grammar check wants one of --json-schema FILE and --grammar FILE. Type: ingle grammar --help");
    ig_buf_init(&text, 0);
    ingle_status st = open_grammar(call, &grammar, &err);
    if (st == INGLE_OK) st = input_text(NULL, cli_text(call, "file"), &text, &err);
    if (st == INGLE_OK) st = ingle_grammar_match(grammar, text.ptr, text.len, &match, &n_fits, &err);
    if (st == INGLE_OK && !match) {
        if (n_fits < text.len)
            cli_note("the text does not match: byte %zu cannot follow\n", n_fits + 1);
        else
            cli_note("the text does not match: it ends too early, after %zu bytes\n", text.len);
    }
    ig_buf_fini(&text);
    ingle_grammar_close(grammar);
    return st != INGLE_OK ? cli_fail(err.text) : match ? CLI_DONE : CLI_NO;
}
