/* Manual pages in man(7) macros. */
#include <string.h>

#include "help.h"
#include "ingle.h"

/* Text with the characters that roff would read as commands written safely. */
static void roff(FILE *to, const char *text)
{
    bool line_start = true;
    for (const char *p = text; *p; p++) {
        if (line_start && (*p == '.' || *p == '\'')) fputs("\\&", to);
        if (*p == '\\')
            fputs("\\e", to);
        else if (*p == '-')
            fputs("\\-", to);
        else
            fputc(*p, to);
        line_start = *p == '\n';
    }
}

static void paragraphs(FILE *to, const char *text)
{
    for (const char *p = text; *p;) {
        const char *end = strstr(p, "\n\n");
        size_t n = end ? (size_t)(end - p) : strlen(p);
        char copy[1024];
        (void)snprintf(copy, sizeof copy, "%.*s", (int)n, p);
        if (p != text) fprintf(to, ".PP\n");
        roff(to, copy);
        fputc('\n', to);
        p += n + (end ? 2 : 0);
    }
}

static void flags(FILE *to, const cli_verb *verb)
{
    if (verb->n_flags) fprintf(to, ".SH OPTIONS\n");
    for (size_t i = 0; i < verb->n_flags; i++) {
        const cli_flag *f = &verb->flags[i];
        fprintf(to, ".TP\n");
        if (f->letter) fprintf(to, "\\fB\\-%c\\fR, ", f->letter);
        fprintf(to, "\\fB\\-\\-");
        roff(to, f->name);
        fprintf(to, "\\fR%s\\fI%s\\fR\n", f->arg ? " " : "", f->arg ? f->arg : "");
        roff(to, f->help);
        if (f->kind == CLI_CHOICE) fprintf(to, "; one of %s", f->choices);
        fputc('\n', to);
    }
}

static void head(FILE *to, const char *name, const char *summary, const char *synopsis)
{
    fprintf(to, ".TH ");
    for (const char *p = name; *p; p++) fputc(*p >= 'a' && *p <= 'z' ? *p - 32 : *p, to);
    fprintf(to, " 1 \"2026-11-21\" \"ingle %s\" \"User Commands\"\n.SH NAME\n", ingle_version());
    roff(to, name);
    fprintf(to, " \\- %s\n.SH SYNOPSIS\n\\fBingle\\fR %s\n", summary, synopsis);
}

static void tail(FILE *to)
{
    fprintf(to, ".SH EXIT STATUS\n"
                "0: done. 1: the request cannot be met, a sentence on standard error says why. 2: wrong usage. "
                "3: the answer of a check is no. 130: interrupted.\n");
}

static void help_man_overview(FILE *to)
{
    head(to, "ingle", "run language models on this computer", "\\fIVERB\\fR ...");
    fprintf(to, ".SH DESCRIPTION\nRuns language models from files on this computer. Nothing leaves it.\n.SH VERBS\n");
    for (size_t i = 0; i < n_cli_verbs; i++) {
        fprintf(to, ".TP\n\\fB%s\\fR \\fI", cli_verbs[i].name);
        roff(to, cli_verbs[i].args);
        fprintf(to, "\\fR\n%s\n", cli_verbs[i].summary);
    }
    fprintf(to,
            ".SH ENVIRONMENT\n.TP\nINGLE_KERNELS\nlevel of kernels to use: ref, avx2, avxvnni, avx512 or amx, on arm64 "
            "ref, neon, dotprod or "
            "i8mm (default: the best that the processor has)\n");
    tail(to);
    fprintf(to, ".SH SEE ALSO\n\\fBingle\\-run\\fR(1), \\fBingle\\-show\\fR(1), \\fBingle\\-tokenize\\fR(1), "
                "\\fBingle\\-eval\\fR(1), \\fBingle\\-bench\\fR(1)\n");
}

void help_man(FILE *to, const cli_verb *verb)
{
    char name[64], synopsis[128];
    if (!verb) {
        help_man_overview(to);
        return;
    }
    (void)snprintf(name, sizeof name, "ingle-%s", verb->name);
    (void)snprintf(synopsis, sizeof synopsis, "\\fB%s\\fR \\fI%s\\fR%s", verb->name, verb->args,
                   verb->n_flags ? " [\\fIFLAGS\\fR]" : "");
    head(to, name, verb->summary, synopsis);
    fprintf(to, ".SH DESCRIPTION\n");
    paragraphs(to, verb->about);
    flags(to, verb);
    fprintf(to, ".SH EXAMPLES\n.nf\n");
    roff(to, verb->examples);
    fprintf(to, "\n.fi\n");
    tail(to);
    fprintf(to, ".SH SEE ALSO\n\\fBingle\\fR(1)\n");
}
