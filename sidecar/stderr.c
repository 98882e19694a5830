/* sidecar/stderr: see stderr.h. A pipe or socket on stderr whose reader has stopped must not stop us: log and access log both write here. */
#include "sidecar/stderr.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int stderr_open(void)
{
	struct stat st;
	if (fstat(STDERR_FILENO, &st) != 0 || isatty(STDERR_FILENO))
		return STDERR_FILENO;
	int fd = -1;
	/* A file never blocks, and others write to it too: our own words before the log and at a bad end, the shell that started us. Opened anew it
	 * would have two positions, and who writes at the older one writes over what came since. */
	if (S_ISREG(st.st_mode))
		fcntl(STDERR_FILENO, F_SETFL, fcntl(STDERR_FILENO, F_GETFL) | O_APPEND);
	if (S_ISFIFO(st.st_mode))
		fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && S_ISSOCK(st.st_mode))
		fcntl(STDERR_FILENO, F_SETFL, fcntl(STDERR_FILENO, F_GETFL) | O_NONBLOCK);
	return fd < 0 ? STDERR_FILENO : fd;
}
