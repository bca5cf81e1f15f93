/* Makes cgroups below a directory of a cgroup hierarchy.
 *
 * cgroups churn DIR TIMES: makes and removes a cgroup this often.
 * cgroups spread DIR COUNT FORKS: makes COUNT cgroups with one process in each, which forks and reaps
 * FORKS children when all are there, and removes the cgroups at the end. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int churn(const char *directory, long times)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/churn", directory);
	while (times-- > 0)
		if (mkdir(path, 0755) || rmdir(path))
			return 1;
	return 0;
}

/* Moves this process into the cgroup, waits until `begin` is closed, and forks. */
static int storm(const char *path, int begin, long forks)
{
	char file[4200], byte;
	int procs;

	snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	procs = open(file, O_WRONLY | O_CLOEXEC);
	if (procs < 0 || write(procs, "0", 1) != 1)
		return 1;
	close(procs);
	if (read(begin, &byte, 1) != 0)
		return 1;
	while (forks-- > 0) {
		pid_t child = fork();

		if (child == 0)
			_exit(0);
		if (child < 0 || waitpid(child, NULL, 0) != child)
			return 1;
	}
	return 0;
}

static int spread(const char *directory, long count, long forks)
{
	char path[4096];
	int begin[2], failed = 0, status;

	if (pipe2(begin, O_CLOEXEC))
		return 1;
	for (long at = 0; at < count; at++) {
		pid_t child;

		snprintf(path, sizeof(path), "%s/n%ld", directory, at);
		if (mkdir(path, 0755))
			return 1;
		child = fork();
		if (child == 0) {
			close(begin[1]);
			_exit(storm(path, begin[0], forks));
		}
		if (child < 0)
			return 1;
	}
	close(begin[1]);
	while (wait(&status) > 0)
		failed |= status;
	for (long at = 0; at < count; at++) {
		snprintf(path, sizeof(path), "%s/n%ld", directory, at);
		/* The kernel frees a cgroup a moment after its last process. */
		for (int tries = 0; rmdir(path) && tries < 1000; tries++)
			usleep(1000);
	}
	return failed != 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "churn"))
		return churn(argv[2], atol(argv[3]));
	if (argc == 5 && !strcmp(argv[1], "spread"))
		return spread(argv[2], atol(argv[3]), atol(argv[4]));
	return 2;
}
