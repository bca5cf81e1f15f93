/* Wrong: it executes a second program, which is the same file here. A sandbox runs one program, its pause. */

#include "pause.h"

int main(int count, char **words) {
    if (count == 1)
        execl(words[0], words[0], "again", (char *)NULL);
    take_signals(stop, stop, reap);
    hold();
}
