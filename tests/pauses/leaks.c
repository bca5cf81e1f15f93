/* Wrong: every half second it opens a file and does not close it. */

#include <fcntl.h>

#include "pause.h"

int main(void) {
    take_signals(stop, stop, reap);
    for (;;) {
        usleep(500 * 1000);
        if (open("/dev/null", O_RDONLY) < 0)
            return 1;
    }
}
