/* The verbs on models when a service keeps them: the same words and output, through HTTP. All return exit codes. */
#ifndef INGLE_CLI_FAR_H
#define INGLE_CLI_FAR_H

#include <jansson.h>

#include "args.h"
#include "base/status.h"

int far_pull(const cli_call *call);
int far_push(const cli_call *call);
/* show: false where the service is not asked, or was not named and does not know the model. */
bool far_show(const cli_call *call, int *code);
int far_list(const cli_call *call);
int far_rm(const cli_call *call);
int far_cp(const cli_call *call);
int far_dry(const cli_call *call, const char *what); /* "NAME would be WHAT", where the service has it */
/* run: streams the answer of the service. */
int far_run(const cli_call *call);
/* What the flags of `run` and `chat` say, as the service wants it; new references. Options: what is not said is left to
 * the model's parameters. */
json_t *far_options(const cli_call *call);
ig_status far_format(const cli_call *call, json_t **out, ig_error *err);
json_t *far_think(const char *think); /* NULL where nothing is said */
/* run and chat: whether the service is asked. *code is set (usage) where it has to be but cannot. */
typedef enum far_choice { FAR_HERE, FAR_THERE, FAR_NEITHER } far_choice;
far_choice far_choose(const cli_call *call, int *code);
/* tokenize, template, embed, bench: whether the service is asked, because --host, INGLE_HOST or OLLAMA_HOST names one
 * and MODEL is no file here. local: flags that only this process can honour, NULL ends the list; with one of them
 * --host is wrong usage (*code is set), and a variable of the environment is not followed. */
far_choice far_choose_query(const cli_call *call, const char *const *local, int *code);
int far_tokenize(const cli_call *call);
int far_template(const cli_call *call);
int far_embed(const cli_call *call);
int far_bench_run(const cli_call *call);
/* bench.c: of n > 0 figures, which it puts in order. */
double bench_median(double *x, uint32_t n);
/* Flags of `run` that the service cannot honour; NULL: none is set. */
const char *far_run_obstacle(const cli_call *call);

#endif
