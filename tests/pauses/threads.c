/* Wrong: it has a second thread. A pause is one thread. (C libraries before glibc 2.34 want -pthread.) */

#include "pause.h"
#include <pthread.h>

static void *idle(void *nothing) {
    (void)nothing;
    hold();
}

int main(void) {
    take_signals(stop, stop, reap);
    pthread_t second;
    if (pthread_create(&second, NULL, idle, NULL) != 0)
        _exit(3);
    hold();
}
