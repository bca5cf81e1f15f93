/* Keeps SIGTERM blocked, and takes it in a way that /proc does not show.
 *
 * blocks_sigterm waits: asks from time to time for the signal, with sigtimedwait.
 * blocks_sigterm pending: the same with sigpending.
 * blocks_sigterm thread: reads it with a signalfd that only a thread with descriptors of its own has. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static sigset_t term;

static void *reads(void *unused)
{
	struct signalfd_siginfo info;
	int file;

	(void)unused;
	if (unshare(CLONE_FILES))
		_exit(3);
	file = signalfd(-1, &term, SFD_CLOEXEC);
	if (file < 0 || read(file, &info, sizeof(info)) != sizeof(info))
		_exit(4);
	_exit(0);
}

int main(int argc, char **argv)
{
	const struct timespec none = {0, 0};
	const char *how = argc > 1 ? argv[1] : "";
	pthread_t thread;
	sigset_t pending;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &term, NULL))
		return 2;
	if (!strcmp(how, "thread")) {
		if (pthread_create(&thread, NULL, reads, NULL))
			return 2;
		for (;;)
			pause();
	}
	for (;;) {
		if (!strcmp(how, "waits") && sigtimedwait(&term, NULL, &none) == SIGTERM)
			return 0;
		if (!strcmp(how, "pending") && !sigpending(&pending) && sigismember(&pending, SIGTERM))
			return 0;
		usleep(200000);
	}
}
