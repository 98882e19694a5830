/* The answers of a real istiod (tests/xds/fixtures, its README first), one after the other, to xds/sub: each resource is taken under its name, each removal told, and each answer
 * acknowledged by its own nonce: with all names over state of the world, with none over delta. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include "tests/xds/xdsrig.h"

#define ARCHIVE "tests/xds/fixtures/istiod.tar.gz"

struct row { char *cell[8]; };
enum { NO, DIR_, MILLISECONDS, BYTES, URL, NAMES, NONCE, REMARK };
struct recording { char path[600]; char *text; struct row *rows; size_t n; };

static char *read_file(const char *path, size_t *ret_n)
{
	FILE *f = fopen(path, "rb");
	struct sb b = {0};
	char part[4096];

	ck_assert_msg(f != NULL, "%s cannot be read", path);
	for (size_t n; (n = fread(part, 1, sizeof(part), f)) > 0;)
		sb_add(&b, part, n);
	fclose(f);
	*ret_n = b.n;
	sb_add(&b, "", 1);
	return b.p;
}

static void recording_read(struct recording *r, const char *path)
{
	char index[700];
	size_t n;

	*r = (struct recording){.n = 0};
	snprintf(r->path, sizeof(r->path), "%s", path);
	snprintf(index, sizeof(index), "%s/index.tsv", path);
	r->text = read_file(index, &n);
	char *save = NULL;
	for (char *line = strtok_r(r->text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		r->rows = xrealloc(r->rows, (r->n + 1) * sizeof(*r->rows));
		struct row *row = &r->rows[r->n];
		for (int i = 0; i < 8; i++)
			row->cell[i] = line ? strsep(&line, "\t") : (char *)"";
		r->n += strcmp(row->cell[DIR_], "dir") != 0;
	}
}

static void recording_end(struct recording *r)
{
	free(r->text);
	free(r->rows);
}

/* All that the recording client asked for at any time. */
static void want_all(struct xdsrig *x, const struct recording *r)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct row *row = &r->rows[i];
		int t = xds_type_of(str_of(row->cell[URL]));
		if (strcmp(row->cell[DIR_], "req") != 0 || t < 0)
			continue;
		bool all = strcmp(row->cell[NAMES], "-") == 0;
		char *names = xstrdup(all ? "" : row->cell[NAMES]), *save = NULL;
		for (char *name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
			all |= strcmp(name, "+*") == 0 || (*name == '=' && !strchr(row->cell[NAMES], '+'));
			bool had = *name == '=' && (t == XDS_LDS || t == XDS_CDS); /* under its wildcard */
			name += *name == '+' || *name == '=';
			if (!had && *name != '-' && *name != '*' && !sub_is_answered(x->sub, (enum xds_type)t, str_of(name)))
				xdsrig_want(x, (enum xds_type)t, name);
		}
		/* Over delta an ACK has no names either. */
		if (all && (t == XDS_LDS || t == XDS_CDS) && (!strstr(r->path, "-delta") || strcmp(row->cell[NAMES], "-") != 0))
			sub_wildcard(x->sub, (enum xds_type)t, true);
		free(names);
	}
}

/* What the index says that the answer held, told in any order. */
static void expect_told(const struct recording *r, const struct row *row, enum xds_type t, const char *told)
{
	char *names = xstrdup(strcmp(row->cell[NAMES], "-") == 0 ? "" : row->cell[NAMES]), *save = NULL, want[600];
	size_t n = 0, seen = 0;

	for (char *name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save), n++) {
		bool gone = *name == '-';
		if (strlen(row->cell[NAMES]) >= 399) /* the index cuts long lists */
			break;
		snprintf(want, sizeof(want), "%s%s %s;", gone ? "-" : "+", xds_type_name[t], name + gone);
		ck_assert_msg(strstr(told, want) != NULL, "%s %s: no '%s' in '%.300s'", r->path, row->cell[NO], want, told);
	}
	for (const char *at = told; (at = strpbrk(at, "+-")); at++)
		seen += strncmp(at + 1, xds_type_name[t], 3) == 0;
	if (strlen(row->cell[NAMES]) < 399)
		ck_assert_msg(seen == n, "%s %s: %zu of %zu in '%.300s'", r->path, row->cell[NO], seen, n, told);
	snprintf(want, sizeof(want), "%s ok", xds_type_name[t]);
	ck_assert_msg(strstr(told, want) != NULL, "%s %s: '%.300s'", r->path, row->cell[NO], told);
	free(names);
}

static uint32_t replay(const char *path)
{
	struct recording r;
	uint32_t answers = 0;
	bool delta = strstr(path, "-delta") != NULL;
	/* The delta of istio's grpc dialect is never spoken by its profile: the generic one takes the same bytes. */
	enum xds_profile profile = !strstr(path, "/grpc") ? PROFILE_ISTIO : delta ? PROFILE_GENERIC : PROFILE_ISTIO_GRPC;
	struct xdsrig *x = xdsrig_new(PLANE_ISTIO, profile, delta ? PROTOCOL_DELTA : PROTOCOL_SOTW);

	recording_read(&r, path);
	x->plane->quirks.mute = true; /* the recording speaks */
	xdsrig_start(x);
	want_all(x, &r);
	xdsrig_settle(x);
	for (size_t i = 0; i < r.n; i++) {
		const struct row *row = &r.rows[i];
		int t = xds_type_of(str_of(row->cell[URL]));
		char file[1400];
		size_t n;
		if (strcmp(row->cell[DIR_], "res") != 0 || t < 0)
			continue;
		snprintf(file, sizeof(file), "%s/%s-res.pb", path, row->cell[NO]);
		char *bytes = read_file(file, &n);
		uint32_t before = plane_count(x->plane, t);
		xdsrig_told(x);
		plane_message(x->plane, bytes, n);
		xdsrig_settle(x);
		free(bytes);
		expect_told(&r, row, (enum xds_type)t, xdsrig_told(x));
		struct plane_request *q = plane_last(x->plane, t);
		ck_assert_msg(plane_count(x->plane, t) == before + 1, "%s %s: %u requests", path, row->cell[NO], plane_count(x->plane, t) - before);
		ck_assert_str_eq(q->nonce, row->cell[NONCE]);
		ck_assert(!q->has_error && !q->has_node);
		ck_assert_str_eq(q->names.p, delta ? "" : plane_request(x->plane, t, 0)->names.p);
		answers++;
	}
	ck_assert_uint_eq(plane_open(x->plane), 1);
	ck_assert_uint_eq(x->plane->nstreams, 1);
	recording_end(&r);
	xdsrig_free(&x);
	return answers;
}

static int visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/* Each recording of the archive; it is unpacked where nothing else is. */
static uint32_t each_recording(uint32_t (*fn)(const char *path))
{
	char top[] = "/tmp/test_replay.XXXXXX", command[200];
	struct dirent **outer, **inner;
	uint32_t answers = 0;

	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(command, sizeof(command), "tar -xzf " ARCHIVE " -C %s", top);
	ck_assert_int_eq(system(command), 0);
	int n = scandir(top, &outer, visible, alphasort);
	ck_assert_int_gt(n, 40);
	for (int i = 0; i < n; i++) {
		char path[300], below[600];
		snprintf(path, sizeof(path), "%s/%s", top, outer[i]->d_name);
		int m = scandir(path, &inner, visible, alphasort);
		for (int j = 0; j < m; j++) {
			snprintf(below, sizeof(below), "%s/%s", path, inner[j]->d_name);
			answers += fn(below);
			free(inner[j]);
		}
		if (m >= 0)
			free(inner);
		free(outer[i]);
	}
	free(outer);
	snprintf(command, sizeof(command), "rm -rf %s", top);
	ck_assert_int_eq(system(command), 0);
	return answers;
}

START_TEST(every_recorded_answer_of_istiod_is_taken_apart_and_acknowledged)
{
	ck_assert_uint_gt(each_recording(replay), 600);
}
END_TEST

UNIT_SUITE("replay", every_recorded_answer_of_istiod_is_taken_apart_and_acknowledged)
