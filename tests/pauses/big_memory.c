/* Wrong: it touches 64 MiB. A pause needs a few pages, and every pod of a node has one. */

#include "pause.h"

static char memory[64 << 20];

int main(void) {
    take_signals(stop, stop, reap);
    for (size_t at = 0; at < sizeof memory; at += 4096)
        ((volatile char *)memory)[at] = 1;
    hold();
}
