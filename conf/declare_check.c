/* conf/declare_check: how something is asked whether it is well, out of its YAML: services[].health and .outlier, apps[].health.check. The maps below a check
 * (http, grpc, tcp) are read into the same struct health_check; which of them is written decides its kind. What is made belongs to the draft of the service, or
 * to the conf_app, at once: both end it whole or half-built. */
#include "conf/declare.h"

#include <stdlib.h>

#include "base/mem.h"
#include "net/fields.h"

/* ---- small checks ------------------------------------------------------------------------------------------------------- */

static bool has_nul(struct str t)
{
	return t.n && memchr(t.p, '\0', t.n);
}

/* Exactly one of the words is written: its index; negative: told. before: problems until this map was read. */
static int one_of(struct schema *s, const struct yaml *node, uint32_t before, const char *const *words, int count)
{
	struct sb all = {0};
	int found = -1, many = 0;

	for (int i = 0; i < count; i++) {
		sb_fmt(&all, "%s%s", i ? ", " : "", words[i]);
		if (declare_has(node, words[i])) {
			found = i;
			many++;
		}
	}
	/* A word that was told as unknown already is one mistake, not two. */
	if (many > 1 || (many == 0 && s->problems->count == before))
		schema_problem(s, node, "%s, expected exactly one of %.*s", many ? "more than one of them" : "none of them", (int)all.n, all.p);
	sb_end(&all);
	return many == 1 ? found : -1;
}

static const char *name_of(void *ctx, uint32_t i)
{
	return ((const char *const *)ctx)[i];
}

static void check_method(struct schema *s, const struct yaml *node, const struct health_check *c)
{
	/* Those of Envoy's RequestMethod; a CONNECT would be no question. */
	static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", NULL};
	static const char *const with_body[] = {"POST", "PUT", "PATCH", "OPTIONS"};
	char near[80];
	bool known = false, body = c->send.n == 0;

	for (uint32_t i = 0; methods[i]; i++)
		known |= strcmp(methods[i], c->method) == 0;
	for (size_t i = 0; i < sizeof(with_body) / sizeof(with_body[0]); i++)
		body |= strcmp(with_body[i], c->method) == 0;
	if (!known) {
		schema_nearest(str_of(c->method), name_of, (void *)methods, near, sizeof(near));
		declare_problem(s, node, "method", "'%.40s' is none, expected one of GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH%s", c->method, near);
	} else if (!body) {
		declare_problem(s, node, "send", "%s has no body, expected method: POST, PUT, PATCH or OPTIONS beside it", c->method);
	}
}

static void check_path(struct schema *s, const struct yaml *node, const struct health_check *c)
{
	bool sound = c->path[0] == '/';

	for (const char *p = c->path; *p; p++)
		sound &= (unsigned char)*p > ' ' && *p != 0x7f;
	if (!sound)
		declare_problem(s, node, "path", "'%.60s' is no path, expected one that begins with '/'", c->path);
}

static void check_value(struct schema *s, const struct yaml *node, const char *key, const char *value)
{
	if (value && (!*value || !field_value_valid(value, strlen(value)) || strchr(value, ' ')))
		declare_problem(s, node, key, "'%.60s' is no authority, expected a name such as demo.default.svc.cluster.local", value);
}

/* ---- statuses ----------------------------------------------------------------------------------------------------------- */

static bool read_status(struct str t, uint32_t *ret)
{
	uint64_t v;

	if (!str_u64(t, &v) || v < 100 || v > 599)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static void take_ranges(struct schema *s, const struct yaml *node, struct check_range **ranges, uint32_t *count)
{
	size_t i = 0;

	if (!schema_is_list(s, node, "statuses such as 200 or \"200-299\""))
		return;
	if (node->count == 0 || node->count > CHECK_RANGES_MAX) {
		schema_problem(s, node, "%zu statuses, expected 1 to %d", node->count, CHECK_RANGES_MAX);
		return;
	}
	*ranges = xalloc(node->count * sizeof(**ranges));
	for (const struct yaml *c = node->first; c; c = c->next, i++) {
		size_t mark = schema_push_index(s, i);
		struct check_range *r = &(*ranges)[*count];
		struct str text;

		if (!c->bad && schema_text(s, c, &text)) {
			ptrdiff_t dash = str_find(text, '-');
			struct str from = str_trim(str_cut(text, 0, dash < 0 ? text.n : (size_t)dash));
			struct str to = dash < 0 ? from : str_trim(str_cut(text, (size_t)dash + 1, text.n));

			if (read_status(from, &r->from) && read_status(to, &r->to) && r->from <= r->to) {
				r->to++;
				(*count)++;
			} else {
				schema_problem(s, c, "'%.40s' is no status, expected 100 to 599, or two of them as \"200-299\"", text.p);
			}
		}
		schema_pop(s, mark);
	}
}

void conf_take_expect(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;

	take_ranges(s, node, &c->expected, &c->nexpected);
}

void conf_take_retriable(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;

	take_ranges(s, node, &c->retriable, &c->nretriable);
}

/* ---- payloads ----------------------------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_hex(struct str t, struct check_bytes *ret)
{
	if (t.n % 2)
		return false;
	for (size_t i = 0; i < t.n; i++)
		if (hex_digit(t.p[i]) < 0)
			return false;
	*ret = (struct check_bytes){.p = xalloc(t.n / 2 + 1), .n = (uint32_t)(t.n / 2)};
	for (size_t i = 0; i < ret->n; i++)
		ret->p[i] = (uint8_t)(hex_digit(t.p[2 * i]) * 16 + hex_digit(t.p[2 * i + 1]));
	return true;
}

/* "text", or "hex:0d0a". False: told. */
static bool take_payload(struct schema *s, const struct yaml *node, struct check_bytes *ret)
{
	struct check_bytes made = {0};
	struct str text;

	if (!schema_text(s, node, &text))
		return false;
	if (text.n == 0 || text.n > 2 * CHECK_BYTES_MAX) {
		schema_problem(s, node, "%zu bytes, expected 1 to %d", text.n, CHECK_BYTES_MAX);
		return false;
	}
	if (str_starts(text, STR("hex:"))) {
		if (!read_hex(str_cut(text, 4, text.n), &made) || made.n == 0) {
			schema_problem(s, node, "'%.40s' is no bytes, expected pairs of hexadecimal digits behind hex:", text.p);
			free(made.p);
			return false;
		}
	} else {
		made = (struct check_bytes){.p = xalloc(text.n + 1), .n = (uint32_t)text.n};
		memcpy(made.p, text.p, text.n);
	}
	if (made.n > CHECK_BYTES_MAX) {
		schema_problem(s, node, "%u bytes, expected at most %d", made.n, CHECK_BYTES_MAX);
		free(made.p);
		return false;
	}
	*ret = made;
	return true;
}

void conf_take_send(struct schema *s, const struct yaml *node, void *base)
{
	take_payload(s, node, &((struct health_check *)base)->send);
}

void conf_take_receive(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;
	size_t count = node->kind == YAML_SEQ ? node->count : 1, i = 0;

	if (count == 0 || count > CHECK_PAYLOADS_MAX) {
		schema_problem(s, node, "%zu texts, expected 1 to %d", count, CHECK_PAYLOADS_MAX);
		return;
	}
	c->receive = xalloc(count * sizeof(*c->receive));
	if (node->kind != YAML_SEQ) {
		c->nreceive += take_payload(s, node, &c->receive[c->nreceive]);
		return;
	}
	for (const struct yaml *one = node->first; one; one = one->next, i++) {
		size_t mark = schema_push_index(s, i);
		if (!one->bad)
			c->nreceive += take_payload(s, one, &c->receive[c->nreceive]);
		schema_pop(s, mark);
	}
}

/* ---- headers ------------------------------------------------------------------------------------------------------------ */

void conf_take_check_fields(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;

	if (node->kind != YAML_MAP || node->count > CHECK_FIELDS_MAX) {
		schema_problem(s, node, "expected a map of at most %d names and texts", CHECK_FIELDS_MAX);
		return;
	}
	c->add = xalloc((node->count + 1) * sizeof(*c->add));
	for (const struct yaml *one = node->first; one; one = one->next) {
		size_t mark = schema_push(s, one->key), n = strlen(one->key);
		char *name = xstrdup(one->key);
		struct str value;

		str_lower(name, n);
		if (one->bad || !schema_text(s, one, &value)) {
			free(name);
		} else if (name[0] == ':' || !field_name_valid(name, n) || n > 256) {
			schema_problem(s, one, "no name of a header, expected letters, digits and '-'");
			free(name);
		} else if (!field_value_valid(value.p, value.n) || value.n > 8192) {
			schema_problem(s, one, "no value of a header, expected printable characters");
			free(name);
		} else {
			c->add[c->nadd++] = (struct check_field){.name = name, .value = xstrndup(value.p, value.n)};
		}
		schema_pop(s, mark);
	}
}

void conf_take_check_remove(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;
	size_t i = 0;

	if (!schema_is_list(s, node, "names of headers"))
		return;
	if (node->count > CHECK_FIELDS_MAX) {
		schema_problem(s, node, "%zu names, expected at most %d", node->count, CHECK_FIELDS_MAX);
		return;
	}
	c->remove = xalloc((node->count + 1) * sizeof(*c->remove));
	for (const struct yaml *one = node->first; one; one = one->next, i++) {
		size_t mark = schema_push_index(s, i);
		struct str name;

		if (!one->bad && schema_text(s, one, &name)) {
			char *lower = xstrndup(name.p, name.n);

			str_lower(lower, name.n);
			if (name.n && lower[0] != ':' && !has_nul(name) && field_name_valid(lower, name.n)) {
				c->remove[c->nremove++] = lower;
			} else {
				schema_problem(s, one, "no name of a header, expected letters, digits and '-'");
				free(lower);
			}
		}
		schema_pop(s, mark);
	}
}

/* ---- providers ---------------------------------------------------------------------------------------------------------- */

void conf_take_check_grpc(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;

	schema_init(s, MAP_CHECK_GRPC, c);
	schema_read(s, MAP_CHECK_GRPC, node, c);
	check_value(s, node, "authority", c->authority);
}

void conf_take_check_http(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;

	schema_init(s, MAP_CHECK_HTTP, c);
	schema_read(s, MAP_CHECK_HTTP, node, c);
	if (node->kind != YAML_MAP)
		return;
	check_value(s, node, "host", c->host);
	check_path(s, node, c);
	check_method(s, node, c);
	if (c->response_buffer == 0)
		c->response_buffer = CHECK_BYTES_MAX;
}

void conf_take_check_tcp(struct schema *s, const struct yaml *node, void *base)
{
	schema_read(s, MAP_CHECK_TCP, node, base);
}

void conf_take_check(struct schema *s, const struct yaml *node, void *base)
{
	static const char *const words[] = {"http", "grpc", "tcp"}; /* in the order of enum check_kind */
	struct draft_service *d = base;
	struct health_check *c;
	int kind;

	if (node->kind != YAML_MAP) {
		schema_problem(s, node, "expected a map with one of grpc, http, tcp, such as {grpc: {}}");
		return;
	}
	c = d->spec.checks = xnew(struct health_check);
	d->spec.nchecks = 1;
	health_check_default(c);
	const uint32_t before = s->problems->count;
	schema_init(s, MAP_CHECK, c);
	schema_read(s, MAP_CHECK, node, c);
	kind = one_of(s, node, before, words, sizeof(words) / sizeof(words[0]));
	if (kind >= 0)
		c->kind = (enum check_kind)kind;
	if (kind >= 0 && c->watch && c->kind != CHECK_GRPC)
		declare_problem(s, node, "watch", "%s has nothing to watch, expected grpc beside it", check_kind_name(c->kind));
	health_check_settle(c);
}

void conf_take_outlier(struct schema *s, const struct yaml *node, void *base)
{
	struct draft_service *d = base;
	struct outlier *o;

	if (node->kind != YAML_MAP) {
		schema_problem(s, node, "expected a map; {} takes Envoy's numbers");
		return;
	}
	o = d->spec.outlier = xnew(struct outlier);
	outlier_default(o);
	schema_init(s, MAP_OUTLIER, o);
	schema_read(s, MAP_OUTLIER, node, o);
	if (!declare_has(node, "max_ejection_time") && o->max_ejection_ns < o->base_ejection_ns)
		o->max_ejection_ns = o->base_ejection_ns;
	else if (o->max_ejection_ns < o->base_ejection_ns)
		declare_problem(s, node, "max_ejection_time", "below base_ejection_time, expected at least that");
}

/* ---- the app itself ----------------------------------------------------------------------------------------------------- */

/* c->to, as it is written, to its address. False: told. */
static bool take_to(struct schema *s, const struct yaml *at, struct health_check *c)
{
	if (addr_parse(str_of(c->to), &c->to_addr) == 0 && (addr_is_unix(&c->to_addr) || addr_port(&c->to_addr)))
		return true;
	schema_problem(s, at, "'%.60s' is no address, expected IP:PORT such as 127.0.0.1:8080, or unix:/PATH", *c->to ? c->to : at->scalar.p);
	return false;
}

static void keep(char **text, struct str value)
{
	free(*text);
	*text = xstrndup(value.p, value.n);
}

/* What stands in :authority of a question that names nobody. */
static void name_host(char **host, const struct health_check *c)
{
	if (!*host)
		*host = xstrdup(addr_is_unix(&c->to_addr) ? "localhost" : c->to);
}

/* A text, or a map with an address. */
static void take_target(struct schema *s, const struct yaml *node, enum schema_map map, struct health_check *c)
{
	const struct yaml *at = node;
	size_t mark = s->path.n;

	if (node->kind == YAML_MAP) {
		schema_init(s, map, c);
		schema_read(s, map, node, c);
		at = yaml_get(node, "address");
		if (declare_misses(node, "address"))
			schema_problem(s, node, "has no address, expected address: IP:PORT");
		schema_push(s, "address");
	} else if (node->kind != YAML_SCALAR) {
		schema_problem(s, node, "expected IP:PORT, or a map with address");
	}
	if (c->to && at)
		take_to(s, at, c);
	schema_pop(s, mark);
}

void conf_take_app_http(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;

	if (node->kind == YAML_SCALAR) {
		struct str text = node->scalar;
		ptrdiff_t slash;

		if (str_starts(text, STR("http://")))
			text = str_cut(text, 7, text.n);
		slash = str_starts(text, STR("unix:")) ? -1 : str_find(text, '/');
		keep(&c->to, str_cut(text, 0, slash < 0 ? text.n : (size_t)slash));
		keep(&c->path, slash < 0 ? STR("/") : str_cut(text, (size_t)slash, text.n));
	}
	take_target(s, node, MAP_APP_HTTP, c);
	if (c->to && c->to_addr.len)
		name_host(&c->host, c);
	check_value(s, node, "host", c->host);
	check_path(s, node, c);
	if (c->nexpected == 0) { /* kubelet's idea of well */
		free(c->expected);
		c->expected = xnew(struct check_range);
		c->expected[c->nexpected++] = (struct check_range){200, 400};
	}
}

void conf_take_app_grpc(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;

	if (node->kind == YAML_SCALAR)
		keep(&c->to, node->scalar);
	take_target(s, node, MAP_APP_GRPC, c);
	if (c->to && c->to_addr.len)
		name_host(&c->authority, c);
	/* Who asks its own app for this service means it to be there. */
	c->unimplemented = UNIMPLEMENTED_FAILS;
}

void conf_take_app_tcp(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;
	struct str text;

	if (!schema_text(s, node, &text))
		return;
	keep(&c->to, text);
	if (take_to(s, node, c) && addr_is_unix(&c->to_addr))
		schema_problem(s, node, "'%.60s' is no IP:PORT, expected the key unix for a socket", c->to);
}

void conf_take_app_unix(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;
	struct str text;

	if (!schema_text(s, node, &text))
		return;
	if (str_starts(text, STR("unix:")))
		text = str_cut(text, 5, text.n);
	keep(&c->to, text);
	if (text.n < 2 || (text.p[0] != '/' && text.p[0] != '@') || addr_unix(text, &c->to_addr) < 0)
		schema_problem(s, node, "'%.60s' is no socket, expected an absolute path of at most %zu bytes, or \"@name\"", c->to,
			sizeof(c->to_addr.un.sun_path) - 1);
}

void conf_take_exec(struct schema *s, const struct yaml *node, void *base)
{
	struct health_check *c = base;
	size_t i = 0;

	if (!schema_is_list(s, node, "a program and its arguments"))
		return;
	if (node->count == 0 || node->count > CHECK_ARGS_MAX) {
		schema_problem(s, node, "%zu texts, expected a program and at most %d arguments", node->count, CHECK_ARGS_MAX - 1);
		return;
	}
	c->argv = xalloc((node->count + 1) * sizeof(*c->argv));
	for (const struct yaml *one = node->first; one; one = one->next, i++) {
		size_t mark = schema_push_index(s, i);
		struct str text;

		if (!one->bad && schema_text(s, one, &text)) {
			if (has_nul(text) || (i == 0 && text.n == 0))
				schema_problem(s, one, "%s, expected a text", text.n ? "holds a NUL" : "empty");
			else
				c->argv[c->nargv++] = xstrndup(text.p, text.n);
		}
		schema_pop(s, mark);
	}
}

void conf_take_app_check(struct schema *s, const struct yaml *node, void *base)
{
	static const char *const words[] = {"http", "grpc", "tcp", "unix", "exec"}; /* in the order of enum check_kind */
	struct conf_app *a = base;
	struct health_check *c;
	int kind;

	if (node->kind != YAML_MAP) {
		schema_problem(s, node, "expected a map with one of http, grpc, tcp, unix, exec, such as {tcp: \"127.0.0.1:8080\"}");
		return;
	}
	c = a->health.check = xnew(struct health_check);
	a->health.check_place = schema_place(s, node);
	health_check_default(c);
	const uint32_t before = s->problems->count;
	schema_init(s, MAP_APP_CHECK, c);
	schema_read(s, MAP_APP_CHECK, node, c);
	kind = one_of(s, node, before, words, sizeof(words) / sizeof(words[0]));
	if (kind >= 0)
		c->kind = (enum check_kind)kind;
	/* There is no traffic of its own that could be missing: a period is a period. */
	c->no_traffic_interval_ns = c->interval_ns;
	health_check_settle(c);
}
