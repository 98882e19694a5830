/* conf/regex: regular expressions that a control plane sends: RE2's syntax (Envoy's), run by PCRE2.
 *
 * PCRE2 knows more than RE2 and backtracks. So what RE2 does not have (back-references, look-around, possessive repetition, recursion, comments, ...) or means
 * otherwise (\v, \1) is refused with its reason, as RE2 would. A match backtracks for a few steps only; where that is not enough PCRE2's other way is taken (with a
 * long text first), which follows all paths at once, in a time that grows with the text and not with its powers, and has room for so many paths. Where neither comes
 * to an end there is no answer, and whoever asks must not guess. No JIT: no page of ours is writable and executable. Matching is of the whole text, as everywhere in xDS. */
#pragma once
#include "conf/ration.h"

enum { REGEX_MAX = 4096 /* bytes of a pattern */, REGEX_STEPS = 1000, REGEX_DEPTH = 1000, REGEX_HEAP_KIB = 1024, REGEX_SHORT = 1024 /* bytes of a text */,
	REGEX_STATES = 2000 /* ints: some 300 paths, which is a millisecond at worst */, REGEX_WHY = 160 };
struct regex;
/* 0; ERR_MALFORMED with why; -ENOMEM. What the compiled form takes is charged to the ration. */
int regex_new(struct ration *r, struct str pattern, struct regex **ret, char why[REGEX_WHY]);
void regex_free(struct regex **re);
const char *regex_pattern(const struct regex *re);
/* 1: it matches, 0: it does not, negative: a limit was reached before that was known. */
int regex_match(const struct regex *re, struct str text);
/* What RE2 would not take, or take otherwise; NULL: nothing that PCRE2 would not refuse itself. */
const char *regex_foreign(struct str pattern);
