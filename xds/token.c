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
	ssize_t r = 0;
	while (n < TOKEN_MAX && (r = read(fd, text + LEAD + n, TOKEN_MAX - n)) > 0)
		n += (size_t)r;
	int err = r < 0 ? errno : 0;
	close(fd);
	while (n && strchr(" \t\r\n", text[LEAD + n - 1]))
		n--;
	const char *why = err ? strerror(err) : !n ? "the file is empty" : n == TOKEN_MAX ? "the file is too large for a token" : NULL;
	for (size_t i = 0; i < n && !why; i++)
		if (text[LEAD + i] <= ' ' || text[LEAD + i] > '~')
			why = "the file holds no token: blanks or control characters inside";
	if (!why) { /* in a block of its size: what lies about of a token is little, and is wiped */
		*ret = xalloc(LEAD + n + 1);
		memcpy(*ret, bearer, LEAD);
		memcpy(*ret + LEAD, text + LEAD, n);
	}
	explicit_bzero(text, LEAD + TOKEN_MAX);
	free(text);
	return why;
}

void token_free(char **p)
{
	if (*p)
		explicit_bzero(*p, strlen(*p));
	free(*p);
	*p = NULL;
}
