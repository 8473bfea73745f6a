/* The verbs on models when a service keeps them: the same words and output, through HTTP. All return exit codes. */
#ifndef INGLE_CLI_FAR_H
#define INGLE_CLI_FAR_H

#include "args.h"

int far_pull(const cli_call *call);
int far_push(const cli_call *call);
int far_list(const cli_call *call);
int far_rm(const cli_call *call);
int far_cp(const cli_call *call);
/* run: streams the answer of the service. */
int far_run(const cli_call *call);
/* Flags of `run` that the service cannot honour; NULL: none is set. */
const char *far_run_obstacle(const cli_call *call);

#endif
