/* sidecar/cli_table: see cli_table.h. */
#include "sidecar/cli_table.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "sidecar/cli_int.h"

static const char gap[] = "  ";

void cli_table_add(struct cli_table *t, enum cli_tone tone, const char *fmt, ...)
{
	struct sb text = {0};
	char *raw = NULL;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&raw, fmt, ap);
	va_end(ap);
	cli_printable(&text, str_n(raw, n > 0 ? (size_t)n : 0));
	if (n >= 0)
		free(raw);
	if (t->used == t->room) {
		t->room = t->room ? 2 * t->room : 64;
		t->cells = xrealloc(t->cells, t->room * sizeof(*t->cells));
	}
	t->cells[t->used++] = (struct cli_cell){text.p ? text.p : xstrdup(""), tone};
}

/* Characters as a terminal shows them, one cell each: continuation bytes of UTF-8 take none. */
static uint32_t width_of(const char *s)
{
	uint32_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void cli_tone(struct sb *out, bool colour, enum cli_tone tone, const char *text)
{
	static const char *const codes[] = {[TONE_PLAIN] = "", [TONE_GOOD] = "32", [TONE_BAD] = "31", [TONE_DIM] = "2", [TONE_HEAD] = "1"};

	if (colour && *codes[tone] && *text)
		sb_fmt(out, "\033[%sm%s\033[0m", codes[tone], text);
	else
		sb_str(out, text);
}

static void pad(struct sb *out, uint32_t n)
{
	sb_fmt(out, "%*s", (int)n, "");
}

static void trim(struct sb *out, size_t from)
{
	while (out->n > from && out->p[out->n - 1] == ' ')
		out->n--;
}

/* A line about the row above it: only the first cell says something. */
static bool stands_alone(const struct cli_table *t, const struct cli_cell *cells)
{
	for (uint32_t i = 1; i < t->count; i++)
		if (*cells[i].text)
			return false;
	return t->count > 1;
}

static void print_row(const struct cli_table *t, const uint32_t *width, const struct cli_cell *cells, bool colour, struct sb *out)
{
	size_t from = out->n;

	if (stands_alone(t, cells)) {
		cli_tone(out, colour, cells[0].tone, cells[0].text);
		sb_char(out, '\n');
		return;
	}
	for (uint32_t i = 0; i < t->count; i++) {
		const struct cli_column *c = &t->columns[i];
		uint32_t n = width_of(cells[i].text);
		if (!width[i])
			continue;
		if (i)
			sb_str(out, gap);
		if (c->right && n < width[i])
			pad(out, width[i] - n);
		cli_tone(out, colour, cells[i].tone, cells[i].text);
		if (n > width[i]) { /* a long name: the rest of its row stands below it */
			sb_char(out, '\n');
			from = out->n;
			pad(out, width[i]);
		} else if (!c->right) {
			pad(out, width[i] - n);
		}
	}
	trim(out, from);
	sb_char(out, '\n');
}

void cli_table_print(struct cli_table *t, bool colour, struct sb *out)
{
	uint32_t width[TABLE_COLUMNS] = {0};
	struct cli_cell head[TABLE_COLUMNS] = {{NULL, TONE_HEAD}};
	size_t rows = t->used / t->count;

	for (size_t i = 0; i < rows * t->count; i++) {
		uint32_t column = (uint32_t)(i % t->count), n = width_of(t->cells[i].text), most = t->columns[column].most;
		if (most && n > most)
			n = most;
		if (column == 0 && stands_alone(t, &t->cells[i]))
			continue;
		if (n > width[column])
			width[column] = n;
	}
	for (uint32_t i = 0; i < t->count; i++) {
		uint32_t n = width_of(t->columns[i].head);
		head[i] = (struct cli_cell){(char *)(uintptr_t)t->columns[i].head, TONE_HEAD};
		if (width[i] && width[i] < n)
			width[i] = n;
	}
	print_row(t, width, head, colour, out);
	for (size_t i = 0; i < rows; i++)
		print_row(t, width, &t->cells[i * t->count], colour, out);
	for (size_t i = 0; i < t->used; i++)
		free(t->cells[i].text);
	free(t->cells);
	t->cells = NULL;
	t->used = t->room = 0;
}
