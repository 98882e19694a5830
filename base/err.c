/* base/err: see err.h. A struct err is a growing text and a count; nothing else knows its inside. */
#include "base/err.h"
#include <stdio.h>
#include <string.h>
#include "base/mem.h"

const char *err_text(int code)
{
	switch (code) {
	case 0: return "success";
	case ERR_LIMIT: return "a limit was reached";
	case ERR_MALFORMED: return "malformed";
	case ERR_CLOSED: return "closed";
	case ERR_TIMEOUT: return "timed out";
	case ERR_NAME: return "the name does not resolve";
	case ERR_REFUSED: return "refused";
	}
	/* strerrordesc_np: static texts, no locale; counts are accepted so that a caller need not look first */
	const char *text = code < 0 && code > -1000 ? strerrordesc_np(-code) : NULL;
	return text ? text : code > 0 ? "success" : "unknown error";
}

static void text_put(struct err *e, const char *p, size_t n)
{
	if (e->len + n + 1 > e->cap) {
		e->cap = (e->len + n + 1) * 2;
		e->text = xrealloc(e->text, e->cap);
	}
	memcpy(e->text + e->len, p, n);
	e->len += n;
	e->text[e->len] = '\0';
}

static void tell_more(struct err *e)
{
	char line[64];
	int more = e->count - ERR_MAX_KEPT;
	int n = snprintf(line, sizeof(line), "%d more %s not shown\n", more, more == 1 ? "problem is" : "problems are");
	e->len = e->kept;
	text_put(e, line, (size_t)n);
}

void err_add(struct err *e, const char *file, int line, int column, const char *fmt, ...)
{
	if (e->count++ >= ERR_MAX_KEPT) {
		tell_more(e);
		return;
	}
	if (file) {
		char place[32] = "";
		if (line > 0 && column > 0)
			snprintf(place, sizeof(place), ":%d:%d", line, column);
		else if (line > 0)
			snprintf(place, sizeof(place), ":%d", line);
		text_put(e, file, strlen(file));
		text_put(e, place, strlen(place));
		text_put(e, ": ", 2);
	}
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n >= 0)
		text_put(e, text, (size_t)n);
	free(text);
	text_put(e, "\n", 1);
	e->kept = e->len;
}

const char *err_str(const struct err *e)
{
	return e->text ? e->text : "";
}

void err_clear(struct err *e)
{
	free(e->text);
	*e = ERR_INIT;
}
