/* conf/problem: what is wrong with the files of one load, kept until all of it is known, then told in the order of the places: a person
 * mends a file from top to bottom, whichever of our passes saw the problem first.
 *
 * Owner: the load (it lives on a stack). File names are borrowed from the load, which outlives the list. */
#pragma once
#include <stdarg.h>
#include "base/err.h"
#include <stdint.h>

enum { PROBLEMS_KEPT = 1000 }; /* a hostile file has a problem in each byte: beyond this they are only counted */

struct problem { const char *file; uint32_t order, seq; int line, column; char *text; };
struct problems {
	struct problem *list;
	uint32_t kept, cap;
	uint32_t count;   /* those not kept included */
	uint32_t order;   /* of the file that is being read: 0, 1, ... */
};
void problems_add(struct problems *p, const char *file, int line, int column, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void problems_addv(struct problems *p, const char *file, int line, int column, const char *fmt, va_list args);
/* Sorts, writes all to e, and empties the list. */
void problems_tell(struct problems *p, struct err *e);
