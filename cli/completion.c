/* Shell completion scripts. They hold the table's words; nothing is run while completing. */
#include <string.h>

#include "args.h"
#include "out.h"
#include "verbs.h"

static void words(const char *list)
{
    for (const char *p = list; *p; p++) cli_out(*p == '|' ? " " : p, 1);
}

static void verb_words(void)
{
    for (size_t i = 0; i < n_cli_verbs; i++) cli_outf("%s%s", i ? " " : "", cli_verbs[i].name);
}

static void bash_verb(const cli_verb *v)
{
    cli_outf("    %s)\n        case $prev in\n", v->name);
    for (size_t i = 0; i < v->n_flags; i++) {
        const cli_flag *f = &v->flags[i];
        if (f->kind == CLI_SWITCH) continue;
        cli_outf("        --%s", f->name);
        if (f->letter) cli_outf("|-%c", f->letter);
        cli_outf(") ");
        if (f->kind == CLI_FILE) {
            cli_outf("COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n");
        } else if (f->kind == CLI_CHOICE) {
            cli_outf("COMPREPLY=($(compgen -W \"");
            words(f->choices);
            cli_outf("\" -- \"$cur\")); return ;;\n");
        } else {
            cli_outf("return ;;\n");
        }
    }
    cli_outf("        esac\n        flags=\"--help");
    for (size_t i = 0; i < v->n_flags; i++) cli_outf(" --%s", v->flags[i].name);
    cli_outf("\"\n");
    if (!strcmp(v->arg_words, "@verb")) {
        cli_outf("        words=\"");
        verb_words();
        cli_outf("\"\n");
    } else if (v->arg_words[0] && v->arg_words[0] != '@') {
        cli_outf("        words=\"");
        words(v->arg_words);
        cli_outf("\"\n");
    }
    cli_outf("        ;;\n");
}

static void bash(void)
{
    cli_outf("# bash completion for ingle\n_ingle()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
             "    local flags= words=\n    COMPREPLY=()\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
             "        COMPREPLY=($(compgen -W \"");
    verb_words();
    cli_outf("\" -- \"$cur\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < n_cli_verbs; i++) bash_verb(&cli_verbs[i]);
    cli_outf("    esac\n    case $cur in\n    -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\")) ;;\n"
             "    *) if [ -n \"$words\" ]; then COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
             "       else COMPREPLY=($(compgen -f -- \"$cur\")); fi ;;\n    esac\n}\ncomplete -o filenames -F _ingle ingle\n");
}

/* Text inside single quotes of zsh's _arguments and fish: quotes, colons and brackets are left out. */
static void plain(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!strchr("'\\[]:", *p)) cli_out(p, 1);
}

static void zsh_flag(const cli_flag *f)
{
    cli_outf(" \\\n            '%s--%s[", f->kind == CLI_LIST ? "*" : "", f->name);
    plain(f->help);
    cli_outf("]");
    if (f->kind == CLI_CHOICE) {
        cli_outf(":%s:(", f->arg);
        words(f->choices);
        cli_outf(")");
    } else if (f->kind != CLI_SWITCH) {
        cli_outf(":%s:%s", f->arg, f->kind == CLI_FILE ? "_files" : "");
    }
    cli_outf("'");
}

static void zsh(void)
{
    cli_outf("#compdef ingle\n_ingle() {\n    if (( CURRENT == 2 )); then\n        local -a verbs=(\n");
    for (size_t i = 0; i < n_cli_verbs; i++) cli_outf("            '%s:%s'\n", cli_verbs[i].name, cli_verbs[i].summary);
    cli_outf("        )\n        _describe verb verbs\n        return\n    fi\n    local verb=$words[2]\n    shift words\n"
             "    (( CURRENT-- ))\n    case $verb in\n");
    for (size_t i = 0; i < n_cli_verbs; i++) {
        const cli_verb *v = &cli_verbs[i];
        cli_outf("    %s)\n        _arguments '--help[explain the verb]'", v->name);
        for (size_t k = 0; k < v->n_flags; k++) zsh_flag(&v->flags[k]);
        if (!strcmp(v->arg_words, "@file")) cli_outf(" \\\n            '1:file:_files' '*:text:'");
        else if (!strcmp(v->arg_words, "@verb")) cli_outf(" \\\n            '1:verb:("), verb_words(), cli_outf(")'");
        else if (v->arg_words[0]) cli_outf(" \\\n            '1:word:("), words(v->arg_words), cli_outf(")'");
        cli_outf("\n        ;;\n");
    }
    cli_outf("    esac\n}\n_ingle \"$@\"\n");
}

static void fish(void)
{
    cli_outf("# fish completion for ingle\n");
    for (size_t i = 0; i < n_cli_verbs; i++) {
        const cli_verb *v = &cli_verbs[i];
        cli_outf("complete -c ingle -n __fish_use_subcommand -f -a %s -d '%s'\n", v->name, v->summary);
        for (size_t k = 0; k < v->n_flags; k++) {
            const cli_flag *f = &v->flags[k];
            cli_outf("complete -c ingle -n '__fish_seen_subcommand_from %s' -l %s", v->name, f->name);
            if (f->letter) cli_outf(" -s %c", f->letter);
            if (f->kind == CLI_CHOICE) cli_outf(" -x -a '"), words(f->choices), cli_outf("'");
            else if (f->kind == CLI_FILE) cli_outf(" -r");
            else if (f->kind != CLI_SWITCH) cli_outf(" -x");
            cli_outf(" -d '");
            plain(f->help);
            cli_outf("'\n");
        }
        if (v->arg_words[0] && v->arg_words[0] != '@') {
            cli_outf("complete -c ingle -n '__fish_seen_subcommand_from %s' -f -a '", v->name);
            words(v->arg_words);
            cli_outf("'\n");
        }
    }
}

int cli_completion(const cli_call *call)
{
    const char *shell = call->args[0];
    if (!strcmp(shell, "bash")) bash();
    else if (!strcmp(shell, "zsh")) zsh();
    else if (!strcmp(shell, "fish")) fish();
    else return cli_usage("completion knows the shells bash, zsh and fish. Type: ingle completion bash");
    return CLI_DONE;
}
