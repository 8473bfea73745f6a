/* The process behind one model, started by the service with its end of a socket pair as descriptor 3. Not for people:
 * no row of the table shows it. */
#include "worker/worker.h"

#include <stdbool.h>
#include <sys/socket.h>

#include "base/status.h"
#include "bridge/bridge.h"
#include "out.h"
#include "verbs.h"

enum { WORKER_FD = 3 };

static bool has_socket(void)
{
    int type = 0;
    socklen_t size = sizeof type;
    return !getsockopt(WORKER_FD, SOL_SOCKET, SO_TYPE, &type, &size) && type == SOCK_STREAM;
}

static const char no_socket[] =
    "ingle worker is started by the service, with a socket as descriptor 3. Type: ingle help";

int cli_worker(const cli_call *call)
{
    (void)call;
    return has_socket() ? ig_worker_main(WORKER_FD) : cli_usage(no_socket);
}

/* `ingle worker engine NAME`: the name is for the list of processes. */
int cli_bridge(void) { return has_socket() ? ig_bridge_main(WORKER_FD) : cli_usage(no_socket); }
