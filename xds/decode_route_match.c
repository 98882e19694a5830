/* xds/decode_route_match: a RouteMatch. See xds/decode_route.h and, for what it means, conf/match.h. */
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "xds/decode_route.h"

static int pattern_fail(struct decode *d, const char *field, const char *form)
{
	return decode_fail(d, ERR_MALFORMED, field, "%s: empty", form);
}

static int make_regex(struct decode *d, const char *field, const Pb__RegexMatcher *in, struct regex **ret)
{
	char why[REGEX_WHY];

	if (!in || in->regex[0] == '\0')
		return pattern_fail(d, field, "safe_regex");
	int rc = regex_new(&d->ration, str_of(in->regex), ret, why);
	return rc == -ENOMEM ? rc : rc < 0 ? decode_fail(d, rc, field, "safe_regex '%.64s': %s", in->regex, why) : 0;
}

static int make_text(struct decode *d, const char *field, enum text_form form, const char *text, bool may_be_empty, struct match_text *out)
{
	static const char *const names[] = {"exact", "prefix", "suffix", "contains", "safe_regex"};

	if (text[0] == '\0' && !may_be_empty)
		return pattern_fail(d, field, names[form]);
	out->form = form;
	out->n = (uint32_t)strlen(text);
	out->p = ration_text(&d->ration, str_of(text));
	return out->p ? 0 : -ENOMEM;
}

static int make_string_match(struct decode *d, const char *field, const Pb__StringMatcher *in, struct match_text *out)
{
	out->no_case = in->ignore_case;
	switch (in->match_pattern_case) {
	case PB__STRING_MATCHER__MATCH_PATTERN_EXACT: return make_text(d, field, TEXT_EXACT, in->exact, true, out);
	case PB__STRING_MATCHER__MATCH_PATTERN_PREFIX: return make_text(d, field, TEXT_PREFIX, in->prefix, false, out);
	case PB__STRING_MATCHER__MATCH_PATTERN_SUFFIX: return make_text(d, field, TEXT_SUFFIX, in->suffix, false, out);
	case PB__STRING_MATCHER__MATCH_PATTERN_CONTAINS: return make_text(d, field, TEXT_CONTAINS, in->contains, false, out);
	case PB__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX:
		out->form = TEXT_REGEX;
		return make_regex(d, field, in->safe_regex, &out->regex);
	case PB__STRING_MATCHER__MATCH_PATTERN_CUSTOM:
		/* Nobody here knows whether it fits: calls that come so far are answered with that, not sent to a route that is only the next. */
		d->unsupported = "a custom string_match";
		return make_text(d, field, TEXT_PREFIX, "", true, out);
	default: return decode_fail(d, ERR_MALFORMED, field, "match_pattern: missing");
	}
}

static int make_regex_text(struct decode *d, const char *field, const Pb__RegexMatcher *in, struct match_text *out)
{
	out->form = TEXT_REGEX;
	return make_regex(d, field, in, &out->regex);
}

static int make_header(struct decode *d, const char *field, const Pb__HeaderMatcher *in, struct match_header *out)
{
	if (!decode_header_name_valid(in->name))
		return decode_fail(d, ERR_MALFORMED, field, "name: no header's name");
	out->invert = in->invert_match;
	out->empty_if_missing = in->treat_missing_header_as_empty;
	out->name_n = (uint32_t)strlen(in->name);
	out->name = ration_text(&d->ration, str_of(in->name));
	if (!out->name)
		return -ENOMEM;
	str_lower(out->name, out->name_n);
	out->token = (uint16_t)field_token(out->name, out->name_n);
	out->form = HEADER_TEXT;
	switch (in->header_match_specifier_case) {
	case PB__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH: return make_string_match(d, field, in->string_match, &out->text);
	case PB__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_EXACT_MATCH: return make_text(d, field, TEXT_EXACT, in->exact_match, true, &out->text);
	case PB__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PREFIX_MATCH: return make_text(d, field, TEXT_PREFIX, in->prefix_match, false, &out->text);
	case PB__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SUFFIX_MATCH: return make_text(d, field, TEXT_SUFFIX, in->suffix_match, false, &out->text);
	case PB__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_CONTAINS_MATCH: return make_text(d, field, TEXT_CONTAINS, in->contains_match, false, &out->text);
	case PB__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SAFE_REGEX_MATCH: return make_regex_text(d, field, in->safe_regex_match, &out->text);
	case PB__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_RANGE_MATCH:
		out->form = HEADER_RANGE;
		out->start = in->range_match->start;
		out->end = in->range_match->end;
		return 0;
	case PB__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH:
		out->form = HEADER_PRESENT;
		out->present = in->present_match;
		return 0;
	default: /* nothing said: it is there */
		out->form = HEADER_PRESENT;
		out->present = true;
		return 0;
	}
}

static int make_param(struct decode *d, const char *field, const char *name, struct match_param *out)
{
	out->name_n = (uint32_t)strlen(name);
	if (out->name_n == 0 || out->name_n > 1024)
		return decode_fail(d, ERR_MALFORMED, field, "name: %u bytes, expected 1 to 1024", out->name_n);
	out->name = ration_text(&d->ration, str_of(name));
	return out->name ? 0 : -ENOMEM;
}

static int make_query(struct decode *d, const char *field, const Pb__QueryParameterMatcher *in, struct match_param *out)
{
	int rc = make_param(d, field, in->name, out);

	out->present = true;
	if (rc == 0 && in->query_parameter_match_specifier_case == PB__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH) {
		out->by_text = true;
		rc = make_string_match(d, field, in->string_match, &out->text);
	} else if (rc == 0 && in->query_parameter_match_specifier_case == PB__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_PRESENT_MATCH) {
		out->present = in->present_match;
	}
	return rc;
}

static int make_cookie(struct decode *d, const char *field, const Pb__CookieMatcher *in, struct match_param *out)
{
	int rc = make_param(d, field, in->name, out);

	if (rc < 0)
		return rc;
	out->by_text = true;
	out->invert = in->invert_match;
	return in->string_match ? make_string_match(d, field, in->string_match, &out->text) : decode_fail(d, ERR_MALFORMED, field, "string_match: missing");
}

static int make_fraction(struct decode *d, const Pb__RuntimeFractionalPercent *in, struct match_extra *e)
{
	static const uint32_t of[] = {100, 10000, 1000000};

	if (!in->default_value)
		return decode_fail(d, ERR_MALFORMED, "match.runtime_fraction", "default_value: missing");
	if (in->default_value->denominator < 0 || in->default_value->denominator > 2)
		return decode_fail(d, ERR_MALFORMED, "match.runtime_fraction", "denominator: %d, expected 0 to 2", in->default_value->denominator);
	e->of = of[in->default_value->denominator];
	e->part = in->default_value->numerator;
	if (e->part >= e->of)
		e->part = e->of;
	return 0;
}

static int make_extra(struct decode *d, const Pb__RouteMatch *in, struct match *out)
{
	char field[64];
	int rc = 0;

	if (in->n_headers == 0 && in->n_query_parameters == 0 && in->n_cookies == 0 && !in->grpc && !in->runtime_fraction)
		return 0;
	struct match_extra *e = out->extra = ration_alloc(&d->ration, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->grpc = in->grpc != NULL;
	if (in->n_headers && !(e->headers = ration_alloc(&d->ration, in->n_headers * sizeof(*e->headers))))
		return -ENOMEM;
	if (in->n_query_parameters && !(e->queries = ration_alloc(&d->ration, in->n_query_parameters * sizeof(*e->queries))))
		return -ENOMEM;
	if (in->n_cookies && !(e->cookies = ration_alloc(&d->ration, in->n_cookies * sizeof(*e->cookies))))
		return -ENOMEM;
	if (in->runtime_fraction)
		rc = make_fraction(d, in->runtime_fraction, e);
	for (size_t i = 0; rc == 0 && i < in->n_headers; i++) {
		snprintf(field, sizeof(field), "match.headers[%zu]", i);
		rc = make_header(d, field, in->headers[i], &e->headers[e->nheaders++]);
	}
	for (size_t i = 0; rc == 0 && i < in->n_query_parameters; i++) {
		snprintf(field, sizeof(field), "match.query_parameters[%zu]", i);
		rc = make_query(d, field, in->query_parameters[i], &e->queries[e->nqueries++]);
	}
	for (size_t i = 0; rc == 0 && i < in->n_cookies; i++) {
		snprintf(field, sizeof(field), "match.cookies[%zu]", i);
		rc = make_cookie(d, field, in->cookies[i], &e->cookies[e->ncookies++]);
	}
	return rc;
}

static int take_path(struct decode *d, struct match *out, enum path_form form, const char *path)
{
	out->form = (uint8_t)form;
	out->n = (uint32_t)strlen(path);
	out->path = ration_text(&d->ration, str_of(path));
	return out->path ? 0 : -ENOMEM;
}

static int make_path(struct decode *d, const Pb__RouteMatch *in, struct match *out)
{
	size_t n;

	switch (in->path_specifier_case) {
	case PB__ROUTE_MATCH__PATH_SPECIFIER_PREFIX: return take_path(d, out, PATH_PREFIX, in->prefix);
	case PB__ROUTE_MATCH__PATH_SPECIFIER_PATH: return take_path(d, out, PATH_EXACT, in->path);
	case PB__ROUTE_MATCH__PATH_SPECIFIER_PATH_SEPARATED_PREFIX:
		n = strlen(in->path_separated_prefix);
		if (n < 2 || strpbrk(in->path_separated_prefix, "?#") || in->path_separated_prefix[n - 1] == '/')
			return decode_fail(d, ERR_MALFORMED, "match", "path_separated_prefix: '%.64s', expected a path without ? and # that does not end in /", in->path_separated_prefix);
		return take_path(d, out, PATH_SEPARATED, in->path_separated_prefix);
	case PB__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX:
		out->form = PATH_REGEX;
		return make_regex(d, "match", in->safe_regex, &out->regex);
	case PB__ROUTE_MATCH__PATH_SPECIFIER_CONNECT_MATCHER: /* a call is no CONNECT */
		d->notes |= NOTE(MATCH_CONNECT);
		out->form = PATH_NEVER;
		return 0;
	case PB__ROUTE_MATCH__PATH_SPECIFIER_PATH_MATCH_POLICY: /* as with a custom string_match */
		d->unsupported = "match.path_match_policy";
		out->form = PATH_ANY;
		return 0;
	default: return decode_fail(d, ERR_MALFORMED, "match", "path_specifier: missing");
	}
}

int decode_match(struct decode *d, const Pb__RouteMatch *in, struct match *out)
{
	int rc = make_path(d, in, out);

	if (rc == 0)
		rc = make_extra(d, in, out);
	if (rc < 0)
		return rc;
	out->no_case = in->case_sensitive && !in->case_sensitive->value && out->form != PATH_REGEX;
	/* No filter of ours writes metadata or filter state: what wants some finds none, and what wants none of it holds. */
	for (size_t i = 0; i < in->n_dynamic_metadata; i++) {
		d->notes |= NOTE(MATCH_METADATA);
		if (!in->dynamic_metadata[i]->invert)
			out->form = PATH_NEVER;
	}
	if (in->n_filter_state) {
		d->notes |= NOTE(MATCH_FILTER_STATE);
		out->form = PATH_NEVER;
	}
	/* The app comes over a socket of this machine, without a certificate. */
	if (in->tls_context && ((in->tls_context->presented && in->tls_context->presented->value) || (in->tls_context->validated && in->tls_context->validated->value)))
		out->form = PATH_NEVER;
	return 0;
}
