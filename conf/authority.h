/* conf/authority: what an :authority says (product.md, promise 4; dubbo.md 0.4, 3.3). Pure functions.
 *
 *   raw --clean--> literal --alias--> literal --repair, expand--> name
 *
 * clean: lower case, trailing dot and empty port dropped, leading zeros of the port too. Two forms of a name come out of it, because `a.b` may be a service
 * `a` of namespace `b` or a host `a.b` of the world (example.com): the *name*, expanded, and the *literal*, as it was written. Who looks a
 * name up takes authority_candidates, which gives all of them in the order in which they count. */
#pragma once
#include "conf/conf.h"

enum { AUTHORITY_MAX = 320 };
enum authority_kind {
	AUTHORITY_NAME,  /* out holds the normalised name, port kept */
	AUTHORITY_NONE,  /* no app named: localhost, an IP, a path, %2F..., nothing: path map, then the listener's default. out holds the cleaned text
			  * all the same, so that an exact `services` entry that is an IP (or localhost:port) can still be found */
	AUTHORITY_BAD,   /* too long, userinfo, controls, spaces, a bad port, unclosed brackets, an empty label; out is empty */
};
/* raw -> lower case, trailing dot dropped, %XX of slashes understood, alias applied, short names expanded by namespace and domain (demo, demo.default,
 * demo.default.svc), dubbo-go's `demo.defaultsvccluster.local:80` repaired. out: NUL-terminated, AUTHORITY_MAX bytes.
 * app NULL: no alias, namespace `default`. */
enum authority_kind authority_normalise(const struct conf_app *app, const char *domain, struct str raw, char *out, size_t *ret_n);
/* Cleaned only: what names of `services`, aliases and paths are stored as. */
enum authority_kind authority_clean(struct str raw, char *out, size_t *ret_n);

/* What to look up, first match wins: literal with port, name with port, literal without port, name without port; no text twice. The texts lie in
 * `text`. kind NONE with candidates: an IP or localhost, that `services` may name all the same; a path or nothing has none. candidate[0] is
 * never empty; `best` is what to tell people, and what the authority is upstream. */
struct authority {
	enum authority_kind kind;
	uint32_t count;
	struct str candidate[4];
	struct str best;             /* = what authority_normalise gives */
	char text[2 * AUTHORITY_MAX];
};
void authority_candidates(const struct conf_app *app, const char *domain, struct str raw, struct authority *ret);

/* "/pkg.Service/Method", "/ctx/pkg.Service/Method" -> the service; empty when there is none. */
struct str authority_path_service(struct str path);
