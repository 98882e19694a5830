/* conf/schema: see the header. */
#include "conf/schema.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

/* ---- the rows ----------------------------------------------------------------------------------------------------------- */

/* conf.def is read once for each of the three tables below, so ROW has three meanings. A row is known by its line there. */
#define IS(text) INITIAL_IS, text
#define SHOW(text) INITIAL_SHOW, text
#define ASK(text) INITIAL_ASK, text
/* One step between, so that IS("x") has become two arguments before ROW counts them. Keys are made text before it: `unix` is a macro of gcc's. */
#define ROW_(...) ROW(__VA_ARGS__)
#define LINE__(line) row_##line
#define LINE_(line) LINE__(line)
#define LINE LINE_(__LINE__)
#define SECTION(map, key, below, help) ROW_(map, SECTION, MAP_##below, 0, #key, "", "", NULL, help, INITIAL_NONE, "")
#define CHECKED(map, key, below, check, help) ROW_(map, SECTION, MAP_##below, 0, #key, "", "", check, help, INITIAL_NONE, "")
#define LIST(map, key, below, take, help) ROW_(map, LIST, MAP_##below, 0, #key, "", "", take, help, INITIAL_NONE, "")
#define TAKEN(map, key, below, take, help) ROW_(map, TAKEN, MAP_##below, 0, #key, "", "", take, help, INITIAL_NONE, "")
#define LATER(map, key, help) ROW_(map, LATER, 0, 0, #key, "", "", NULL, help, INITIAL_NONE, "")
#define TEXT(map, key, type, member, initial, help) ROW_(map, TEXT, 0, offsetof(type, member), #key, "", "", NULL, help, initial)
#define MODE(map, key, type, member, initial, help) ROW_(map, MODE, 0, offsetof(type, member), #key, "", "", NULL, help, initial)
#define BOOL(map, key, type, member, initial, help) ROW_(map, BOOL, 0, offsetof(type, member), #key, "", "", NULL, help, initial)
#define FLAG(map, key, type, member, initial, help) ROW_(map, FLAG, 0, offsetof(type, member), #key, "", "", NULL, help, initial)
#define PERCENT(map, key, type, member, initial, help) ROW_(map, PERCENT, 0, offsetof(type, member), #key, "1", "100", NULL, help, initial)
#define WORD(map, key, type, member, initial, words, help) \
	ROW_(map, WORD, 0, offsetof(type, member), #key, words, "", NULL, help, initial)
#define COUNT(map, key, type, member, initial, low, high, help) \
	ROW_(map, COUNT, 0, offsetof(type, member), #key, #low, #high, NULL, help, initial)
#define BYTES(map, key, type, member, initial, low, high, help) \
	ROW_(map, BYTES, 0, offsetof(type, member), #key, low, high, NULL, help, initial)
#define BYTES64(map, key, type, member, initial, low, high, help) \
	ROW_(map, BYTES64, 0, offsetof(type, member), #key, low, high, NULL, help, initial)
#define TIME(map, key, type, member, initial, low, high, help) \
	ROW_(map, TIME, 0, offsetof(type, member), #key, low, high, NULL, help, initial)

static const struct {
#define ROW(map_, kind_, below_, at_, key_, low_, high_, take_, help_, how_, initial_) \
	struct { \
		char key[sizeof(key_)], initial[sizeof(initial_)], help[sizeof(help_)], low[sizeof(low_)], high[sizeof(high_)]; \
	} LINE;
#include "conf/conf.def"
} texts = {
#undef ROW
#define ROW(map_, kind_, below_, at_, key_, low_, high_, take_, help_, how_, initial_) \
	.LINE = {.key = key_, .initial = initial_, .help = help_, .low = low_, .high = high_},
#include "conf/conf.def"
};
_Static_assert(sizeof(texts) <= UINT16_MAX, "a row's texts have places of 16 bits");

const struct schema_row schema_rows[] = {
#undef ROW
#define ROW(map_, kind_, below_, at_, key_, low_, high_, take_, help_, how_, initial_) \
	{.map = MAP_##map_, \
		.kind = KIND_##kind_, \
		.below = below_, \
		.how = how_, \
		.at = at_, \
		.key = offsetof(__typeof__(texts), LINE.key), \
		.initial = offsetof(__typeof__(texts), LINE.initial), \
		.help = offsetof(__typeof__(texts), LINE.help), \
		.low = offsetof(__typeof__(texts), LINE.low), \
		.high = offsetof(__typeof__(texts), LINE.high)},
#include "conf/conf.def"
};
const uint32_t schema_row_count = sizeof(schema_rows) / sizeof(schema_rows[0]);

/* By row. LIST, TAKEN: reads it; SECTION: looks at it once it is read, or NULL. */
static schema_take_fn *const takes[] = {
#undef ROW
#define ROW(map_, kind_, below_, at_, key_, low_, high_, take_, help_, how_, initial_) take_,
#include "conf/conf.def"
};

const char *schema_row_text(uint16_t place)
{
	return (const char *)&texts + place;
}

static const struct schema_row *find_row(enum schema_map map, const char *key)
{
	for (uint32_t i = 0; i < schema_row_count; i++)
		if (schema_rows[i].map == map && strcmp(schema_row_text(schema_rows[i].key), key) == 0)
			return &schema_rows[i];
	return NULL;
}

/* ---- telling ------------------------------------------------------------------------------------------------------------ */

size_t schema_push(struct schema *s, const char *key)
{
	size_t mark = s->path.n;

	/* A key of a hostile file may be long; the message is for a person. */
	sb_fmt(&s->path, "%s%.80s", mark ? "." : "", key);
	return mark;
}

size_t schema_push_index(struct schema *s, size_t i)
{
	size_t mark = s->path.n;

	sb_fmt(&s->path, "[%zu]", i);
	return mark;
}

void schema_pop(struct schema *s, size_t mark)
{
	s->path.n = mark;
}

static void problem_at(struct schema *s, int line, int column, const char *fmt, va_list args)
{
	char text[400];

	if (vsnprintf(text, sizeof(text), fmt, args) < 0)
		text[0] = '\0';
	if (s->path.n)
		problems_add(s->problems, s->file, line, column, "%.*s: %s", (int)s->path.n, s->path.p, text);
	else
		problems_add(s->problems, s->file, line, column, "%s", text);
}

void schema_problem(struct schema *s, const struct yaml *at, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	problem_at(s, at->line, at->column, fmt, args);
	va_end(args);
}

/* About the key rather than its value. */
static void __attribute__((format(printf, 3, 4))) key_problem(struct schema *s, const struct yaml *node, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	problem_at(s, node->key_line, node->key_column, fmt, args);
	va_end(args);
}

char *schema_place(const struct schema *s, const struct yaml *node)
{
	return xasprintf("%s:%d", s->file, node->line);
}

const char *schema_nearest(struct str word, const char *(*next)(void *ctx, uint32_t i), void *ctx, char *buf, size_t cap)
{
	enum { NEAR = 3, WORD_MAX_ = 40 };
	char z[WORD_MAX_ + 1];
	const char *name;
	unsigned best = NEAR;

	buf[0] = '\0';
	if (word.n == 0 || word.n > WORD_MAX_)
		return buf;
	memcpy(z, word.p, word.n);
	z[word.n] = '\0';
	str_lower(z, word.n);
	for (uint32_t i = 0; (name = next(ctx, i)); i++) {
		unsigned d = str_distance(z, name, NEAR);
		/* Of a short word everything is near: at most a third of it may differ, but for one letter. */
		if (d < best && (d <= 1 || d * 3 <= strlen(name))) {
			snprintf(buf, cap, "; did you mean '%s'?", name);
			best = d;
		}
	}
	return buf;
}

static const char *next_key(void *ctx, uint32_t i)
{
	enum schema_map map = *(enum schema_map *)ctx;

	for (uint32_t r = 0; r < schema_row_count; r++)
		if (schema_rows[r].map == map && i-- == 0)
			return schema_row_text(schema_rows[r].key);
	return NULL;
}

static void tell_unknown(struct schema *s, enum schema_map map, const struct yaml *node)
{
	char near[80];
	struct sb keys = {0};
	const char *key;
	size_t mark;

	/* What will not be told need not be worded: a file of nothing but mistakes costs no more than one of a thousand. */
	if (s->problems->kept == PROBLEMS_KEPT) {
		s->problems->count++;
		return;
	}
	mark = schema_push(s, node->key);
	schema_nearest(str_of(node->key), next_key, &map, near, sizeof(near));
	if (!near[0])
		for (uint32_t i = 0; (key = next_key(&map, i)); i++)
			sb_fmt(&keys, "%s%s", i ? ", " : ", expected one of ", key);
	key_problem(s, node, "unknown key%s%.*s", near, (int)keys.n, keys.p ? keys.p : "");
	sb_end(&keys);
	schema_pop(s, mark);
}

/* ---- values ------------------------------------------------------------------------------------------------------------- */

/* "'text'", shortened. */
static const char *quote(struct str text, char buf[64])
{
	snprintf(buf, 64, "'%.*s%s'", (int)(text.n > 40 ? 40 : text.n), text.p, text.n > 40 ? "..." : "");
	return buf;
}

static const char *kind_name(const struct yaml *node)
{
	return node->kind == YAML_MAP ? "a map" : node->kind == YAML_SEQ ? "a list" : yaml_is_null(node) ? "nothing" : "a text";
}

static bool is_scalar(struct schema *s, const struct yaml *node, const char *expected)
{
	if (node->kind == YAML_SCALAR)
		return true;
	schema_problem(s, node, "%s, expected %s", kind_name(node), expected);
	return false;
}

/* Numbers are written without quotes, unless they come from the environment, which in {...} needs them. */
static bool is_plain(struct schema *s, const struct yaml *node, const char *expected)
{
	char buf[64];

	if (!is_scalar(s, node, expected))
		return false;
	if (!node->quoted || node->expanded)
		return true;
	schema_problem(s, node, "the text %s, expected %s without quotes", quote(node->scalar, buf), expected);
	return false;
}

static bool in_range(
	struct schema *s, const struct yaml *node, uint64_t value, uint64_t low, uint64_t high, const char *low_text, const char *high_text)
{
	char buf[64];

	if (value >= low && value <= high)
		return true;
	schema_problem(
		s, node, "%s is too %s, expected %s to %s", quote(node->scalar, buf), value < low ? "small" : "large", low_text, high_text);
	return false;
}

bool schema_count(struct schema *s, const struct yaml *node, uint64_t low, uint64_t high, uint64_t *ret)
{
	char buf[64], low_text[24], high_text[24];
	uint64_t value;

	if (!is_plain(s, node, "a number"))
		return false;
	if (!str_u64(node->scalar, &value)) {
		schema_problem(s, node, "%s is no number, expected a whole one from %llu to %llu", quote(node->scalar, buf),
			(unsigned long long)low, (unsigned long long)high);
		return false;
	}
	snprintf(low_text, sizeof(low_text), "%llu", (unsigned long long)low);
	snprintf(high_text, sizeof(high_text), "%llu", (unsigned long long)high);
	if (!in_range(s, node, value, low, high, low_text, high_text))
		return false;
	*ret = value;
	return true;
}

bool schema_text(struct schema *s, const struct yaml *node, struct str *ret)
{
	if (!is_scalar(s, node, "a text"))
		return false;
	*ret = node->scalar;
	return true;
}

bool schema_is_list(struct schema *s, const struct yaml *node, const char *of)
{
	if (node->kind == YAML_SEQ)
		return true;
	if (!yaml_is_null(node))
		schema_problem(s, node, "%s, expected a list of %s", kind_name(node), of);
	return false;
}

static bool read_bytes(struct schema *s, const struct schema_row *row, const struct yaml *node, uint64_t *ret)
{
	char buf[64];
	uint64_t low = 0, high = 0;

	if (!is_scalar(s, node, "a size"))
		return false;
	if (!str_bytes(node->scalar, ret)) {
		schema_problem(s, node, "%s is no size, expected bytes such as 512, 64KiB or 1MiB", quote(node->scalar, buf));
		return false;
	}
	str_bytes(str_of(schema_row_text(row->low)), &low);
	str_bytes(str_of(schema_row_text(row->high)), &high);
	return in_range(s, node, *ret, low, high, schema_row_text(row->low), schema_row_text(row->high));
}

static bool read_time(struct schema *s, const struct schema_row *row, const struct yaml *node, uint64_t *ret)
{
	char buf[64];
	uint64_t low = 0, high = 0;

	if (!is_scalar(s, node, "a time"))
		return false;
	if (!str_duration_ns(node->scalar, ret)) {
		schema_problem(
			s, node, "%s is no time, expected a number with its unit, such as 250ms, 5s or 10m", quote(node->scalar, buf));
		return false;
	}
	str_duration_ns(str_of(schema_row_text(row->low)), &low);
	str_duration_ns(str_of(schema_row_text(row->high)), &high);
	return in_range(s, node, *ret, low, high, schema_row_text(row->low), schema_row_text(row->high));
}

static bool read_mode(struct schema *s, const struct yaml *node, uint32_t *ret)
{
	char buf[64];
	struct str t = node->scalar;
	uint32_t mode = 0;

	if (!is_scalar(s, node, "a mode such as \"0660\""))
		return false;
	if (str_starts(t, STR("0o")))
		t = str_cut(t, 2, t.n);
	for (size_t i = 0; i < t.n; i++) {
		if (t.p[i] < '0' || t.p[i] > '7' || (mode = mode * 8 + (uint32_t)(t.p[i] - '0')) > 0777) {
			t.n = 0;
			break;
		}
	}
	if (t.n == 0) {
		schema_problem(s, node, "%s is no mode, expected octal digits up to 0777, such as \"0660\"", quote(node->scalar, buf));
		return false;
	}
	*ret = mode;
	return true;
}

static bool read_percent(struct schema *s, const struct yaml *node, uint32_t *ret)
{
	struct yaml bare = *node;
	uint64_t value;

	if (bare.kind == YAML_SCALAR && str_ends(bare.scalar, STR("%"))) {
		bare.scalar.n--;
		bare.quoted = false;
	}
	if (!schema_count(s, &bare, 1, 100, &value))
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool read_bool(struct schema *s, const struct yaml *node, int *ret)
{
	static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
	char buf[64];

	if (!is_plain(s, node, "true or false"))
		return false;
	for (int i = 0; i < 3; i++) {
		if (str_is(node->scalar, yes[i]) || str_is(node->scalar, no[i])) {
			*ret = str_is(node->scalar, yes[i]);
			return true;
		}
	}
	schema_problem(s, node, "%s is neither, expected true or false", quote(node->scalar, buf));
	return false;
}

/* The i-th of "a|b|!c", and whether it is one for later. */
static bool word_at(const char *words, uint32_t i, char out[32], bool *ret_later)
{
	const char *at = words;
	size_t n;

	for (; i; i--) {
		at = strchr(at, '|');
		if (!at)
			return false;
		at++;
	}
	*ret_later = *at == '!';
	at += *ret_later;
	n = strcspn(at, "|");
	if (n > 31)
		n = 31;
	memcpy(out, at, n);
	out[n] = '\0';
	return true;
}

struct word_list {
	const char *words;
	char buf[32];
};
static const char *next_word(void *ctx, uint32_t i)
{
	struct word_list *l = ctx;
	bool later;

	return word_at(l->words, i, l->buf, &later) && !later ? l->buf : NULL;
}

static bool read_word(struct schema *s, const struct schema_row *row, const struct yaml *node, int *ret)
{
	struct word_list list = {.words = schema_row_text(row->low)};
	struct sb known = {0};
	char word[32], buf[64], near[80];
	bool later, found_later = false;

	if (!is_scalar(s, node, "a word"))
		return false;
	for (uint32_t i = 0; word_at(schema_row_text(row->low), i, word, &later); i++) {
		if (str_is(node->scalar, word) && !later) {
			sb_end(&known);
			*ret = (int)i;
			return true;
		}
		found_later |= str_is(node->scalar, word);
		if (!later)
			sb_fmt(&known, "%s%s", i ? ", " : "", word);
	}
	near[0] = '\0';
	if (!found_later)
		schema_nearest(node->scalar, next_word, &list, near, sizeof(near));
	schema_problem(s, node, "%s is %s, expected one of %.*s%s", quote(node->scalar, buf),
		found_later ? "not in this version" : "not known", (int)known.n, known.p, near);
	sb_end(&known);
	return false;
}

static void read_text(struct schema *s, const struct yaml *node, char **ret)
{
	struct str text;

	if (!schema_text(s, node, &text))
		return;
	free(*ret);
	*ret = xstrndup(text.p, text.n);
}

/* ---- maps --------------------------------------------------------------------------------------------------------------- */

static void read_value(struct schema *s, const struct schema_row *row, const struct yaml *node, void *base)
{
	void *at = (char *)base + row->at;
	schema_take_fn *take = takes[row - schema_rows];
	uint64_t value;
	int flag;

	switch ((enum schema_kind)row->kind) {
	case KIND_SECTION:
		schema_read(s, row->below, node, base);
		if (take && node->kind == YAML_MAP)
			take(s, node, base);
		break;
	case KIND_LIST:
	case KIND_TAKEN:
		take(s, node, base);
		break;
	case KIND_LATER:
		key_problem(s, node, "not in this version (%s), expected no such key", schema_row_text(row->help));
		break;
	case KIND_TEXT:
		read_text(s, node, at);
		break;
	case KIND_WORD:
		read_word(s, row, node, at);
		break;
	case KIND_BOOL:
		read_bool(s, node, at);
		break;
	case KIND_FLAG:
		if (read_bool(s, node, &flag))
			*(bool *)at = flag;
		break;
	case KIND_COUNT:
		if (schema_count(s, node, strtoull(schema_row_text(row->low), NULL, 10), strtoull(schema_row_text(row->high), NULL, 10), &value))
			*(uint32_t *)at = (uint32_t)value;
		break;
	case KIND_BYTES:
		if (read_bytes(s, row, node, &value))
			*(uint32_t *)at = (uint32_t)value;
		break;
	case KIND_BYTES64:
		if (read_bytes(s, row, node, &value))
			*(uint64_t *)at = value;
		break;
	case KIND_TIME:
		if (read_time(s, row, node, &value))
			*(uint64_t *)at = value;
		break;
	case KIND_MODE:
		read_mode(s, node, at);
		break;
	case KIND_PERCENT:
		read_percent(s, node, at);
		break;
	}
}

void schema_init(struct schema *s, enum schema_map map, void *base)
{
	for (uint32_t i = 0; i < schema_row_count; i++) {
		const struct schema_row *row = &schema_rows[i];
		struct sb text = {0};

		if (row->map != map)
			continue;
		if (row->kind == KIND_SECTION)
			schema_init(s, row->below, base);
		if (row->how != INITIAL_IS)
			continue;
		/* A default of the file has no ${NAME} without a default of its own, so it cannot fail. */
		free(yaml_expand(str_is(str_of(schema_row_text(row->initial)), "\"\"") ? str_n("", 0) : str_of(schema_row_text(row->initial)), s->env, s->env_ctx, &text));
		const struct yaml node = {.kind = YAML_SCALAR, .line = 0, .key = schema_row_text(row->key), .scalar = sb_view(&text)};
		size_t mark = schema_push(s, schema_row_text(row->key));
		read_value(s, row, &node, base);
		schema_pop(s, mark);
		sb_end(&text);
	}
}

static struct schema_place *section_place(struct schema *s, const char *key)
{
	uint32_t nth = 0;

	for (const struct schema_row *r = schema_rows; strcmp(schema_row_text(r->key), key) != 0 || r->map != MAP_ROOT; r++)
		nth += r->map == MAP_ROOT;
	return &s->sections[nth];
}

void schema_section_problem(struct schema *s, const char *section, const char *fmt, ...)
{
	const struct schema_place *place = section_place(s, section);
	uint32_t order = s->problems->order;
	va_list args;

	va_start(args, fmt);
	if (place->file)
		s->problems->order = place->order;
	problems_addv(s->problems, place->file ? place->file : s->file, place->line, place->column, fmt, args);
	s->problems->order = order;
	va_end(args);
}

/* Lists append from file to file; a section belongs to one of them. */
static bool first_of_files(struct schema *s, const struct schema_row *row, const struct yaml *node)
{
	struct schema_place *place;

	if (row->map != MAP_ROOT || row->kind == KIND_LIST)
		return true;
	place = section_place(s, schema_row_text(row->key));
	if (place->file) {
		key_problem(s, node, "set twice, expected in one file only (it stands in %s:%d already)", place->file, place->line);
		return false;
	}
	*place = (struct schema_place){.file = s->file, .order = s->problems->order, .line = node->key_line, .column = node->key_column};
	return true;
}

void schema_read(struct schema *s, enum schema_map map, const struct yaml *node, void *base)
{
	if (node->bad || yaml_is_null(node))
		return;
	if (node->kind != YAML_MAP) {
		schema_problem(s, node, "%s, expected a map of keys", kind_name(node));
		return;
	}
	for (const struct yaml *c = node->first; c; c = c->next) {
		const struct schema_row *row = find_row(map, c->key);
		size_t mark;

		if (!row) {
			tell_unknown(s, map, c);
			continue;
		}
		mark = schema_push(s, c->key);
		/* A key with nothing behind it means the default; lists and what is for later look for themselves. */
		if (!c->bad && first_of_files(s, row, c) && (!yaml_is_null(c) || row->kind == KIND_LATER))
			read_value(s, row, c, base);
		schema_pop(s, mark);
	}
}
