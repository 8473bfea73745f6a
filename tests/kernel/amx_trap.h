/* Runs AMX instructions on a processor without them: each one raises SIGILL, is decoded as the architecture writes it
 * down, done by x86/amx_emulated.h, and stepped over. So the very code of the level amx can be tested, registers,
 * strides and addresses included; not its speed, and not a processor. Any thread. */
#ifndef IG_TESTS_KERNEL_AMX_TRAP_H
#define IG_TESTS_KERNEL_AMX_TRAP_H

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <ucontext.h>

#include "kernel/x86/amx_emulated.h"

static _Thread_local amx_state trapped;
static atomic_ulong n_trapped;

typedef struct decoded {
    unsigned opcode, pp, reg, rm, vvvv; /* pp: 0 none, 1 66, 2 F3, 3 F2 */
    bool in_memory;
    uintptr_t address; /* with memory: base and displacement, */
    int64_t index;     /* and what it is indexed by, 0: nothing */
    size_t length;
} decoded;

static int64_t general(const ucontext_t *c, unsigned r)
{
    static const int at[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return c->uc_mcontext.gregs[at[r]];
}

static int64_t displacement(const uint8_t *p, size_t n)
{
    int8_t one;
    int32_t four;
    memcpy(&one, p, 1);
    memcpy(&four, p, 4);
    return n == 1 ? one : n == 4 ? four : 0;
}

/* An instruction with a three-byte VEX prefix of the map 0F38, 128 bits, W0; false: another one. */
static bool decode(const ucontext_t *c, decoded *d)
{
    const uint8_t *start = (const uint8_t *)(uintptr_t)c->uc_mcontext.gregs[REG_RIP], *p = start;
    if (p[0] != 0xC4 || (p[1] & 31) != 2 || p[2] & 0x84) return false;
    unsigned r = p[1] & 0x80 ? 0 : 8, x = p[1] & 0x40 ? 0 : 8, b = p[1] & 0x20 ? 0 : 8;
    unsigned mod = p[4] >> 6;
    *d = (decoded){
        .opcode = p[3], .pp = p[2] & 3, .vvvv = ~p[2] >> 3 & 15, .reg = (p[4] >> 3 & 7) + r, .rm = (p[4] & 7) + b};
    d->in_memory = mod != 3;
    p += 5;
    if (d->in_memory) {
        unsigned base = d->rm;
        size_t n = mod == 1 ? 1 : mod == 2 ? 4 : 0;
        if ((d->rm & 7) == 4) {
            unsigned index = (*p >> 3 & 7) + x;
            base = (*p & 7) + b;
            if (index != 4) d->index = general(c, index) * (1 << (*p >> 6));
            p++;
        }
        if (mod == 0 && (base & 7) == 5) return false; /* no base, or relative: compilers need not, here */
        d->address = (uintptr_t)(general(c, base) + displacement(p, n));
        p += n;
    }
    d->length = (size_t)(p - start);
    return true;
}

static bool execute(const decoded *d)
{
    void *at = (void *)d->address; /* NOLINT: that is what it is */
    if (d->opcode == 0x49 && d->in_memory && d->pp == 0 && d->reg == 0)
        amx_emulate_config(&trapped, (const uint8_t *)at + d->index);
    else if (d->opcode == 0x49 && !d->in_memory && d->pp == 0 && d->reg == 0 && d->rm == 0)
        amx_emulate_release(&trapped);
    else if (d->opcode == 0x49 && !d->in_memory && d->pp == 3 && d->rm == 0 && d->reg < AMX_TILES)
        amx_emulate_zero(&trapped, d->reg);
    else if (d->opcode == 0x4B && d->in_memory && (d->rm & 7) == 4 && d->pp == 3 && d->reg < AMX_TILES)
        amx_emulate_load(&trapped, d->reg, at, (size_t)d->index);
    else if (d->opcode == 0x4B && d->in_memory && (d->rm & 7) == 4 && d->pp == 2 && d->reg < AMX_TILES)
        amx_emulate_store(&trapped, d->reg, at, (size_t)d->index);
    else if (d->opcode == 0x5E && !d->in_memory && d->reg < AMX_TILES && d->rm < AMX_TILES && d->vvvv < AMX_TILES)
        amx_emulate_dot(&trapped, d->reg, d->rm, d->vvvv, d->pp >= 2, d->pp % 2);
    else
        return false;
    return true;
}

static void on_illegal(int sig, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    decoded d;
    (void)sig;
    (void)info;
    if (!decode(c, &d) || !execute(&d)) {
        signal(SIGILL, SIG_DFL); /* and once more, for good */
        return;
    }
    c->uc_mcontext.gregs[REG_RIP] += (long long)d.length;
    n_trapped++;
}

static void trap_amx(void)
{
    struct sigaction a = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    if (sigaction(SIGILL, &a, NULL)) abort();
}

#endif
