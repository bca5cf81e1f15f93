/* Wrong: it ends on SIGTERM at once, but with 1, as if something had failed. SIGINT ends it with 0. */

#include "pause.h"

static void fail(int signal) {
    (void)signal;
    _exit(1);
}

int main(void) {
    take_signals(fail, stop, reap);
    hold();
}
