#include "help.h"

#include <string.h>

#include "args.h"
#include "base/status.h"
#include "out.h"
#include "verbs.h"

void help_overview(FILE *to)
{
    fprintf(to, "Usage: ingle VERB ...\n\nRuns language models from files on this computer.\n\nVerbs:\n");
    for (size_t i = 0; i < n_cli_verbs; i++) {
        const cli_verb *v = &cli_verbs[i];
        char head[64];
        (void)snprintf(head, sizeof head, "%s %s", v->name, v->args);
        fprintf(to, "  %-26s  %s\n", head, v->summary);
    }
    fprintf(to, "\nType ingle VERB --help for its flags.\n");
}

/* Prints text broken into lines of at most 80 columns; `column` is where the first word goes, `indent` where the rest.
 */
static void wrap(FILE *to, const char *text, size_t column, size_t indent)
{
    bool first = true;
    for (const char *p = text; *p;) {
        if (*p == '\n') {
            fprintf(to, "\n\n");
            p += strspn(p, "\n");
            column = 0;
            first = true;
            continue;
        }
        size_t n = strcspn(p, " \n");
        if (!first && column + 1 + n > 80) {
            fprintf(to, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        fprintf(to, "%s%.*s", first ? "" : " ", (int)n, p);
        column += n + !first;
        first = false;
        p += n + (p[n] == ' ');
    }
    fputc('\n', to);
}

static void flag_head(const cli_flag *f, char *out, size_t n)
{
    char letter[8] = "";
    if (f->letter) (void)snprintf(letter, sizeof letter, "-%c, ", f->letter);
    (void)snprintf(out, n, "%s--%s%s%s", letter, f->name, f->arg ? " " : "", f->arg ? f->arg : "");
}

/* Adds what values are allowed, which the help sentence does not say. */
static void flag_help(const cli_flag *f, char *out, size_t n)
{
    if (f->kind == CLI_CHOICE)
        (void)snprintf(out, n, "%s; one of %s", f->help, f->choices);
    else
        (void)snprintf(out, n, "%s", f->help);
}

void help_verb(FILE *to, const cli_verb *verb)
{
    fprintf(to, "Usage: ingle %s%s%s%s\n\n", verb->name, verb->args[0] ? " " : "", verb->args,
            verb->n_flags ? " [FLAGS]" : "");
    wrap(to, verb->about, 0, 0);
    if (verb->n_flags) fprintf(to, "\nFlags:\n");
    for (size_t i = 0; i < verb->n_flags; i++) {
        char head[64], text[256];
        flag_head(&verb->flags[i], head, sizeof head);
        flag_help(&verb->flags[i], text, sizeof text);
        fprintf(to, "  %-24s  ", head);
        wrap(to, text, strlen(head) > 24 ? strlen(head) + 4 : 28, 28);
    }
    fprintf(to, "\nExamples:\n");
    for (const char *p = verb->examples; *p;) {
        size_t n = strcspn(p, "\n");
        fprintf(to, "  %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

int cli_help(const cli_call *call)
{
    ig_error err;
    const char *name = call->n_args ? call->args[0] : NULL;
    bool man = cli_set(call, "man");
    const cli_verb *verb = name ? cli_verb_find(name) : NULL;
    if (name && !verb && !(man && !strcmp(name, "ingle"))) {
        ig_fail(&err, IG_BAD_INPUT, 0, "there is no verb \"%.60s\" to explain. Type: ingle help", name);
        return cli_usage(err.text);
    }
    if (man)
        help_man(stdout, verb);
    else if (verb)
        help_verb(stdout, verb);
    else
        help_overview(stdout);
    return CLI_DONE;
}
