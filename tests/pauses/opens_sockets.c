/* Wrong: it listens on four TCP ports of 127.0.0.1, which the pod's containers share with it. Exits 3 when it cannot (the
   loopback interface must be up). */

#include "pause.h"
#include <arpa/inet.h>
#include <sys/socket.h>

int main(void) {
    take_signals(stop, stop, reap);
    for (int port = 0; port < 4; port++) {
        struct sockaddr_in any_port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        if (listener < 0 || bind(listener, (struct sockaddr *)&any_port, sizeof any_port) != 0 || listen(listener, 1) != 0)
            _exit(3);
    }
    hold();
}
