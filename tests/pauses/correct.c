/* Right in everything: ends with 0 on SIGTERM and SIGINT, reaps every child, and nothing else ends it. */

#include "pause.h"

int main(void) {
    take_signals(stop, stop, reap);
    hold();
}
