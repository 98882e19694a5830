/* base/err: how errors are told.
 *
 * Functions return 0 (or a count) or a negative code: a negated errno, or one of the codes below, which lie beyond
 * every errno. `struct err` gathers texts for people: configuration and start-up use it, because a person who mends
 * a file wants all of its problems at once, each with its place. Owner: whoever declares it (it lives on a stack). */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum {
	ERR_LIMIT = -1001,      /* a limit of ours was reached; a counter says which */
	ERR_MALFORMED = -1002,  /* a peer or a file broke its grammar */
	ERR_CLOSED = -1003,     /* the other side, or we, ended it before */
	ERR_TIMEOUT = -1004,
	ERR_NAME = -1005,       /* a name that does not resolve */
	ERR_REFUSED = -1006,    /* the peer refused before doing anything */
};

const char *err_text(int code); /* static text for any code of this convention; never NULL */

/* A list of problems. `count` goes on counting beyond what is kept (ERR_MAX_KEPT). */
struct err {
	char *text;      /* lines, each with '\n'; owned; NULL while there is none */
	size_t len, cap;
	size_t kept;     /* up to here text is problems; behind it one line says how many more there are */
	int count;
};
enum { ERR_MAX_KEPT = 100 };

#define ERR_INIT ((struct err){0})
/* Adds "FILE:LINE:COLUMN: " and the text (no newline). file may be NULL (no place is written); line 0 leaves it out. */
void err_add(struct err *e, const char *file, int line, int column, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
static inline bool err_any(const struct err *e) { return e->count > 0; }
const char *err_str(const struct err *e); /* "" when there is none */
void err_clear(struct err *e);
