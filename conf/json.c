/* conf/json: see the header. */
#include "conf/json.h"

static size_t digits(struct str t, size_t i)
{
	size_t from = i;

	while (i < t.n && t.p[i] >= '0' && t.p[i] <= '9')
		i++;
	return i - from;
}

/* RFC 8259, section 6. */
static bool is_number(struct str t)
{
	size_t i = t.n && t.p[0] == '-', n = digits(t, i);

	if (n == 0 || (n > 1 && t.p[i] == '0'))
		return false;
	i += n;
	if (i < t.n && t.p[i] == '.') {
		n = digits(t, ++i);
		if (n == 0)
			return false;
		i += n;
	}
	if (i < t.n && (t.p[i] == 'e' || t.p[i] == 'E')) {
		i++;
		if (i < t.n && (t.p[i] == '+' || t.p[i] == '-'))
			i++;
		n = digits(t, i);
		if (n == 0)
			return false;
		i += n;
	}
	return i == t.n;
}

enum json_kind json_kind(const struct yaml *scalar)
{
	if (yaml_is_null(scalar))
		return JSON_NULL;
	if (scalar->quoted)
		return JSON_TEXT;
	if (str_is(scalar->scalar, "true") || str_is(scalar->scalar, "false"))
		return JSON_BOOL;
	return is_number(scalar->scalar) ? JSON_NUMBER : JSON_TEXT;
}

/* Depth and size are the tree's, which conf/yaml has bounded. */
void json_write(struct sb *out, const struct yaml *node)
{
	if (node->kind == YAML_SCALAR) {
		switch (json_kind(node)) {
		case JSON_NULL:
			sb_str(out, "null");
			break;
		case JSON_BOOL:
		case JSON_NUMBER:
			sb_add(out, node->scalar.p, node->scalar.n);
			break;
		case JSON_TEXT:
			sb_json(out, node->scalar);
			break;
		}
		return;
	}
	sb_char(out, node->kind == YAML_MAP ? '{' : '[');
	for (const struct yaml *c = node->first; c; c = c->next) {
		if (node->kind == YAML_MAP) {
			sb_json(out, str_of(c->key));
			sb_char(out, ':');
		}
		json_write(out, c);
		if (c->next)
			sb_char(out, ',');
	}
	sb_char(out, node->kind == YAML_MAP ? '}' : ']');
}
