/* conf/yaml: libyaml's events become a tree; what YAML can do and a configuration should not is refused here, with its place.
 *
 *   text -> yaml_parser_t -> builder (a stack of at most 32 open maps and lists) -> struct yaml nodes, all in one arena
 *
 * Everything that a hostile file could blow up is bounded before it is kept: its size, its depth, its nodes, and what the environment adds.
 * Aliases are refused rather than bounded: nobody needs them here, and they are how small files become big ones. */
#include "conf/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "base/mem.h"

struct frame {
	struct yaml *node;
	struct yaml **tail; /* where the next child goes */
	const char *key; /* in a map: the key whose value comes next; NULL: a key comes next */
	int key_line, key_column;
};
struct builder {
	const char *file;
	yaml_env_fn *env;
	void *env_ctx;
	struct problems *problems;
	struct arena *arena;
	struct yaml *root;
	struct frame stack[YAML_DEPTH_MAX];
	int depth;
	uint32_t nodes;
	size_t expanded; /* bytes that the environment made of scalars */
	int documents;
	bool over; /* a problem behind which nothing can be trusted */
};

/* ---- the environment ---------------------------------------------------------------------------------------------------- */

static bool is_name_byte(char c, bool first)
{
	return c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (!first && c >= '0' && c <= '9');
}

static char *expand_one(struct str inside, yaml_env_fn *env, void *env_ctx, struct sb *out)
{
	enum { NAME_MAX_ = 128 };
	char name[NAME_MAX_];
	const char *value;
	size_t n = 0;

	while (n < inside.n && is_name_byte(inside.p[n], n == 0))
		n++;
	if (n == 0 || n >= sizeof(name) || (n < inside.n && (inside.n < n + 2 || memcmp(inside.p + n, ":-", 2) != 0)))
		return xasprintf(
			"'${%.*s}' is no variable, expected ${NAME} or ${NAME:-default}", (int)(inside.n < 60 ? inside.n : 60), inside.p);
	memcpy(name, inside.p, n);
	name[n] = '\0';
	value = env ? env(env_ctx, name) : NULL;
	if (n < inside.n) {
		if (value && *value)
			sb_str(out, value);
		else
			sb_add(out, inside.p + n + 2, inside.n - n - 2);
		return NULL;
	}
	if (!value)
		return xasprintf("the environment has no %s, expected it to be set, or a default: ${%s:-...}", name, name);
	sb_str(out, value);
	return NULL;
}

char *yaml_expand(struct str text, yaml_env_fn *env, void *env_ctx, struct sb *out)
{
	size_t at = 0;

	while (at < text.n) {
		const char *dollar = memchr(text.p + at, '$', text.n - at);
		size_t plain = dollar ? (size_t)(dollar - text.p) - at : text.n - at;
		struct str rest;
		ptrdiff_t end;
		char *wrong;

		sb_add(out, text.p + at, plain);
		at += plain;
		rest = str_cut(text, at, text.n);
		if (str_starts(rest, STR("$${"))) {
			sb_str(out, "${");
			at += 3;
		} else if (str_starts(rest, STR("${"))) {
			end = str_find(rest, '}');
			if (end < 0)
				return xstrdup("'${' has no '}', expected ${NAME} or ${NAME:-default}; $${ is a literal ${");
			wrong = expand_one(str_cut(rest, 2, (size_t)end), env, env_ctx, out);
			if (wrong)
				return wrong;
			at += (size_t)end + 1;
		} else if (rest.n) {
			sb_char(out, '$');
			at++;
		}
		if (out->n > YAML_EXPANDED_MAX)
			return xasprintf("is longer than %d MiB with the environment in it", YAML_EXPANDED_MAX >> 20);
	}
	return NULL;
}

const char *yaml_literal(void *ctx, const char *name)
{
	(void)ctx;
	(void)name;
	return NULL;
}

/* Where `node` stands, as conf/schema says it: "apps[0].listen[1].unix: ". It is the youngest child of the innermost open node, or that node's root. */
static void say_path(const struct builder *b, const struct yaml *node, struct sb *out)
{
	for (int i = 0; i < b->depth; i++) {
		const struct yaml *in = b->stack[i].node, *at = i + 1 < b->depth ? b->stack[i + 1].node : node;

		if (in->kind == YAML_MAP)
			sb_fmt(out, "%s%s", out->n ? "." : "", at->key);
		else
			sb_fmt(out, "[%u]", (unsigned)in->count - 1);
	}
}

static void problem_at(struct builder *b, const struct yaml *node, const char *what)
{
	struct sb path = {0};

	say_path(b, node, &path);
	problems_add(b->problems, b->file, node->line, node->column, "%s%s%s", path.n ? path.p : "", path.n ? ": " : "", what);
	sb_end(&path);
}

static void expand_scalar(struct builder *b, struct yaml *node)
{
	struct sb out = {0};
	char *wrong, *copy;

	if (b->env == yaml_literal || !memchr(node->scalar.p, '$', node->scalar.n))
		return;
	wrong = yaml_expand(node->scalar, b->env, b->env_ctx, &out);
	b->expanded += out.n;
	if (!wrong && b->expanded > YAML_EXPANDED_MAX)
		wrong = xasprintf("the file is longer than %d MiB with the environment in it", YAML_EXPANDED_MAX >> 20);
	if (!wrong && out.n && memchr(out.p, '\0', out.n))
		wrong = xstrdup("holds a NUL byte");
	if (wrong) {
		problem_at(b, node, wrong);
		free(wrong);
		node->bad = true;
		/* Each further scalar would say the same of the whole file. */
		b->over |= b->expanded > YAML_EXPANDED_MAX;
	} else if (!(copy = arena_strndup(b->arena, out.p ? out.p : "", out.n))) {
		node->bad = b->over = true;
	} else {
		node->scalar = str_n(copy, out.n);
		node->expanded = true;
	}
	sb_end(&out);
}

/* ---- the tree ----------------------------------------------------------------------------------------------------------- */

static void refuse(struct builder *b, yaml_mark_t at, const char *what)
{
	problems_add(b->problems, b->file, (int)at.line + 1, (int)at.column + 1, "%s", what);
	b->over = true;
}

/* A key, where one comes next: kept in the frame. True: it was one. */
static bool take_key(struct builder *b, const yaml_event_t *ev)
{
	struct frame *f = b->depth ? &b->stack[b->depth - 1] : NULL;

	if (!f || f->node->kind != YAML_MAP || f->key)
		return false;
	if (ev->type != YAML_SCALAR_EVENT || memchr(ev->data.scalar.value, '\0', ev->data.scalar.length)) {
		refuse(b, ev->start_mark, "a key must be a text, expected key: value");
		return true;
	}
	f->key = arena_strndup(b->arena, (const char *)ev->data.scalar.value, ev->data.scalar.length);
	f->key_line = (int)ev->start_mark.line + 1;
	f->key_column = (int)ev->start_mark.column + 1;
	if (!f->key)
		refuse(b, ev->start_mark, "no memory for this file");
	return true;
}

static struct yaml *add_node(struct builder *b, const yaml_event_t *ev, enum yaml_kind kind)
{
	struct frame *f = b->depth ? &b->stack[b->depth - 1] : NULL;
	struct yaml *node = ++b->nodes <= YAML_NODES_MAX ? arena_alloc(b->arena, sizeof(*node)) : NULL;

	if (!node) {
		refuse(b, ev->start_mark,
			b->nodes > YAML_NODES_MAX ? "too many values in one file, expected at most 200000" : "no memory for this file");
		return NULL;
	}
	*node = (struct yaml){
		.kind = kind, .line = (int)ev->start_mark.line + 1, .column = (int)ev->start_mark.column + 1, .scalar = str_n("", 0)};
	if (!f) {
		b->root = node;
	} else {
		if (f->node->kind == YAML_MAP) {
			node->key = f->key;
			node->key_line = f->key_line;
			node->key_column = f->key_column;
			f->key = NULL;
		}
		*f->tail = node;
		f->tail = &node->next;
		f->node->count++;
	}
	return node;
}

static void no_decoration(struct builder *b, struct yaml *node, const void *anchor, const void *tag)
{
	const char *what = anchor ? "anchors and aliases are not read, expected the value itself"
		: tag             ? "tags are not read, expected the plain value"
				  : NULL;

	if (!what || !node)
		return;
	problem_at(b, node, what);
	node->bad = true;
}

static void add_scalar(struct builder *b, const yaml_event_t *ev)
{
	const char *value = (const char *)ev->data.scalar.value;
	size_t n = ev->data.scalar.length;
	struct yaml *node = add_node(b, ev, YAML_SCALAR);
	char *copy;

	if (!node)
		return;
	no_decoration(b, node, ev->data.scalar.anchor, ev->data.scalar.tag);
	node->quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	if (memchr(value, '\0', n)) {
		problem_at(b, node, "holds a NUL byte, expected a text");
		node->bad = true;
		return;
	}
	copy = arena_strndup(b->arena, value, n);
	if (!copy) {
		refuse(b, ev->start_mark, "no memory for this file");
		return;
	}
	node->scalar = str_n(copy, n);
	expand_scalar(b, node);
}

static void open_node(struct builder *b, const yaml_event_t *ev, enum yaml_kind kind, const void *anchor, const void *tag)
{
	struct yaml *node;

	if (b->depth == YAML_DEPTH_MAX) {
		refuse(b, ev->start_mark, "nested too deeply, expected at most 32 levels");
		return;
	}
	node = add_node(b, ev, kind);
	if (!node)
		return;
	no_decoration(b, node, anchor, tag);
	b->stack[b->depth++] = (struct frame){.node = node, .tail = &node->first};
}

static int by_key(const void *x, const void *y)
{
	const struct yaml *a = *(struct yaml *const *)x, *b = *(struct yaml *const *)y;
	int c = strcmp(a->key, b->key);

	if (c)
		return c;
	if (a->key_line != b->key_line)
		return a->key_line < b->key_line ? -1 : 1;
	return a->key_column < b->key_column ? -1 : a->key_column > b->key_column;
}

/* Sorted, not each with each: a map may have 200,000 keys. */
static void check_duplicates(struct builder *b, const struct yaml *map)
{
	struct yaml **all;
	struct sb path = {0};
	size_t n = 0;

	if (map->count < 2)
		return;
	say_path(b, map, &path);
	all = xalloc(map->count * sizeof(struct yaml *));
	for (struct yaml *c = map->first; c; c = c->next)
		all[n++] = c;
	qsort(all, n, sizeof(struct yaml *), by_key);
	for (size_t i = 1, first = 0; i < n; i++) {
		if (strcmp(all[i]->key, all[first]->key) != 0) {
			first = i;
			continue;
		}
		problems_add(b->problems, b->file, all[i]->key_line, all[i]->key_column,
			"%s%s%s: duplicate key, expected once (it stands in line %d already)", path.n ? path.p : "", path.n ? "." : "", all[i]->key,
			all[first]->key_line);
		all[i]->bad = true;
	}
	sb_end(&path);
	free(all);
}

static void close_node(struct builder *b)
{
	struct frame *f = &b->stack[--b->depth];

	if (f->node->kind == YAML_MAP)
		check_duplicates(b, f->node);
}

static void take_event(struct builder *b, const yaml_event_t *ev)
{
	struct yaml *node;

	switch (ev->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (++b->documents > 1)
			refuse(b, ev->start_mark, "a second document begins, expected one in a file");
		break;
	case YAML_ALIAS_EVENT:
		if (take_key(b, ev))
			break;
		node = add_node(b, ev, YAML_SCALAR);
		no_decoration(b, node, ev->data.alias.anchor, NULL);
		break;
	case YAML_SCALAR_EVENT:
		if (!take_key(b, ev))
			add_scalar(b, ev);
		else if (!b->over && (ev->data.scalar.anchor || ev->data.scalar.tag))
			refuse(b, ev->start_mark, "anchors, aliases and tags are not read, expected a plain key");
		break;
	case YAML_SEQUENCE_START_EVENT:
		if (!take_key(b, ev))
			open_node(b, ev, YAML_SEQ, ev->data.sequence_start.anchor, ev->data.sequence_start.tag);
		break;
	case YAML_MAPPING_START_EVENT:
		if (!take_key(b, ev))
			open_node(b, ev, YAML_MAP, ev->data.mapping_start.anchor, ev->data.mapping_start.tag);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		close_node(b);
		break;
	default:
		break;
	}
}

static void tell_parser_error(struct builder *b, const yaml_parser_t *parser)
{
	yaml_mark_t at = parser->problem_mark;
	const char *what = parser->problem ? parser->problem : "cannot be read";

	/* An encoding error has an offset only. */
	if (parser->error == YAML_READER_ERROR)
		problems_add(b->problems, b->file, (int)parser->mark.line + 1, (int)parser->mark.column + 1,
			"not YAML: %s, expected UTF-8 text", what);
	else
		problems_add(b->problems, b->file, (int)at.line + 1, (int)at.column + 1, "not YAML: %s%s%s", what,
			parser->context ? ", " : "", parser->context ? parser->context : "");
	b->over = true;
}

void yaml_parse_all(const char *file, const char *text, size_t n, yaml_env_fn *env, void *env_ctx, struct problems *p, struct yaml_doc *ret)
{
	struct arena *arena = xnew(struct arena);
	struct builder b = {.file = file, .env = env, .env_ctx = env_ctx, .problems = p, .arena = arena};
	yaml_parser_t parser;
	yaml_event_t ev;
	bool done = false;

	arena_init(arena, NULL);
	*ret = (struct yaml_doc){.file = xstrdup(file), .mem = arena};
	if (n > YAML_TEXT_MAX) {
		problems_add(p, file, 1, 1, "the file is too large, expected at most 1 MiB");
		return;
	}
	if (!yaml_parser_initialize(&parser)) {
		problems_add(p, file, 1, 1, "no memory for this file");
		return;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
	/* Each event takes at least one byte of at most a MiB, but for the few that frame the whole. */
	while (!done && !b.over) {
		if (!yaml_parser_parse(&parser, &ev)) {
			tell_parser_error(&b, &parser);
			break;
		}
		take_event(&b, &ev);
		done = ev.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&ev);
	}
	yaml_parser_delete(&parser);
	if (!b.over && !b.root) {
		b.root = arena_alloc(arena, sizeof(*b.root));
		if (b.root)
			*b.root = (struct yaml){.kind = YAML_MAP, .line = 1, .column = 1, .scalar = str_n("", 0)};
	}
	ret->root = b.over ? NULL : b.root;
}

int yaml_parse(const char *file, const char *text, size_t n, yaml_env_fn *env, void *env_ctx, struct err *e, struct yaml_doc *ret)
{
	struct problems p = {0};
	struct yaml_doc doc;

	yaml_parse_all(file, text, n, env, env_ctx, &p, &doc);
	if (p.count || !doc.root) {
		problems_tell(&p, e);
		yaml_end(&doc);
		return ERR_MALFORMED;
	}
	*ret = doc;
	return 0;
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

/* One byte more than is allowed, so that a file that is too large shows. Pipes are read too: `check -c <(...)`. */
static int slurp(const char *file, char *buf, size_t cap, size_t *ret_n)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY), code = 0;
	struct stat st;
	size_t n = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		code = -errno;
	else if (S_ISDIR(st.st_mode))
		code = -EISDIR;
	while (code == 0 && n < cap) {
		ssize_t got = read(fd, buf + n, cap - n);

		if (got == 0)
			break;
		if (got > 0)
			n += (size_t)got;
		else if (errno != EINTR)
			code = -errno;
	}
	close(fd);
	if (code == 0)
		*ret_n = n;
	return code;
}

void yaml_read_all(const char *file, yaml_env_fn *env, void *env_ctx, struct problems *p, struct yaml_doc *ret)
{
	char *buf = xalloc(YAML_TEXT_MAX + 1);
	size_t n = 0;
	int code = slurp(file, buf, YAML_TEXT_MAX + 1, &n);

	if (code < 0) {
		problems_add(p, file, 0, 0, "cannot be read: %s", strerror(-code));
		*ret = (struct yaml_doc){0};
	} else {
		yaml_parse_all(file, buf, n, env, env_ctx, p, ret);
	}
	free(buf);
}

int yaml_read(const char *file, yaml_env_fn *env, void *env_ctx, struct err *e, struct yaml_doc *ret)
{
	struct problems p = {0};
	struct yaml_doc doc;

	yaml_read_all(file, env, env_ctx, &p, &doc);
	if (p.count || !doc.root) {
		problems_tell(&p, e);
		yaml_end(&doc);
		return ERR_MALFORMED;
	}
	*ret = doc;
	return 0;
}

void yaml_end(struct yaml_doc *d)
{
	if (!d)
		return;
	if (d->mem) {
		arena_reset(d->mem);
		free(d->mem);
	}
	free(d->file);
	*d = (struct yaml_doc){0};
}

/* ---- looking ------------------------------------------------------------------------------------------------------------ */

const struct yaml *yaml_get(const struct yaml *map, const char *key)
{
	if (!map || map->kind != YAML_MAP)
		return NULL;
	for (const struct yaml *c = map->first; c; c = c->next)
		if (!c->bad && strcmp(c->key, key) == 0)
			return c;
	return NULL;
}

bool yaml_is_null(const struct yaml *node)
{
	return node->kind == YAML_SCALAR && !node->quoted && !node->expanded &&
		(node->scalar.n == 0 || str_is(node->scalar, "~") || str_is(node->scalar, "null"));
}
