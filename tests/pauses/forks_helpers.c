/* Wrong: it keeps two child processes of its own. A pause is one process. */

#include "pause.h"
#include <sys/prctl.h>

/* A helper ends with the pause, also with one that was killed, so that no test leaves any behind. */
static void help(pid_t pause_pid) {
    on(SIGTERM, SIG_DFL);
    on(SIGINT, SIG_DFL);
    on(SIGCHLD, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == pause_pid)
        hold();
    _exit(0);
}

int main(void) {
    take_signals(stop, stop, reap);
    pid_t self = getpid();
    for (int helper = 0; helper < 2; helper++)
        if (fork() == 0)
            help(self);
    hold();
}
