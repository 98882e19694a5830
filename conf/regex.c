/* conf/regex: what RE2 and PCRE2 agree on. See the header. */
#include "conf/regex.h"

#include <errno.h>
#include <stdio.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/err.h"

struct regex {
	pcre2_code *code; /* owned */
	char *pattern;    /* owned, as it was written */
};

/* ---- syntax ------------------------------------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Where a pattern is read; a byte beyond the end is '\0', which no pattern holds (guard). */
struct scan { struct str p; size_t at; };

static char peek(const struct scan *s, size_t ahead)
{
	return s->at + ahead < s->p.n ? s->p.p[s->at + ahead] : '\0';
}

/* Behind a backslash. Both engines read what passes here alike. */
static const char *scan_escape(struct scan *s, bool in_class)
{
	char c = peek(s, 1);

	if (c == '\0')
		return "a backslash at the end";
	s->at += 2;
	switch (c) {
	case 'd': case 'D': case 's': case 'S': case 'w': case 'W': case 'a': case 'f': case 't': case 'n': case 'r': case '0':
		return NULL;
	case 'A': case 'z': case 'b': case 'B':
		return in_class ? "\\A, \\z, \\b or \\B in a class" : NULL;
	case 'p': case 'P':
		if (peek(s, 0) != '{' && !is_word(peek(s, 0)))
			return "\\p without a class";
		return NULL;
	case 'x':
		if (peek(s, 0) != '{' && !(is_hex(peek(s, 0)) && is_hex(peek(s, 1))))
			return "\\x without two digits";
		return NULL;
	case 'Q':
		if (in_class)
			return "\\Q in a class";
		while (s->at < s->p.n && !(peek(s, 0) == '\\' && peek(s, 1) == 'E'))
			s->at++;
		s->at += s->at < s->p.n ? 2 : 0;
		return NULL;
	default:
		break;
	}
	if (c >= '1' && c <= '9')
		return "a back-reference or an octal number";
	if (is_word(c) && c != '_')
		return "an escape that RE2 does not have, or means otherwise";
	return (unsigned char)c >= 0x80 ? "a backslash before a character that needs none" : NULL;
}

static const char *scan_class(struct scan *s)
{
	s->at++;
	if (peek(s, 0) == '^')
		s->at++;
	for (bool first = true; s->at < s->p.n; first = false) {
		char c = peek(s, 0);

		if (c == ']' && !first) {
			s->at++;
			return NULL;
		}
		if (c == '\\') {
			const char *why = scan_escape(s, true);
			if (why)
				return why;
			continue;
		}
		if (c == '[' && peek(s, 1) == ':') {
			s->at += 2;
			while (s->at < s->p.n && !(peek(s, 0) == ':' && peek(s, 1) == ']'))
				s->at++;
			s->at++;
		} else if (c == '[' && (peek(s, 1) == '.' || peek(s, 1) == '=')) {
			return "a collating element";
		}
		s->at++;
	}
	return "a class without its ]";
}

static const char *scan_open(struct scan *s)
{
	s->at++;
	if (peek(s, 0) == '*')
		return "a verb";
	if (peek(s, 0) != '?')
		return NULL;
	s->at++;
	if (peek(s, 0) == 'P' && peek(s, 1) == '<')
		s->at++;
	if (peek(s, 0) == '<') {
		s->at++;
		if (!is_word(peek(s, 0)) || is_digit(peek(s, 0)))
			return "look-behind";
		while (is_word(peek(s, 0)))
			s->at++;
		if (peek(s, 0) != '>')
			return "a group's name";
		s->at++;
		return NULL;
	}
	if (peek(s, 0) == '=' || peek(s, 0) == '!')
		return "look-ahead";
	while (peek(s, 0) != '\0' && strchr("imsU-", peek(s, 0)))
		s->at++;
	if (peek(s, 0) != ':' && peek(s, 0) != ')')
		return "a kind of group that RE2 does not have";
	s->at++;
	return NULL;
}

/* {n}, {n,}, {n,m}: anything else that begins with { is that character, in both engines. */
static bool scan_count(struct scan *s, const char **ret_why)
{
	size_t at = 1;
	unsigned long bound[2] = {0};

	for (int i = 0; i < 2; i++) {
		size_t from = at;

		for (; is_digit(peek(s, at)); at++)
			if (bound[i] <= 1000)
				bound[i] = bound[i] * 10 + (unsigned long)(peek(s, at) - '0');
		if (i == 0 && at == from)
			return false;
		if (i == 0 && peek(s, at) == ',')
			at++;
		else
			break;
	}
	if (peek(s, at) != '}')
		return false;
	if (bound[0] > 1000 || bound[1] > 1000)
		*ret_why = "a repetition of more than 1000";
	s->at += at + 1;
	return true;
}

const char *regex_foreign(struct str pattern)
{
	struct scan s = {pattern, 0};
	const char *why = NULL;
	bool repeated = false; /* what stands before is a repetition: another one behind it is possessive in PCRE2, an error in RE2 */

	while (!why && s.at < pattern.n) {
		char c = peek(&s, 0);
		bool repeats = false;

		if (c == '*' || c == '+' || c == '?') {
			s.at++;
			repeats = true;
		} else if (c == '{') {
			repeats = scan_count(&s, &why);
			s.at += repeats ? 0 : 1;
		} else if (c == '\\') {
			why = scan_escape(&s, false);
		} else if (c == '[') {
			why = scan_class(&s);
		} else if (c == '(') {
			why = scan_open(&s);
		} else {
			s.at++;
		}
		if (repeats && repeated)
			why = "a repetition of a repetition";
		repeated = repeats;
		if (repeats && peek(&s, 0) == '?')
			s.at++;
	}
	return why;
}

/* ---- compiling ---------------------------------------------------------------------------------------------------------- */

/* PCRE2 asks here while it compiles. The compiled form remembers both functions, but `free` needs no ration, which is gone by then. */
static void *compile_alloc(size_t n, void *data)
{
	return ration_take((struct ration *)data, n + RATION_HEAD) ? malloc(n) : NULL;
}

static void compile_free(void *p, void *data)
{
	(void)data;
	free(p);
}

int regex_new(struct ration *r, struct str pattern, struct regex **ret, char why[REGEX_WHY])
{
	char text[REGEX_MAX + 80];
	const char *foreign = pattern.n > REGEX_MAX ? "longer than 4096 bytes" : regex_foreign(pattern);

	if (foreign) {
		snprintf(why, REGEX_WHY, "%s", foreign);
		return ERR_MALFORMED;
	}
	/* The limits stand in front of the pattern: so they are part of the compiled form, and a match needs no context of its own. */
	int n = snprintf(text, sizeof(text), "(*LIMIT_MATCH=%d)(*LIMIT_DEPTH=%d)(*LIMIT_HEAP=%d)", REGEX_STEPS, REGEX_DEPTH, REGEX_HEAP_KIB);
	if (pattern.n)
		memcpy(text + n, pattern.p, pattern.n);

	pcre2_general_context *memory = pcre2_general_context_create(compile_alloc, compile_free, r);
	pcre2_compile_context *context = memory ? pcre2_compile_context_create(memory) : NULL;
	pcre2_code *code = NULL;
	int error = PCRE2_ERROR_NOMEMORY;
	PCRE2_SIZE offset = 0;

	if (context) {
		pcre2_set_newline(context, PCRE2_NEWLINE_LF);
		pcre2_set_max_pattern_length(context, sizeof(text));
		/* Groups catch nothing: nobody reads what they would. */
		code = pcre2_compile((PCRE2_SPTR)text, (size_t)n + pattern.n, PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_DOLLAR_ENDONLY | PCRE2_UTF |
			PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE, &error, &offset, context);
	}
	pcre2_compile_context_free(context);
	pcre2_general_context_free(memory);
	if (!code && (r->refused || error == PCRE2_ERROR_NOMEMORY))
		return -ENOMEM;
	if (!code) {
		char said[120];

		pcre2_get_error_message(error, (PCRE2_UCHAR *)said, sizeof(said));
		snprintf(why, REGEX_WHY, "%s, at byte %zu", said, offset > (size_t)n ? offset - (size_t)n : 0);
		return ERR_MALFORMED;
	}
	struct regex *re = ration_alloc(r, sizeof(*re));
	char *copy = ration_text(r, pattern);
	if (!copy || !re) {
		pcre2_code_free(code);
		free(re);
		free(copy);
		return -ENOMEM;
	}
	*re = (struct regex){code, copy};
	*ret = re;
	return 0;
}

void regex_free(struct regex **re)
{
	struct regex *old = *re;

	*re = NULL;
	if (!old)
		return;
	pcre2_code_free(old->code);
	free(old->pattern);
	free(old);
}

const char *regex_pattern(const struct regex *re)
{
	return re->pattern;
}

/* ---- matching ----------------------------------------------------------------------------------------------------------- */

/* 1, 0; negative: no answer within the limits. */
static int verdict(int rc, const pcre2_match_data *found, size_t n)
{
	const PCRE2_SIZE *span = pcre2_get_ovector_pointer((pcre2_match_data *)found);

	if (rc >= 0)
		return span[0] == 0 && span[1] == n;
	/* An obs-text byte of a header that is no UTF-8: nothing matches it, in RE2 neither. */
	if (rc == PCRE2_ERROR_NOMATCH || (rc <= PCRE2_ERROR_UTF8_ERR1 && rc >= PCRE2_ERROR_UTF8_ERR21))
		return 0;
	return ERR_LIMIT;
}

int regex_match(const struct regex *re, struct str text)
{
	/* Room for the backtracking is taken for one match and given back: tens of KB kept for each expression of a big mesh would be its memory. */
	pcre2_match_data *found = pcre2_match_data_create(1, NULL);
	PCRE2_SPTR p = (PCRE2_SPTR)(text.p ? text.p : "");
	int states[REGEX_STATES], answer = ERR_LIMIT;

	if (!found)
		return -ENOMEM;
	/* One step of backtracking may look at all of the text: a long one is not begun that way. */
	for (int try = 0; try < 2 && answer < 0; try++)
		answer = verdict((try == 0) == (text.n <= REGEX_SHORT) ? pcre2_match(re->code, p, text.n, 0, 0, found, NULL) :
			pcre2_dfa_match(re->code, p, text.n, 0, 0, found, NULL, states, REGEX_STATES), found, text.n);
	pcre2_match_data_free(found);
	return answer;
}
