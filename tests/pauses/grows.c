/* Wrong: every 50 ms it takes 16 KiB more memory, and stays below what a pause may use for a long time. */

#include <stdlib.h>
#include <string.h>

#include "pause.h"

int main(void) {
    take_signals(stop, stop, reap);
    for (;;) {
        usleep(50 * 1000);
        char *more = malloc(16 * 1024);
        if (!more)
            return 1;
        memset(more, 1, 16 * 1024);
        __asm__ volatile("" : : "r"(more) : "memory");
    }
}
