/* Wrong: no SIGCHLD handler, and it never waits, so every orphan of a shared pid namespace stays a zombie.
   (Not SIG_IGN, with which the kernel would reap for it.) */

#include "pause.h"

int main(void) {
    take_signals(stop, stop, SIG_DFL);
    hold();
}
