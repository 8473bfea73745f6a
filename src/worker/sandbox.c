#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/worker.h"

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS_FEATURE(address_sanitizer) ||                 \
    HAS_FEATURE(thread_sanitizer) || HAS_FEATURE(memory_sanitizer)
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif

enum { FILES_MAX = 320 };                      /* descriptors: a model's parts, and a few of ours */
static const rlim_t file_bytes_max = 48 << 20; /* memory files for large frames */

/* ------------------------------------------------------------------------------------------------ before */

static void on_bus_error(int number)
{
    static const char text[] = "ingle worker: a file of the model became shorter or cannot be read, expected that it "
                               "stays as it was; check the file and the disk\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    (void)number;
    _exit(IG_WORKER_DAMAGED);
}

static void limit(int resource, rlim_t most)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)resource, &now) < 0) return;
    if (now.rlim_max > most) now.rlim_max = most;
    if (now.rlim_cur > now.rlim_max) now.rlim_cur = now.rlim_max;
    if (now.rlim_cur < now.rlim_max) now.rlim_cur = now.rlim_max;
    setrlimit((__rlimit_resource_t)resource, &now);
}

static void close_others(int keep)
{
    if (keep > 3) (void)syscall(SYS_close_range, 3u, (unsigned)keep - 1, 0u);
    (void)syscall(SYS_close_range, (unsigned)keep + 1, ~0u, 0u);
}

void wk_prepare(int keep)
{
    close_others(keep);
    fcntl(keep, F_SETFD, FD_CLOEXEC);
    if (!SANITIZED) sigaction(SIGBUS, &(struct sigaction){.sa_handler = on_bus_error}, NULL);
    /* A Ctrl-C at the terminal is for the front, which then asks the worker to stop. */
    sigaction(SIGINT, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    if (!SANITIZED) prctl(PR_SET_DUMPABLE, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, FILES_MAX);
}

void wk_limit_files(uint64_t spill_bytes)
{
    limit(RLIMIT_FSIZE, spill_bytes > file_bytes_max ? spill_bytes : file_bytes_max);
}

void wk_limit_memory(uint64_t bytes)
{
    struct rlimit now;
    if (SANITIZED || bytes == 0 || getrlimit(RLIMIT_DATA, &now) < 0) return;
    now.rlim_cur = now.rlim_max == RLIM_INFINITY || bytes < now.rlim_max ? bytes : now.rlim_max;
    setrlimit(RLIMIT_DATA, &now);
}

/* ------------------------------------------------------------------------------------------------ Landlock */

/* The kernel's struct landlock_ruleset_attr of ABI 6; older kernels take a shorter one. */
typedef struct ruleset {
    uint64_t fs, net, scoped;
} ruleset;

/* Rights of files that each ABI knows (bits 0 to n-1): 1 the first 13, 2 moving between folders, 3 truncating, 5 device
 * controls. Whatever the kernel knows beyond is not asked for. */
static ruleset rules_of(int abi)
{
    unsigned n = abi >= 5 ? 16 : abi >= 3 ? 15 : abi == 2 ? 14 : 13;
    return (ruleset){.fs = ((uint64_t)1 << n) - 1, .net = abi >= 4 ? 3 : 0, .scoped = abi >= 6 ? 3 : 0};
}

static size_t size_of(int abi)
{
    return abi >= 6 ? sizeof(ruleset) : abi >= 4 ? offsetof(ruleset, scoped) : offsetof(ruleset, net);
}

/* Handles every right and grants none. Returns the ABI in force. */
static int landlock(int abi_max)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1u); /* 1: which version */
    if (abi <= 0) return 0;
    if (abi_max > 0 && abi > abi_max) abi = abi_max;
    ruleset rules = rules_of((int)abi);
    int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size_of((int)abi), 0u);
    if (fd < 0) return 0;
    long rc = syscall(SYS_landlock_restrict_self, fd, 0u);
    close(fd);
    return rc == 0 ? (int)abi : 0;
}

/* ------------------------------------------------------------------------------------------------ seccomp */

typedef struct call {
    const char *name;     /* of the system call; unknown ones of this processor are left out */
    int err_no;           /* 0: allowed, else it fails with this and nothing happens */
    int arg;              /* >= 0: allowed only where ... */
    uint64_t mask, value; /* ... argument `arg` & mask == value */
} call;

#define ALLOW(name)                                                                                                    \
    {                                                                                                                  \
        name, 0, -1, 0, 0                                                                                              \
    }
#define FAILS(name, err_no)                                                                                            \
    {                                                                                                                  \
        name, err_no, -1, 0, 0                                                                                         \
    }
#define WHERE(name, arg, mask, value)                                                                                  \
    {                                                                                                                  \
        name, 0, arg, mask, value                                                                                      \
    }
enum { THREAD_FLAGS = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND };
#define ANY (~(uint64_t)0)

/* Whatever is not here kills the process. No call of the list opens a file, makes a socket or a process, or maps
 * anything that can be executed. */
static const call calls[] = {
    ALLOW("read"),
    ALLOW("pread64"),
    ALLOW("write"),
    ALLOW("pwrite64"), /* conversations, to the file that the front has opened */
    ALLOW("writev"),
    ALLOW("lseek"),
    ALLOW("close"),
    ALLOW("fstat"),
    WHERE("newfstatat", 3, ANY, AT_EMPTY_PATH), /* fstat of the C library */
    ALLOW("recvmsg"),
    ALLOW("sendmsg"),
    ALLOW("poll"),
    ALLOW("ppoll"),
    ALLOW("memfd_create"),
    WHERE("fcntl", 1, ANY, F_GET_SEALS),
    WHERE("fcntl", 1, ANY, F_ADD_SEALS),
    WHERE("fcntl", 1, ANY, F_GETFL),
    WHERE("mmap", 2, PROT_EXEC, 0),
    WHERE("mprotect", 2, PROT_EXEC, 0),
    ALLOW("mremap"),
    ALLOW("munmap"),
    ALLOW("madvise"),
    ALLOW("brk"),
    ALLOW("futex"),
    ALLOW("sched_yield"),
    ALLOW("sched_getaffinity"),
    ALLOW("clock_gettime"),
    ALLOW("gettimeofday"), /* these two where the kernel has no fast path for them */
    ALLOW("time"),
    ALLOW("clock_nanosleep"),
    ALLOW("nanosleep"),
    ALLOW("getrandom"),
    ALLOW("rt_sigprocmask"),
    ALLOW("rt_sigaction"),
    ALLOW("rt_sigreturn"),
    ALLOW("restart_syscall"),
    ALLOW("sigaltstack"),
    ALLOW("gettid"),
    ALLOW("getpid"),
    ALLOW("exit"),
    ALLOW("exit_group"),
    /* threads: the C library falls back to clone, whose flags can be looked at */
    FAILS("clone3", ENOSYS),
    WHERE("clone", 0, THREAD_FLAGS, THREAD_FLAGS),
    ALLOW("set_robust_list"),
    ALLOW("rseq"),
    WHERE("prlimit64", 1, ANY, RLIMIT_DATA),
    /* what the C library may try on its own, and can do without */
    FAILS("open", EACCES),
    FAILS("openat", EACCES),
    FAILS("access", EACCES),
    FAILS("readlink", EACCES),
    FAILS("readlinkat", EACCES),
    FAILS("prctl", EPERM),
    FAILS("sysinfo", EPERM),
    FAILS("ioctl", ENOTTY),
    FAILS("sched_setaffinity", EPERM),
};

static int add_call(scmp_filter_ctx filter, const call *c)
{
    int number = seccomp_syscall_resolve_name(c->name);
    uint32_t action = c->err_no ? SCMP_ACT_ERRNO((uint32_t)c->err_no) : SCMP_ACT_ALLOW;
    if (number < 0) return 0;
    if (c->arg < 0) return seccomp_rule_add(filter, action, number, 0);
    struct scmp_arg_cmp where = {(unsigned)c->arg, SCMP_CMP_MASKED_EQ, c->mask, c->value};
    return seccomp_rule_add_array(filter, action, number, 1, &where);
}

static int seccomp(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter) return -ENOMEM;
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    for (size_t i = 0; rc == 0 && i < sizeof calls / sizeof *calls; i++) rc = add_call(filter, &calls[i]);
    /* abort() may send a signal, to this process alone */
    struct scmp_arg_cmp self = {0, SCMP_CMP_EQ, (uint64_t)getpid(), 0};
    if (rc == 0) rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &self);
    if (rc == 0) rc = seccomp_load(filter);
    seccomp_release(filter);
    return rc;
}

ig_status wk_confine(int abi_max, wk_sandbox *out, ig_error *err)
{
    *out = (wk_sandbox){0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return ig_fail_errno(err, IG_DENIED, errno, "the worker cannot give up new privileges");
    if (SANITIZED) return IG_OK;
    out->landlock_abi = landlock(abi_max);
    int rc = seccomp();
    if (rc < 0) return ig_fail_errno(err, IG_DENIED, -rc, "the worker cannot set its filter of system calls");
    out->seccomp = true;
    return IG_OK;
}

bool ig_worker_confine(int landlock_abi, char *why)
{
    wk_sandbox box;
    ig_error err;
    if (wk_confine(landlock_abi, &box, &err) == IG_OK) return true;
    memcpy(why, err.text, 255);
    why[255] = 0;
    return false;
}
