/* xds/token: see token.h. */
#include "xds/token.h"
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

enum { TOKEN_MAX = 65535 };
static const char bearer[] = "Bearer ";
enum { LEAD = sizeof(bearer) - 1 };

struct token_ask {
	struct reading *reading;
	void (*told)(void *user, char *token_taken, const char *why);
	void *user;
};

/* NULL: it is one. */
static const char *odd(const struct file_read *f, size_t n, char out[96])
{
	switch (f->fault) {
	case FILE_OK:
		break;
	case FILE_LARGE:
		return "the file is too large for a token";
	case FILE_EMPTY:
		return "the file is empty";
	case FILE_ERRNO:
		return strerror(f->err);
	default:
		return file_why(f, out);
	}
	if (!n)
		return "the file is empty";
	for (size_t i = 0; i < n; i++)
		if (f->p[i] <= ' ' || f->p[i] > '~')
			return "the file holds no token: blanks or control characters inside";
	return NULL;
}

static void was_read(void *user, const struct reading *g)
{
	struct token_ask t = *(struct token_ask *)user;
	const struct file_read *f = &g->files[0];
	size_t n = f->fault == FILE_OK ? f->n : 0;
	char text[96], *token = NULL;

	free(user);
	while (n && strchr(" \t\r\n", f->p[n - 1]))
		n--;
	const char *why = odd(f, n, text);
	if (!why) { /* in a block of its size: what lies about of a token is little, and is wiped */
		token = xalloc(LEAD + n + 1);
		memcpy(token, bearer, LEAD);
		memcpy(token + LEAD, f->p, n);
	}
	t.told(t.user, token, why);
}

struct token_ask *token_ask(struct reader *r, const char *path, void (*told)(void *user, char *token_taken, const char *why), void *user)
{
	struct token_ask *t = xnew(struct token_ask);
	struct reading_spec spec = {.paths = {path}, .most = TOKEN_MAX, .told = was_read, .user = t};

	t->told = told;
	t->user = user;
	t->reading = reader_ask(r, &spec);
	return t;
}

void token_forget(struct token_ask **at)
{
	struct token_ask *t = *at;

	*at = NULL;
	if (!t)
		return;
	reading_forget(&t->reading);
	free(t);
}

void token_free(char **p)
{
	if (*p)
		explicit_bzero(*p, strlen(*p));
	free(*p);
	*p = NULL;
}
