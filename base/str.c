/* base/str: see str.h. All parsers here are strict: what is not wholly understood is refused, because a configuration that
 * means something else than its author thinks is worse than one that is refused. No locale anywhere. */
#include "base/str.h"
#include <stdarg.h>
#include <stdio.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "base/mem.h"

static unsigned char lower(char c)
{
	unsigned char u = (unsigned char)c;
	return u >= 'A' && u <= 'Z' ? u | 0x20 : u;
}

bool str_eq_nocase(struct str a, struct str b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_eq(str_n(s.p, prefix.n), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
	return s.n >= suffix.n && (suffix.n == 0 || str_eq(str_n(s.p + (s.n - suffix.n), suffix.n), suffix));
}

ptrdiff_t str_find(struct str s, char c)
{
	const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
	return at ? at - s.p : -1;
}

ptrdiff_t str_rfind(struct str s, char c)
{
	const char *at = s.n ? memrchr(s.p, c, s.n) : NULL;
	return at ? at - s.p : -1;
}

struct str str_cut(struct str s, size_t from, size_t to)
{
	if (to > s.n)
		to = s.n;
	if (from >= to)
		return str_n(s.p ? s.p + (from < s.n ? from : s.n) : NULL, 0);
	return str_n(s.p + from, to - from);
}

struct str str_trim(struct str s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

void str_lower(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (char)lower(p[i]);
}

/* ---- numbers ---- */

bool str_u64(struct str s, uint64_t *ret)
{
	uint64_t v = 0;
	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned char)s.p[i] - '0';
		if (digit > 9 || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
			return false;
	}
	*ret = v;
	return true;
}

struct unit { const char *name; uint64_t factor; };

/* Digits, then one of the units. A unit named "" is what a bare number means. */
static bool number_with_unit(struct str s, const struct unit *units, size_t n_units, uint64_t *ret)
{
	size_t digits = 0;
	uint64_t v;
	while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
		digits++;
	if (!str_u64(str_cut(s, 0, digits), &v))
		return false;
	struct str unit = str_cut(s, digits, s.n);
	for (size_t i = 0; i < n_units; i++)
		if (str_is(unit, units[i].name)) {
			if (__builtin_mul_overflow(v, units[i].factor, &v))
				return false;
			*ret = v;
			return true;
		}
	return false;
}

bool str_duration_ns(struct str s, uint64_t *ret_ns)
{
	static const struct unit units[] = {
		{"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"m", 60000000000}, {"h", 3600000000000},
	};
	uint64_t v;
	if (str_u64(s, &v)) { /* 0 of anything is 0; 30 of what? */
		if (v == 0)
			*ret_ns = 0;
		return v == 0;
	}
	return number_with_unit(s, units, sizeof(units) / sizeof(units[0]), ret_ns);
}

bool str_bytes(struct str s, uint64_t *ret)
{
	static const struct unit units[] = {
		{"", 1}, {"B", 1},
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1ULL << 40},
		{"KB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"TB", 1000000000000},
	};
	return number_with_unit(s, units, sizeof(units) / sizeof(units[0]), ret);
}

static unsigned min_of(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned str_distance(const char *a, const char *b, unsigned cap)
{
	/* Keys are short; a word beyond this is no typo of one, and the tables stay on the stack. */
	enum { LONGEST = 64 };
	size_t na = strlen(a), nb = strlen(b);
	if (strcmp(a, b) == 0)
		return 0;
	if (na > LONGEST || nb > LONGEST || (na > nb ? na - nb : nb - na) >= cap)
		return cap;
	unsigned rows[3][LONGEST + 1], *before = rows[0], *last = rows[1], *row = rows[2];
	for (size_t j = 0; j <= nb; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			row[j] = min_of(last[j - 1] + (a[i - 1] != b[j - 1]), min_of(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = min_of(row[j], before[j - 2] + 1);
		}
		unsigned *spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return min_of(last[nb], cap);
}

/* ---- hashes ---- */

uint64_t str_hash(struct str s)
{
	return XXH3_64bits(s.n ? s.p : "", s.n);
}

uint64_t str_hash_seeded(struct str s, uint64_t seed)
{
	return XXH3_64bits_withSeed(s.n ? s.p : "", s.n, seed);
}

/* ---- growing text ---- */

/* Room for n more and a NUL, which is always there so that sb.p can be handed to libc. */
static void sb_room(struct sb *b, size_t n)
{
	size_t need = b->n + n + 1;
	if (need <= b->cap)
		return;
	size_t cap = b->cap ? b->cap : 64;
	while (cap < need)
		cap *= 2;
	b->p = xrealloc(b->p, cap);
	b->cap = cap;
}

void sb_add(struct sb *b, const char *p, size_t n)
{
	sb_room(b, n);
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = '\0';
}

void sb_str(struct sb *b, const char *z)
{
	sb_add(b, z, strlen(z));
}

void sb_char(struct sb *b, char c)
{
	sb_add(b, &c, 1);
}

void sb_fmt(struct sb *b, const char *fmt, ...)
{
	va_list ap;
	sb_room(b, 63);
	va_start(ap, fmt);
	int n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->p[b->n] = '\0';
		return;
	}
	if ((size_t)n >= b->cap - b->n) {
		sb_room(b, (size_t)n);
		va_start(ap, fmt);
		vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
		va_end(ap);
	}
	b->n += (size_t)n;
}

/* The length of the UTF-8 character at p (RFC 3629: shortest form, no surrogates, up to U+10FFFF); 0: it is none. */
static size_t utf8_length(const char *p, size_t n)
{
	unsigned char c = (unsigned char)p[0];
	size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if (((unsigned char)p[i] & 0xc0) != 0x80)
			return 0;
	unsigned char second = len > 2 ? (unsigned char)p[1] : 0;
	if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) || (c == 0xf0 && second < 0x90) || (c == 0xf4 && second > 0x8f))
		return 0;
	return len;
}

void sb_json(struct sb *b, struct str s)
{
	sb_char(b, '"');
	for (size_t i = 0; i < s.n;) {
		char c = s.p[i];
		size_t len = utf8_length(s.p + i, s.n - i);
		if (len == 0) {
			sb_str(b, "\xef\xbf\xbd");
			i++;
			continue;
		}
		if (c == '"' || c == '\\') {
			sb_char(b, '\\');
			sb_char(b, c);
		} else if (c == '\n') {
			sb_str(b, "\\n");
		} else if (c == '\r') {
			sb_str(b, "\\r");
		} else if (c == '\t') {
			sb_str(b, "\\t");
		} else if ((unsigned char)c < 0x20 || c == 0x7f) {
			sb_fmt(b, "\\u%04x", (unsigned)c);
		} else {
			sb_add(b, s.p + i, len);
		}
		i += len;
	}
	sb_char(b, '"');
}

void sb_end(struct sb *b)
{
	free(b->p);
	*b = (struct sb){0};
}
