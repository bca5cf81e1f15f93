/* Wrong: it dies of SIGSEGV at once. A real fault cannot be ignored, and kills the pid 1 of a pid namespace too. */

#include "pause.h"

int main(void) {
    take_signals(stop, stop, reap);
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
    hold();
}
