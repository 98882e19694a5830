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
	if (S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode))
		fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && S_ISSOCK(st.st_mode))
		fcntl(STDERR_FILENO, F_SETFL, fcntl(STDERR_FILENO, F_GETFL) | O_NONBLOCK);
	return fd < 0 ? STDERR_FILENO : fd;
}
