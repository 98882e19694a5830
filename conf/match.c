/* conf/match: which calls a route is for. See the header. */
#include "conf/match.h"

#include <errno.h>
#include <stdlib.h>

/* ---- texts -------------------------------------------------------------------------------------------------------------- */

static bool bytes_eq(const char *a, const char *b, size_t n, bool no_case)
{
	return n == 0 || (no_case ? str_eq_nocase(str_n(a, n), str_n(b, n)) : memcmp(a, b, n) == 0);
}

static bool contains(struct str hay, const char *needle, size_t n, bool no_case)
{
	if (!no_case)
		return n == 0 || (hay.n && memmem(hay.p, hay.n, needle, n));
	for (size_t i = 0; i + n <= hay.n; i++)
		if (bytes_eq(hay.p + i, needle, n, true))
			return true;
	return n == 0;
}

int match_text_fits(const struct match_text *t, struct str v)
{
	switch (t->form) {
	case TEXT_EXACT: return v.n == t->n && bytes_eq(v.p, t->p, t->n, t->no_case);
	case TEXT_PREFIX: return v.n >= t->n && bytes_eq(v.p, t->p, t->n, t->no_case);
	case TEXT_SUFFIX: return v.n >= t->n && bytes_eq(v.p + (v.n - t->n), t->p, t->n, t->no_case);
	case TEXT_CONTAINS: return contains(v, t->p, t->n, t->no_case);
	case TEXT_REGEX: return t->regex ? regex_match(t->regex, v) : -ENOMEM;
	}
	return 0;
}

static int inverted(int rc, bool invert)
{
	return rc < 0 ? rc : (rc > 0) != invert;
}

/* ---- headers ------------------------------------------------------------------------------------------------------------ */

static bool header_is(const struct match_header *h, const struct field *f)
{
	return h->token != FIELD_OTHER ? f->token == h->token : f->name_len == h->name_n && memcmp(f->name, h->name, h->name_n) == 0;
}

/* `host` and :authority are one thing, and HTTP/1 has the one, HTTP/2 mostly the other. */
static const struct field *header_first(const struct match_header *h, const struct fields *head)
{
	const struct field *f = h->token != FIELD_OTHER ? fields_get(head, h->token) : fields_find(head, str_n(h->name, h->name_n));

	if (!f && h->token == FIELD_AUTHORITY)
		f = fields_get(head, FIELD_HOST);
	else if (!f && h->token == FIELD_HOST)
		f = fields_get(head, FIELD_AUTHORITY);
	return f;
}

/* The values of a header that is there more than once, as one: joined by commas, crumbs of a cookie as they belong together. NULL: there is only the one. */
static char *header_joined(const struct match_header *h, const struct fields *head, const struct field *first, size_t *ret_n)
{
	const char *glue = first->token == FIELD_COOKIE ? "; " : ",";
	struct sb all = {0};
	unsigned count = 0;

	fields_each(f, head)
		if (f == first || header_is(h, f))
			count++;
	if (count < 2)
		return NULL;
	fields_each(f, head)
		if (f == first || header_is(h, f)) {
			if (all.n)
				sb_str(&all, glue);
			sb_add(&all, f->value, f->value_len);
		}
	*ret_n = all.n;
	return all.p;
}

/* The whole value is a number of base 10 in [start, end). */
static bool range_fits(const struct match_header *h, struct str v)
{
	bool minus = v.n && v.p[0] == '-', plus = v.n && v.p[0] == '+';
	uint64_t u;
	int64_t i;

	if (!str_u64(str_cut(v, minus || plus ? 1 : 0, v.n), &u) || u > (uint64_t)INT64_MAX + minus)
		return false;
	i = minus ? (int64_t)(0 - u) : (int64_t)u;
	return i >= h->start && i < h->end;
}

static int header_value_fits(const struct match_header *h, struct str v)
{
	return inverted(h->form == HEADER_RANGE ? range_fits(h, v) : match_text_fits(&h->text, v), h->invert);
}

static int header_fits(const struct match_header *h, const struct fields *head)
{
	const struct field *f = head ? header_first(h, head) : NULL;
	size_t n = 0;

	if (h->form == HEADER_PRESENT)
		return inverted((f != NULL) == h->present, h->invert);
	if (!f)
		return h->empty_if_missing ? header_value_fits(h, STR("")) : 0;
	char *all = header_joined(h, head, f, &n);
	int rc = header_value_fits(h, all ? str_n(all, n) : str_n(f->value, f->value_len));
	free(all);
	return rc;
}

/* ---- parameters and cookies --------------------------------------------------------------------------------------------- */

static int param_fits(const struct match_param *p, bool there, struct str value)
{
	if (!p->by_text)
		return inverted(there == p->present, p->invert);
	return inverted(there ? match_text_fits(&p->text, value) : 0, p->invert);
}

/* The next piece of a list; false behind the last. */
static bool piece_next(struct str *rest, char glue, struct str *ret)
{
	if (!rest->p)
		return false;
	ptrdiff_t at = str_find(*rest, glue);

	*ret = str_cut(*rest, 0, at < 0 ? rest->n : (size_t)at);
	*rest = at < 0 ? str_n(NULL, 0) : str_cut(*rest, (size_t)at + 1, rest->n);
	return true;
}

/* "name=value" of that name: its value ("" without a sign). */
static bool piece_is(struct str piece, const struct match_param *p, struct str *ret_value)
{
	ptrdiff_t sign = str_find(piece, '=');
	struct str name = str_cut(piece, 0, sign < 0 ? piece.n : (size_t)sign);

	if (name.n != p->name_n || memcmp(name.p, p->name, p->name_n) != 0)
		return false;
	*ret_value = sign < 0 ? STR("") : str_cut(piece, (size_t)sign + 1, piece.n);
	return true;
}

static int query_fits(const struct match_param *p, struct str path)
{
	ptrdiff_t at = str_find(path, '?');
	struct str rest = at < 0 ? str_n(NULL, 0) : str_cut(path, (size_t)at + 1, path.n), piece, value;

	at = rest.p ? str_find(rest, '#') : -1;
	if (at >= 0)
		rest.n = (size_t)at;
	while (piece_next(&rest, '&', &piece))
		if (piece_is(piece, p, &value))
			return param_fits(p, true, value);
	return param_fits(p, false, STR(""));
}

static int cookie_fits(const struct match_param *p, const struct fields *head)
{
	if (head && fields_get(head, FIELD_COOKIE))
		fields_each(f, head) {
			struct str rest = str_n(f->value, f->value_len), piece, value;

			while (f->token == FIELD_COOKIE && piece_next(&rest, ';', &piece)) {
				if (!piece_is(str_trim(piece), p, &value))
					continue;
				if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
					value = str_cut(value, 1, value.n - 1);
				return param_fits(p, true, value);
			}
		}
	return param_fits(p, false, STR(""));
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------- */

struct match_call match_call(const struct fields *head, bool cut_params, uint64_t random)
{
	struct match_call c = {.head = head, .random = random};

	if (head)
		c.path = fields_value(head, FIELD_PATH);
	c.bare = c.path;
	for (size_t i = 0; i < c.path.n; i++)
		if (c.path.p[i] == '?' || c.path.p[i] == '#' || (cut_params && c.path.p[i] == ';')) {
			c.bare.n = i;
			break;
		}
	/* What a prefix sees goes on behind the parameters: Envoy cuts all of it there. */
	if (cut_params && c.bare.n < c.path.n && c.path.p[c.bare.n] == ';')
		c.path.n = c.bare.n;
	return c;
}

static int path_fits(const struct match *m, const struct match_call *c)
{
	switch ((enum path_form)m->form) {
	case PATH_ANY: return 1;
	case PATH_PREFIX: return c->path.n >= m->n && bytes_eq(c->path.p, m->path, m->n, m->no_case);
	case PATH_EXACT: return c->bare.n == m->n && bytes_eq(c->bare.p, m->path, m->n, m->no_case);
	case PATH_SEPARATED:
		return c->bare.n >= m->n && bytes_eq(c->bare.p, m->path, m->n, m->no_case) && (c->bare.n == m->n || c->bare.p[m->n] == '/');
	case PATH_REGEX: return regex_match(m->regex, c->bare);
	case PATH_NEVER: return 0;
	}
	return 0;
}

/* The same number chooses a weighted cluster later. Mixed here, so that the calls of a fraction do not all fall into the first weights. */
static uint64_t fraction_of(uint64_t random, uint32_t of)
{
	random = (random ^ random >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	random = (random ^ random >> 27) * UINT64_C(0x94d049bb133111eb);
	return (random ^ random >> 31) % of;
}

static int extra_fits(const struct match_extra *e, const struct match_call *c)
{
	int rc = 1;

	if (e->grpc && !(c->head && fields_is_grpc(c->head)))
		return 0;
	if (e->of && fraction_of(c->random, e->of) >= e->part)
		return 0;
	for (uint32_t i = 0; i < e->nheaders && rc > 0; i++)
		rc = header_fits(&e->headers[i], c->head);
	for (uint32_t i = 0; i < e->nqueries && rc > 0; i++)
		rc = query_fits(&e->queries[i], c->path);
	for (uint32_t i = 0; i < e->ncookies && rc > 0; i++)
		rc = cookie_fits(&e->cookies[i], c->head);
	return rc;
}

int match_fits_slow(const struct match *m, const struct match_call *c)
{
	int rc = path_fits(m, c);

	return rc > 0 && m->extra ? extra_fits(m->extra, c) : rc;
}

/* ---- its life ----------------------------------------------------------------------------------------------------------- */

void match_text_end(struct match_text *t)
{
	free(t->p);
	t->p = NULL;
	regex_free(&t->regex);
}

void match_text_copy(struct match_text *to, const struct match_text *from)
{
	struct ration nobody = {.account = NULL};
	char why[REGEX_WHY];

	*to = *from;
	to->p = from->p ? xstrndup(from->p, from->n) : NULL;
	to->regex = NULL;
	/* It was compiled once, so nothing is wrong with it; should there be no memory for it twice, there is no answer. */
	if (from->regex && regex_new(&nobody, str_of(regex_pattern(from->regex)), &to->regex, why) < 0)
		to->regex = NULL;
}

static void params_end(struct match_param *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		free(p[i].name);
		match_text_end(&p[i].text);
	}
	free(p);
}

void match_end(struct match *m)
{
	struct match_extra *e = m->extra;

	free(m->path);
	regex_free(&m->regex);
	if (e) {
		for (uint32_t i = 0; i < e->nheaders; i++) {
			free(e->headers[i].name);
			match_text_end(&e->headers[i].text);
		}
		free(e->headers);
		params_end(e->queries, e->nqueries);
		params_end(e->cookies, e->ncookies);
		free(e);
	}
	*m = (struct match){0};
}

static uint64_t hash_text(uint64_t h, struct str s)
{
	uint64_t n = s.n; /* the length too: "ab","c" is not "a","bc" */

	return str_hash_seeded(s, str_hash_seeded(str_n((const char *)&n, sizeof(n)), h));
}

static uint64_t hash_numbers(uint64_t h, const uint64_t *v, size_t n)
{
	return str_hash_seeded(str_n((const char *)v, n * sizeof(*v)), h);
}

static uint64_t hash_match_text(uint64_t h, const struct match_text *t)
{
	const uint64_t v[] = {t->form, t->no_case};

	return hash_text(hash_numbers(h, v, 2), t->regex ? str_of(regex_pattern(t->regex)) : str_n(t->p, t->n));
}

static uint64_t hash_params(uint64_t h, const struct match_param *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const uint64_t v[] = {p[i].by_text, p[i].present, p[i].invert};

		h = hash_match_text(hash_text(hash_numbers(h, v, 3), str_n(p[i].name, p[i].name_n)), &p[i].text);
	}
	return h;
}

uint64_t match_text_hash(const struct match_text *t, uint64_t seed)
{
	return hash_match_text(seed, t);
}

uint64_t match_hash(const struct match *m, uint64_t h)
{
	const struct match_extra *e = m->extra;
	const uint64_t path[] = {m->form, m->no_case, e != NULL};

	h = hash_text(hash_numbers(h, path, 3), m->regex ? str_of(regex_pattern(m->regex)) : str_n(m->path, m->n));
	if (!e)
		return h;
	const uint64_t counts[] = {e->nheaders, e->nqueries, e->ncookies, e->grpc, e->part, e->of};
	h = hash_numbers(h, counts, 6);
	for (uint32_t i = 0; i < e->nheaders; i++) {
		const struct match_header *x = &e->headers[i];
		const uint64_t v[] = {x->form, x->present, x->invert, x->empty_if_missing, (uint64_t)x->start, (uint64_t)x->end};

		h = hash_match_text(hash_text(hash_numbers(h, v, 6), str_n(x->name, x->name_n)), &x->text);
	}
	return hash_params(hash_params(h, e->queries, e->nqueries), e->cookies, e->ncookies);
}

bool match_has_regex(const struct match *m)
{
	const struct match_extra *e = m->extra;
	bool any = m->regex != NULL;

	for (uint32_t i = 0; e && i < e->nheaders; i++)
		any |= e->headers[i].text.regex != NULL;
	for (uint32_t i = 0; e && i < e->nqueries; i++)
		any |= e->queries[i].text.regex != NULL;
	for (uint32_t i = 0; e && i < e->ncookies; i++)
		any |= e->cookies[i].text.regex != NULL;
	return any;
}
