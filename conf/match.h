/* conf/match: which calls a route is for (xDS RouteMatch). Immutable once built, owned by its route.
 *
 *   match: path, and where there is more to ask: extra 1 --- n header, query, cookie; grpc; fraction
 *
 * All that is asked for must hold. Envoy's semantics (envoy.md 1a): a prefix sees the query string, the other path forms do not; expressions match the whole
 * text; a header that is not there fits nothing but "absent". The ordinary match, a prefix, costs one compare: no allocation, no hash, no expression. */
#pragma once
#include "base/str.h"
#include "conf/ration.h"
#include "conf/regex.h"
#include "net/fields.h"

enum text_form { TEXT_EXACT, TEXT_PREFIX, TEXT_SUFFIX, TEXT_CONTAINS, TEXT_REGEX };
struct match_text {
	enum text_form form;
	bool no_case;         /* ASCII; an expression does not heed it */
	uint32_t n;
	char *p;              /* owned; NULL for an expression */
	struct regex *regex;  /* owned */
};
enum header_form { HEADER_PRESENT, HEADER_TEXT, HEADER_RANGE };
struct match_header {
	enum header_form form;
	bool present;         /* HEADER_PRESENT: what is wanted */
	bool invert;
	bool empty_if_missing;
	uint16_t token;       /* enum field_token; FIELD_OTHER: by name */
	uint32_t name_n;
	char *name;           /* owned, lower case */
	int64_t start, end;   /* HEADER_RANGE: [start, end) */
	struct match_text text;
};
struct match_param {          /* a query parameter or a cookie */
	char *name;           /* owned */
	uint32_t name_n;
	bool by_text, present, invert;
	struct match_text text;
};
struct match_extra {
	uint32_t nheaders, nqueries, ncookies;
	struct match_header *headers;
	struct match_param *queries, *cookies;
	bool grpc;            /* gRPC calls only */
	uint32_t part, of;    /* runtime_fraction: part in `of` calls; of 0: all */
};
enum path_form { PATH_ANY, PATH_PREFIX, PATH_EXACT, PATH_SEPARATED, PATH_REGEX, PATH_NEVER };
struct match {
	uint8_t form;         /* enum path_form */
	bool no_case;
	uint32_t n;
	char *path;           /* owned */
	struct regex *regex;  /* owned */
	struct match_extra *extra; /* owned; NULL: nothing else is asked */
};

/* The call that is asked about. */
struct match_call {
	const struct fields *head;
	struct str path;      /* with the query */
	struct str bare;      /* without it */
	uint64_t random;
};
struct match_call match_call(const struct fields *head, bool cut_params /* ";x" and what follows is no part of the path */, uint64_t random);
/* 1: it is for this call; 0: it is not; negative: an expression gave up before that was known. */
int match_fits_slow(const struct match *m, const struct match_call *c);
static inline int match_fits(const struct match *m, const struct match_call *c)
{
	if (m->form == PATH_ANY)
		return m->extra ? match_fits_slow(m, c) : 1;
	/* "/": nearly all of them */
	if (m->form == PATH_PREFIX && m->n == 1 && !m->extra && m->path[0] == '/')
		return c->path.n > 0 && c->path.p[0] == '/';
	return match_fits_slow(m, c);
}
int match_text_fits(const struct match_text *t, struct str value); /* as match_fits */
void match_text_end(struct match_text *t);        /* what it owns; harmless twice */
void match_text_copy(struct match_text *to, const struct match_text *from); /* deep */
uint64_t match_text_hash(const struct match_text *t, uint64_t seed);
void match_end(struct match *m);                  /* frees what it owns */
uint64_t match_hash(const struct match *m, uint64_t seed); /* over what is declared */
bool match_has_regex(const struct match *m);
