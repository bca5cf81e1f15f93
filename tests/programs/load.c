// The loads of the benchmark: `load NAME MILLISECONDS [PROGRAM]` repeats one operation for about that
// long, and prints the nanoseconds of one operation: the median of short batches, so that a batch
// during which another program had the processor does not count.
//
// The clock is CLOCK_MONOTONIC, so what the kernel does for the operation in other processes
// counts, and the start of this program does not.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_BATCHES 65536

static double batches[MAX_BATCHES];
static pid_t other;
static int namespace_file;
static char *program;

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int compare(const void *one, const void *two)
{
	double first = *(const double *)one, second = *(const double *)two;

	return (first > second) - (first < second);
}

static void await(pid_t child)
{
	if (waitpid(child, NULL, 0) != child)
		fail("waitpid");
}

static void null_call(void)
{
	syscall(SYS_getppid);
}

static void kill_self(void)
{
	if (kill(getpid(), SIGURG))
		fail("kill");
}

static void kill_across(void)
{
	if (kill(other, SIGURG))
		fail("kill");
}

static void fork_exit(void)
{
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	if (child == 0)
		_exit(0);
	await(child);
}

static void exec(void)
{
	char *arguments[] = {program, "true", NULL};
	pid_t child = vfork();

	if (child < 0)
		fail("vfork");
	if (child == 0) {
		execv(program, arguments);
		_exit(127);
	}
	await(child);
}

static void set_namespace(void)
{
	if (setns(namespace_file, CLONE_NEWUTS))
		fail("setns");
}

static void *nothing(void *argument)
{
	return argument;
}

static void thread(void)
{
	pthread_t made;

	if (pthread_create(&made, NULL, nothing, NULL) || pthread_join(made, NULL))
		fail("pthread_create");
}

// One operation is a family of this many orphans, and their adoption and reaping.
#define ORPHANS 100

static void orphans(void)
{
	pid_t parent = fork();

	if (parent < 0)
		fail("fork");
	if (parent == 0) {
		for (int count = 0; count < ORPHANS; count++) {
			pid_t child = fork();

			if (child < 0)
				fail("fork");
			if (child == 0)
				_exit(0);
		}
		_exit(0);
	}
	for (int count = 0; count < ORPHANS + 1; count++)
		if (wait(NULL) < 0)
			fail("wait");
}

static const struct load {
	const char *name;
	void (*run)(void);
	// The operations between two looks at the clock, and how many one call of `run` counts for.
	unsigned batch, weight;
} loads[] = {
	{"null-call", null_call, 1000, 1},
	{"kill-self", kill_self, 100, 1},
	{"kill-across", kill_across, 100, 1},
	{"fork-exit", fork_exit, 2, 1},
	{"exec", exec, 1, 1},
	{"setns", set_namespace, 100, 1},
	{"threads", thread, 2, 1},
	{"orphans", orphans, 1, ORPHANS},
};

int main(int count, char **arguments)
{
	const struct load *load = NULL;

	for (unsigned index = 0; count >= 3 && index < sizeof(loads) / sizeof(*loads); index++)
		if (!strcmp(arguments[1], loads[index].name))
			load = &loads[index];
	if (!load) {
		fprintf(stderr, "usage: load NAME MILLISECONDS [PROGRAM]\n");
		return 2;
	}
	program = count > 3 ? arguments[3] : NULL;
	signal(SIGURG, SIG_IGN);
	if (load->run == kill_across) {
		// A handler would need processor time of its own, and the other process might not be
		// scheduled between two signals: it ignores them.
		other = fork();
		if (other == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}
	if (load->run == set_namespace) {
		namespace_file = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
		if (namespace_file < 0)
			fail("/proc/self/ns/uts");
	}
	if (load->run == orphans && prctl(PR_SET_CHILD_SUBREAPER, 1))
		fail("prctl");

	uint64_t end, before, after;
	unsigned measured = 0;

	load->run();
	before = now();
	end = before + strtoull(arguments[2], NULL, 10) * 1000000u;
	do {
		for (unsigned done = 0; done < load->batch; done++)
			load->run();
		after = now();
		batches[measured++] = (double)(after - before) / load->batch / load->weight;
		before = after;
	} while (after < end && measured < MAX_BATCHES);
	qsort(batches, measured, sizeof(*batches), compare);
	printf("%.1f\n", batches[measured / 2]);
	fflush(stdout);
	if (load->run == kill_across) {
		kill(other, SIGKILL);
		await(other);
	}
	return 0;
}
