/* A process whose first thread exits while the other one runs. The first one blocks SIGTERM; the other
 * one ends the process on it. When the first thread has exited, the other one writes a byte. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void end(int number)
{
	(void)number;
	_exit(0);
}

/* Whether the first thread has exited. */
static int has_exited(void)
{
	char path[64], line[512];
	FILE *file;
	char *state = NULL;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (fgets(line, sizeof(line), file))
		state = strrchr(line, ')');
	fclose(file);
	return state && state[1] == ' ' && state[2] == 'Z';
}

static void *go_on(void *argument)
{
	sigset_t none;

	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	while (!has_exited())
		usleep(1000);
	if (write(1, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
	return argument;
}

int main(void)
{
	struct sigaction action = { .sa_handler = end };
	pthread_t thread;
	sigset_t term;

	sigaction(SIGTERM, &action, NULL);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	if (pthread_create(&thread, NULL, go_on, NULL))
		return 1;
	pthread_exit(NULL);
}
