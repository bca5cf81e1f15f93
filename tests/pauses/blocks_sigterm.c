/* Wrong: SIGTERM is blocked, so it is generated, stays pending, and is never delivered. SIGINT still ends it. */

#include "pause.h"

int main(void) {
    take_signals(stop, stop, reap);
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    hold();
}
