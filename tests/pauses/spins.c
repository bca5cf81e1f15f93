/* Wrong: it sleeps for half a second, then it asks for ended children without end instead of waiting for them. */

#include "pause.h"

int main(void) {
    take_signals(stop, stop, reap);
    usleep(500 * 1000);
    for (;;)
        reap(0);
}
