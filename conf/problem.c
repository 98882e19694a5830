/* conf/problem: see the header. */
#include "conf/problem.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

enum { PROBLEM_TEXT_MAX = 512 }; /* a key or value of the file may be long, a line for a person may not */

void problems_addv(struct problems *p, const char *file, int line, int column, const char *fmt, va_list args)
{
	char text[PROBLEM_TEXT_MAX];

	p->count++;
	if (p->kept == PROBLEMS_KEPT)
		return;
	if (p->kept == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 16;
		p->list = xrealloc(p->list, p->cap * sizeof(*p->list));
	}
	if (vsnprintf(text, sizeof(text), fmt, args) < 0)
		text[0] = '\0';
	p->list[p->kept] =
		(struct problem){.file = file, .order = p->order, .seq = p->kept, .line = line, .column = column, .text = xstrdup(text)};
	p->kept++;
}

void problems_add(struct problems *p, const char *file, int line, int column, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	problems_addv(p, file, line, column, fmt, args);
	va_end(args);
}

static int by_place(const void *x, const void *y)
{
	const struct problem *a = x, *b = y;

	if (a->order != b->order)
		return a->order < b->order ? -1 : 1;
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	if (a->column != b->column)
		return a->column < b->column ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

void problems_tell(struct problems *p, struct err *e)
{
	if (p->kept)
		qsort(p->list, p->kept, sizeof(*p->list), by_place);
	for (uint32_t i = 0; i < p->kept; i++) {
		err_add(e, p->list[i].file, p->list[i].line, p->list[i].column, "%s", p->list[i].text);
		free(p->list[i].text);
	}
	if (p->count > p->kept)
		err_add(e, NULL, 0, 0, "and %u more problems", p->count - p->kept);
	free(p->list);
	*p = (struct problems){0};
}
