/* What all pauses here have in common, so that each file shows only the promise it keeps or breaks.
   Build one with: cc -O2 [-static] -o NAME NAME.c */

#define _GNU_SOURCE
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static inline void stop(int signal) {
    (void)signal;
    _exit(0);
}

/* One SIGCHLD may stand for many children; __WALL takes those too that were cloned without an exit signal. */
static inline void reap(int signal) {
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG | __WALL) > 0) {
    }
}

static inline void on(int signal, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, NULL);
}

/* By hand, as the C library keeps signals 32 and 33 for itself. */
static inline void ignore(int signal) {
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        unsigned long mask;
    } action = {.handler = SIG_IGN};
    syscall(SYS_rt_sigaction, signal, &action, NULL, sizeof action.mask);
}

/* Handlers for the three that matter, everything else ignored, nothing blocked. */
static inline void take_signals(void (*term)(int), void (*interrupt)(int), void (*child)(int)) {
    on(SIGTERM, term);
    on(SIGINT, interrupt);
    on(SIGCHLD, child);
    for (int signal = 1; signal <= 64; signal++)
        if (signal != SIGTERM && signal != SIGINT && signal != SIGCHLD)
            ignore(signal);

    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* A child that died before the handler was there. */
    if (child == reap)
        reap(SIGCHLD);
}

_Noreturn static inline void hold(void) {
    for (;;)
        pause();
}
