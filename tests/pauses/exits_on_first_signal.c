/* Wrong: the first signal of any kind ends it with 0, the SIGCHLD of a dead orphan included. It is what `pause();
   return 0;` comes to, without the moment before `pause` in which a signal would be missed. */

#include "pause.h"

int main(void) {
    take_signals(stop, stop, stop);
    for (int signal = 1; signal <= SIGRTMAX; signal++)
        on(signal, stop);
    hold();
}
