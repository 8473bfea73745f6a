/* The process behind one model, started by the service with its end of a socket pair as descriptor 3. Not for people:
 * no row of the table shows it. */
#include "worker/worker.h"

#include <sys/socket.h>

#include "base/status.h"
#include "out.h"
#include "verbs.h"

enum { WORKER_FD = 3 };

int cli_worker(const cli_call *call)
{
    int type = 0;
    socklen_t size = sizeof type;
    (void)call;
    if (getsockopt(WORKER_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM)
        return cli_usage("ingle worker is started by the service, with a socket as descriptor 3. Type: ingle help");
    return ig_worker_main(WORKER_FD);
}
