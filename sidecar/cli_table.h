/* sidecar/cli_table: columns for people: cells are gathered, then each column is as wide as its widest cell. Owner: whoever declares one. */
#pragma once
#include <stdbool.h>
#include "base/str.h"

enum { TABLE_COLUMNS = 12 };
enum cli_tone { TONE_PLAIN, TONE_GOOD, TONE_BAD, TONE_DIM, TONE_HEAD };
struct cli_column { const char *head; bool right; uint32_t most; }; /* most: a cell that is wider stands alone in its line (first column only); 0: any */
struct cli_cell { char *text; enum cli_tone tone; };                /* printable; owned by the table */
struct cli_table {
	const struct cli_column *columns; /* borrowed */
	uint32_t count;
	struct cli_cell *cells;           /* rows of count */
	size_t used, room;
};
#define TABLE_OF(columns) ((struct cli_table){(columns), sizeof(columns) / sizeof((columns)[0]), NULL, 0, 0})
/* The next cell, from left to right and on to the next row; made printable. */
void cli_table_add(struct cli_table *t, enum cli_tone tone, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A row of which only the first cell has text is a line of its own, as wide as it likes. A column that is empty in every row is left out, its head too. Ends the table. */
void cli_table_print(struct cli_table *t, bool colour, struct sb *out);
void cli_tone(struct sb *out, bool colour, enum cli_tone tone, const char *text);
