/* conf/yaml: trees with places, and the refusal of what YAML can do and a configuration should not. */
#include "tests/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "conf/yaml.h"

static const char *env(void *ctx, const char *name)
{
	(void)ctx;
	if (strcmp(name, "HOST") == 0)
		return "10.0.0.1";
	if (strcmp(name, "EMPTY") == 0)
		return "";
	if (strcmp(name, "MANY") == 0)
		return "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";
	return NULL;
}

static struct yaml_doc parsed(const char *text)
{
	struct err e = ERR_INIT;
	struct yaml_doc d;
	int code = yaml_parse("f.yaml", text, strlen(text), env, NULL, &e, &d);

	ck_assert_msg(code == 0, "%s", err_str(&e));
	return d;
}

static void refused(const char *text, size_t n, const char *said)
{
	struct err e = ERR_INIT;
	struct yaml_doc d;

	ck_assert_int_eq(yaml_parse("f.yaml", text, n, env, NULL, &e, &d), ERR_MALFORMED);
	ck_assert_msg(strstr(err_str(&e), said) != NULL, "'%.60s' said: %sexpected: %s", text, err_str(&e), said);
	err_clear(&e);
}

START_TEST(a_tree_has_maps_lists_and_scalars_in_order)
{
	struct yaml_doc d = parsed("a: 1\nb:\n  - x\n  - {c: \"y\"}\n");
	const struct yaml *b = yaml_get(d.root, "b");

	ck_assert_int_eq(d.root->kind, YAML_MAP);
	ck_assert_uint_eq(d.root->count, 2);
	ck_assert(str_is(yaml_get(d.root, "a")->scalar, "1"));
	ck_assert(!yaml_get(d.root, "a")->quoted);
	ck_assert_int_eq(b->kind, YAML_SEQ);
	ck_assert_uint_eq(b->count, 2);
	ck_assert(str_is(b->first->scalar, "x"));
	ck_assert(yaml_get(b->first->next, "c")->quoted);
	ck_assert_ptr_null(b->first->next->next);
	ck_assert_ptr_null(yaml_get(d.root, "none"));
	ck_assert_ptr_null(yaml_get(b, "x"));
	ck_assert_str_eq(d.file, "f.yaml");
	yaml_end(&d);
	ck_assert_ptr_null(d.root);
	yaml_end(&d);
}
END_TEST

START_TEST(places_count_from_one_for_keys_and_values)
{
	struct yaml_doc d = parsed("# c\na:\n  bb:   value\n");
	const struct yaml *bb = yaml_get(yaml_get(d.root, "a"), "bb");

	ck_assert_int_eq(bb->key_line, 3);
	ck_assert_int_eq(bb->key_column, 3);
	ck_assert_int_eq(bb->line, 3);
	ck_assert_int_eq(bb->column, 9);
	yaml_end(&d);
}
END_TEST

START_TEST(json_is_read_too)
{
	struct yaml_doc d = parsed("{\"apps\": [{\"name\": \"shop\", \"n\": 5}]}");

	ck_assert(str_is(yaml_get(yaml_get(d.root, "apps")->first, "n")->scalar, "5"));
	yaml_end(&d);
}
END_TEST

START_TEST(nothing_is_an_empty_map)
{
	static const char *const texts[] = {"", "\n", "# only a comment\n", "---\n"};

	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		struct yaml_doc d = parsed(texts[i]);
		ck_assert(d.root->kind == YAML_MAP ? d.root->count == 0 : yaml_is_null(d.root));
		yaml_end(&d);
	}
}
END_TEST

START_TEST(null_is_what_nobody_quoted)
{
	struct yaml_doc d = parsed("a:\nb: ~\nc: null\nd: \"\"\ne: 'null'\nf: ${EMPTY}\ng: x\n");

	ck_assert(yaml_is_null(yaml_get(d.root, "a")));
	ck_assert(yaml_is_null(yaml_get(d.root, "b")));
	ck_assert(yaml_is_null(yaml_get(d.root, "c")));
	for (const char *key = "defg"; *key; key++)
		ck_assert(!yaml_is_null(yaml_get(d.root, (char[2]){*key, 0})));
	yaml_end(&d);
}
END_TEST

START_TEST(what_a_configuration_should_not_do_is_refused_with_its_place)
{
	static const struct {
		const char *text, *said;
	} rows[] = {
		{"a: &x 1\nb: *x\n", "f.yaml:1:4: a: anchors and aliases"},
		{"a: &x 1\nb: *x\n", "f.yaml:2:4: b: anchors and aliases"},
		{"a: &x [1]\n", "f.yaml:1:4: a: anchors"},
		{"a: !!str 1\n", "f.yaml:1:4: a: tags"},
		{"a: !x {b: 1}\n", "f.yaml:1:4: a: tags"},
		{"a: 1\nb: 2\na: 3\n", "f.yaml:3:1: a: duplicate key, expected once (it stands in line 1 already)"},
		{"m: {a: 1, b: 2, a: 3, a: 4}\n", "f.yaml:1:23: m.a: duplicate key"},
		{"? [a]\n: 1\n", "f.yaml:1:3: a key must be a text"},
		{"? *x\n: 1\n", "f.yaml:1:3: "},
		{"&k a: 1\n", "f.yaml:1:1: anchors"},
		{"a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document"},
		{"a: [1\n", "not YAML"},
		{"a: b: c\n", "f.yaml:1:5: not YAML"},
		{"\ta: 1\n", "f.yaml:1:1: not YAML"},
		{"a: \"\\0\"\n", "f.yaml:1:4: a: holds a NUL byte"},
		{"\"a\\0b\": 1\n", "f.yaml:1:1: a key must be a text"},
		{"a: \x01\n", "not YAML"},
		{"a: \xff\xfe\n", "not YAML"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		refused(rows[i].text, strlen(rows[i].text), rows[i].said);
}
END_TEST

START_TEST(all_problems_of_a_file_are_told_at_once_and_in_order)
{
	struct err e = ERR_INIT;
	struct yaml_doc d;
	const char *text = "a: &x 1\na: 2\nb: ${NOT_SET}\nc: *x\n";

	ck_assert_int_eq(yaml_parse("f.yaml", text, strlen(text), env, NULL, &e, &d), ERR_MALFORMED);
	ck_assert_int_eq(e.count, 4);
	ck_assert(strstr(err_str(&e), ":1:4:") < strstr(err_str(&e), ":2:1:"));
	ck_assert(strstr(err_str(&e), ":2:1:") < strstr(err_str(&e), ":3:4:"));
	ck_assert(strstr(err_str(&e), ":3:4:") < strstr(err_str(&e), ":4:4:"));
	err_clear(&e);
}
END_TEST

START_TEST(the_environment_is_put_in)
{
	struct yaml_doc d =
		parsed("a: ${HOST}:80\nb: \"${NONE:-x y}\"\nc: ${EMPTY:-d}\nd: $${HOST}\ne: a$b$\nf: ${HOST}${HOST}\ng: '${NONE:-}'\n");

	ck_assert(str_is(yaml_get(d.root, "a")->scalar, "10.0.0.1:80"));
	ck_assert(yaml_get(d.root, "a")->expanded);
	ck_assert(str_is(yaml_get(d.root, "b")->scalar, "x y"));
	ck_assert(str_is(yaml_get(d.root, "c")->scalar, "d"));
	ck_assert(str_is(yaml_get(d.root, "d")->scalar, "${HOST}"));
	ck_assert(str_is(yaml_get(d.root, "e")->scalar, "a$b$"));
	ck_assert(str_is(yaml_get(d.root, "f")->scalar, "10.0.0.110.0.0.1"));
	ck_assert(str_is(yaml_get(d.root, "g")->scalar, ""));
	yaml_end(&d);
}
END_TEST

START_TEST(a_variable_that_is_not_set_or_not_written_right_is_told)
{
	static const struct {
		const char *text, *said;
	} rows[] = {
		{"a: ${NONE}\n", "f.yaml:1:4: a: the environment has no NONE"},
		{"a: ${HOST\n", "f.yaml:1:4: a: '${' has no '}'"},
		{"a: ${}\n", "is no variable"},
		{"a: ${1X}\n", "is no variable"},
		{"a: ${A B}\n", "is no variable"},
		{"a: ${HOST:?x}\n", "is no variable"},
		{"a: ${HOST:}\n", "is no variable"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		refused(rows[i].text, strlen(rows[i].text), rows[i].said);
}
END_TEST

START_TEST(depth_size_and_number_are_bounded)
{
	char deep[200];
	char *big = xalloc(YAML_TEXT_MAX + 2);
	struct err e = ERR_INIT;
	struct yaml_doc d;

	memset(deep, '[', 33);
	memset(deep + 33, ']', 33);
	refused(deep, 66, "nested too deeply");
	ck_assert_int_eq(yaml_parse("f", deep + 1, 64, env, NULL, &e, &d), 0);
	yaml_end(&d);

	memset(big, '#', YAML_TEXT_MAX + 1);
	refused(big, YAML_TEXT_MAX + 1, "too large");
	ck_assert_int_eq(yaml_parse("f", big, YAML_TEXT_MAX, env, NULL, &e, &d), 0);
	yaml_end(&d);

	/* Each value takes two bytes: without a bound half a million nodes of 100 bytes. */
	big[0] = '[';
	for (size_t i = 1; i < YAML_TEXT_MAX; i++)
		big[i] = i % 2 ? '1' : ',';
	big[YAML_TEXT_MAX - 1] = ']';
	refused(big, YAML_TEXT_MAX, "too many values");
	free(big);
}
END_TEST

START_TEST(a_map_of_a_hundred_thousand_keys_is_checked_for_duplicates_in_no_time)
{
	struct sb b = {0};

	for (int i = 0; i < 90000; i++)
		sb_fmt(&b, "k%d:\n", i);
	sb_str(&b, "k7:\n");
	refused(b.p, b.n, "f.yaml:90001:1: k7: duplicate key, expected once (it stands in line 8 already)");
	sb_end(&b);
}
END_TEST

START_TEST(the_environment_cannot_make_a_file_endless)
{
	struct sb b = {0};

	sb_str(&b, "a: \"");
	for (int i = 0; i < 100000; i++)
		sb_str(&b, "${MANY}");
	sb_str(&b, "\"\n");
	refused(b.p, b.n, "longer than 4 MiB");
	b.n = 0;
	for (int i = 0; i < 60000; i++)
		sb_fmt(&b, "- ${MANY}${MANY}\n");
	refused(b.p, b.n, "longer than 4 MiB");
	sb_end(&b);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_told_with_the_reason)
{
	struct err e = ERR_INIT;
	struct yaml_doc d;
	char folder[] = "/tmp/thinmesh-yaml-XXXXXX", *file;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(yaml_read(folder, env, NULL, &e, &d), ERR_MALFORMED);
	ck_assert_ptr_nonnull(strstr(err_str(&e), ": cannot be read: Is a directory"));
	err_clear(&e);
	file = xasprintf("%s/x.yaml", folder);
	ck_assert_int_eq(yaml_read(file, env, NULL, &e, &d), ERR_MALFORMED);
	ck_assert_ptr_nonnull(strstr(err_str(&e), "x.yaml: cannot be read: No such file"));
	err_clear(&e);

	FILE *f = fopen(file, "w");
	ck_assert_ptr_nonnull(f);
	fputs("a: 1\n", f);
	fclose(f);
	ck_assert_int_eq(yaml_read(file, env, NULL, &e, &d), 0);
	ck_assert(str_is(yaml_get(d.root, "a")->scalar, "1"));
	yaml_end(&d);
	unlink(file);
	rmdir(folder);
	free(file);
}
END_TEST

UNIT_SUITE("yaml", a_tree_has_maps_lists_and_scalars_in_order, places_count_from_one_for_keys_and_values, json_is_read_too,
	nothing_is_an_empty_map, null_is_what_nobody_quoted, what_a_configuration_should_not_do_is_refused_with_its_place,
	all_problems_of_a_file_are_told_at_once_and_in_order, the_environment_is_put_in,
	a_variable_that_is_not_set_or_not_written_right_is_told, depth_size_and_number_are_bounded,
	a_map_of_a_hundred_thousand_keys_is_checked_for_duplicates_in_no_time, the_environment_cannot_make_a_file_endless,
	a_file_that_cannot_be_read_is_told_with_the_reason)
