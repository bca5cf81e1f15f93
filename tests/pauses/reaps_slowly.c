/* Wrong: one wait per SIGCHLD. Signals of the same kind coalesce, so of many children that die at once some stay zombies. */

#include "pause.h"

static void reap_one(int signal) {
    (void)signal;
    waitpid(-1, NULL, WNOHANG | __WALL);
}

int main(void) {
    take_signals(stop, stop, reap_one);
    hold();
}
