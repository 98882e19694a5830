/* conf/authority: see the header. The steps stand here in the order in which they are taken. */
#include "conf/authority.h"

#include <stdio.h>

/* A cleaned authority: out[0..n), of which the first host_n are the host. */
struct cleaned {
	enum authority_kind kind;
	size_t n, host_n;
};

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986 3.2.2 allows no more than unreserved, sub-delims, escapes and the brackets and colon of addresses; a slash is let through, because
 * SDKs send paths. Userinfo ('@') is refused: what stands before it is not for routing, and mistaking it is an attack. */
static bool byte_allowed(unsigned char c)
{
	return c > 0x20 && c < 0x7f && !strchr("\"#<>?@\\^`{|}", c);
}

static bool bytes_allowed(struct str raw, bool *ret_path)
{
	*ret_path = false;
	for (size_t i = 0; i < raw.n; i++) {
		if (!byte_allowed((unsigned char)raw.p[i]))
			return false;
		*ret_path |= raw.p[i] == '/';
		if (raw.p[i] != '%')
			continue;
		/* An escape is never decoded; it may not hide what is refused in the open. */
		int high = i + 2 < raw.n ? hex(raw.p[i + 1]) : -1, low = high < 0 ? -1 : hex(raw.p[i + 2]);
		if (low < 0 || high * 16 + low < 0x20 || high * 16 + low == 0x7f)
			return false;
		*ret_path |= high == 2 && low == 15;
	}
	return true;
}

static bool is_localhost(struct str host)
{
	return str_is(host, "localhost");
}

static bool labels_sound(struct str host)
{
	size_t label = 0;

	for (size_t i = 0; i < host.n; i++) {
		if (host.p[i] == '.' && label == 0)
			return false;
		label = host.p[i] == '.' ? 0 : label + 1;
	}
	return label > 0;
}

/* "host", "host:port", "[v6]:port", "v6" -> the two; port empty when absent. False: unclosed brackets, several colons that are no IPv6. */
static bool split(struct str s, struct str *ret_host, struct str *ret_port)
{
	ptrdiff_t colon = str_find(s, ':');

	*ret_port = str_n(s.p, 0);
	if (s.n && s.p[0] == '[') {
		ptrdiff_t end = str_find(s, ']');
		if (end < 0 || ((size_t)end + 1 < s.n && s.p[end + 1] != ':'))
			return false;
		*ret_host = str_cut(s, 0, (size_t)end + 1);
		*ret_port = str_cut(s, (size_t)end + 2, s.n);
		return addr_is_ip(*ret_host) || str_find(*ret_host, '%') > 0;
	}
	if (colon >= 0 && str_rfind(s, ':') != colon) {
		*ret_host = s;
		return addr_is_ip(s);
	}
	*ret_host = colon < 0 ? s : str_cut(s, 0, (size_t)colon);
	if (colon >= 0)
		*ret_port = str_cut(s, (size_t)colon + 1, s.n);
	return str_find(*ret_host, '[') < 0 && str_find(*ret_host, ']') < 0;
}

static struct cleaned bad(char *out)
{
	out[0] = '\0';
	return (struct cleaned){.kind = AUTHORITY_BAD};
}

static struct cleaned clean(struct str raw, char *out)
{
	struct cleaned c = {.kind = AUTHORITY_NAME};
	struct str host, port;
	uint64_t number = 0;
	bool path;

	if (raw.n >= AUTHORITY_MAX || !bytes_allowed(raw, &path))
		return bad(out);
	if (path || raw.n == 0) {
		/* A path keeps its case: it is told to people, never looked up. */
		if (raw.n)
			memcpy(out, raw.p, raw.n);
		out[raw.n] = '\0';
		return (struct cleaned){.kind = AUTHORITY_NONE, .n = raw.n, .host_n = 0};
	}
	if (!split(raw, &host, &port))
		return bad(out);
	if (port.n && (port.n > 5 || !str_u64(port, &number) || number == 0 || number > 65535))
		return bad(out);
	if (host.n > 1 && host.p[host.n - 1] == '.')
		host.n--;
	memcpy(out, host.p, host.n);
	str_lower(out, host.n);
	c.n = c.host_n = host.n;
	if (number)
		c.n += (size_t)snprintf(out + host.n, 8, ":%u", (unsigned)number);
	out[c.n] = '\0';
	host = str_n(out, c.host_n);
	if (host.n == 0 || is_localhost(host) || addr_is_ip(host) || host.p[0] == '[')
		c.kind = AUTHORITY_NONE;
	else if (!labels_sound(host))
		return bad(out);
	return c;
}

enum authority_kind authority_clean(struct str raw, char *out, size_t *ret_n)
{
	struct cleaned c = clean(raw, out);

	*ret_n = c.n;
	return c.kind;
}

/* The app's aliases: the whole authority first, then the host alone, whose port goes on where the alias names none. One step, so that no
 * circle is possible. */
static struct cleaned apply_alias(const struct conf_app *app, struct cleaned c, char *out)
{
	char port[8] = "";
	const struct conf_pair *pair;

	if (!app || app->aliases == 0 || c.host_n == 0)
		return c;
	pair = conf_pair_find(app->alias, app->aliases, str_n(out, c.n));
	if (!pair) {
		memcpy(port, out + c.host_n, c.n - c.host_n);
		pair = conf_pair_find(app->alias, app->aliases, str_n(out, c.host_n));
	}
	if (!pair)
		return c;
	c = clean(str_of(pair->to), out);
	if (c.n == c.host_n && port[0] && c.n + strlen(port) < AUTHORITY_MAX) {
		memcpy(out + c.n, port, strlen(port) + 1);
		c.n += strlen(port);
	}
	return c;
}

/* dubbo-go's mesh mode forgets two dots: NAME.NAMESPACEsvcDOMAIN (all versions to 3.3.2). Gives how much of the host is NAME.NAMESPACE; 0: not so. */
static size_t forgotten_dots(struct str host, struct str domain)
{
	size_t tail = domain.n + 3;
	ptrdiff_t dot = str_find(host, '.');

	if (dot < 1 || host.n <= tail || !str_ends(host, domain) || memcmp(host.p + host.n - tail, "svc", 3) != 0)
		return 0;
	return (size_t)dot + 1 < host.n - tail && host.p[host.n - tail - 1] != '.' ? host.n - tail : 0;
}

static bool is_within(struct str host, struct str domain)
{
	return host.n > domain.n && str_ends(host, domain) && host.p[host.n - domain.n - 1] == '.';
}

/* The short forms that Kubernetes' search list and Istio's virtual hosts know: N, N.NS, N.NS.svc, and N.NS.svc with the beginning of the
 * domain. Everything else is a host of the world. */
static bool expand_host(struct str host, struct str namespace_, struct str domain, char *out, size_t cap, size_t *ret_n)
{
	struct str third, rest;
	ptrdiff_t one = str_find(host, '.'), two;
	size_t forgotten = forgotten_dots(host, domain);
	int n;

	if (forgotten) {
		n = snprintf(out, cap, "%.*s.svc.%.*s", (int)forgotten, host.p, (int)domain.n, domain.p);
	} else if (is_within(host, domain)) {
		return false;
	} else if (one < 0) {
		n = snprintf(out, cap, "%.*s.%.*s.svc.%.*s", (int)host.n, host.p, (int)namespace_.n, namespace_.p, (int)domain.n, domain.p);
	} else if ((two = str_find(str_cut(host, (size_t)one + 1, host.n), '.')) < 0) {
		n = snprintf(out, cap, "%.*s.svc.%.*s", (int)host.n, host.p, (int)domain.n, domain.p);
	} else {
		third = str_cut(host, (size_t)(one + two) + 2, host.n);
		if (!str_is(third, "svc") && !str_starts(third, STR("svc.")))
			return false;
		rest = str_cut(third, 4, third.n);
		if (rest.n && (!str_starts(domain, rest) || domain.p[rest.n] != '.'))
			return false;
		n = snprintf(out, cap, "%.*s.%.*s", (int)(host.n - (rest.n ? rest.n + 1 : 0)), host.p, (int)domain.n, domain.p);
	}
	if (n < 0 || (size_t)n >= cap)
		return false; /* no name that long exists: it stays as it is and is not found */
	*ret_n = (size_t)n;
	return true;
}

/* literal: cleaned and aliased, in `literal`. name: expanded, in `name`; the same text where nothing was to expand. */
static enum authority_kind read_both(const struct conf_app *app, const char *domain, struct str raw, char *literal,
	struct cleaned *ret_literal, char *name, struct cleaned *ret_name)
{
	struct cleaned c = apply_alias(app, clean(raw, literal), literal);
	struct str port = str_n(literal + c.host_n, c.n - c.host_n);
	size_t n;

	*ret_literal = *ret_name = c;
	memcpy(name, literal, c.n + 1);
	if (c.kind == AUTHORITY_NAME &&
		expand_host(str_n(literal, c.host_n), str_of(app && app->namespace_ ? app->namespace_ : "default"), str_of(domain), name,
			AUTHORITY_MAX - 8, &n)) {
		memcpy(name + n, port.p, port.n);
		name[n + port.n] = '\0';
		ret_name->host_n = n;
		ret_name->n = n + port.n;
	} else {
		memcpy(name, literal, c.n + 1);
	}
	return c.kind;
}

enum authority_kind authority_normalise(const struct conf_app *app, const char *domain, struct str raw, char *out, size_t *ret_n)
{
	char literal[AUTHORITY_MAX];
	struct cleaned as_written, name;
	enum authority_kind kind = read_both(app, domain, raw, literal, &as_written, out, &name);

	*ret_n = name.n;
	return kind;
}

static void add_candidate(struct authority *a, struct str text)
{
	for (uint32_t i = 0; i < a->count; i++)
		if (str_eq(a->candidate[i], text))
			return;
	a->candidate[a->count++] = text;
}

void authority_candidates(const struct conf_app *app, const char *domain, struct str raw, struct authority *ret)
{
	char *literal = ret->text, *name = ret->text + AUTHORITY_MAX;
	struct cleaned l, n;

	ret->count = 0;
	ret->kind = read_both(app, domain, raw, literal, &l, name, &n);
	ret->best = str_n(name, n.n);
	if (ret->kind == AUTHORITY_BAD || l.host_n == 0)
		return;
	add_candidate(ret, str_n(literal, l.n));
	add_candidate(ret, str_n(name, n.n));
	add_candidate(ret, str_n(literal, l.host_n));
	add_candidate(ret, str_n(name, n.host_n));
}

/* The last segment is the method, the one before it the service; what stands before is a context path (Dubbo's, or an ingress's). */
struct str authority_path_service(struct str path)
{
	ptrdiff_t query = str_find(path, '?'), method, service;

	if (query >= 0)
		path = str_cut(path, 0, (size_t)query);
	method = str_rfind(path, '/');
	if (method <= 0 || (size_t)method + 1 == path.n)
		return str_n("", 0);
	path = str_cut(path, 0, (size_t)method);
	service = str_rfind(path, '/');
	return service < 0 ? str_n("", 0) : str_cut(path, (size_t)service + 1, path.n);
}
