/* xds/token: see token.h. */
#include "xds/token.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"

enum { TOKEN_MAX = 65536 };
static const char bearer[] = "Bearer ";
enum { LEAD = sizeof(bearer) - 1 };

const char *token_read(const char *path, char **ret)
{
	*ret = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return strerror(errno);
	char *text = xalloc(LEAD + TOKEN_MAX + 1);
	size_t n = 0;
	for (ssize_t r; n < TOKEN_MAX && (r = read(fd, text + LEAD + n, TOKEN_MAX - n)) > 0;)
		n += (size_t)r;
	close(fd);
	while (n && strchr(" \t\r\n", text[LEAD + n - 1]))
		n--;
	const char *why = !n ? "the file is empty" : n == TOKEN_MAX ? "the file is too large for a token" : NULL;
	for (size_t i = 0; i < n && !why; i++)
		if (text[LEAD + i] <= ' ' || text[LEAD + i] > '~')
			why = "the file holds no token: blanks or control characters inside";
	if (why) {
		free(text);
		return why;
	}
	memcpy(text, bearer, LEAD);
	text[LEAD + n] = 0;
	*ret = text;
	return NULL;
}
