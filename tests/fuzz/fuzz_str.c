/* Any bytes through the small text tools: numbers agree with each other, JSON is clean, distances are distances. */
#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void json_is_clean(struct str s)
{
	struct sb b = {0};
	sb_json(&b, s);
	struct str v = sb_view(&b);
	assert(v.n >= 2 && v.p[0] == '"' && v.p[v.n - 1] == '"');
	for (size_t i = 1; i + 1 < v.n; i++) {
		assert((unsigned char)v.p[i] >= 0x20);
		assert(v.p[i] != '"');
		if (v.p[i] == '\\')
			i++;
	}
	/* what is valid stays: a second pass over the inside finds no bad byte any more */
	struct sb again = {0};
	sb_json(&again, v);
	assert(again.n >= v.n + 2);
	sb_end(&again);
	sb_end(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = str_n((const char *)data, size);
	uint64_t n, bytes, ns;

	if (str_u64(in, &n)) {
		assert(str_bytes(in, &bytes) && bytes == n);
		assert(str_duration_ns(in, &ns) == (n == 0));
	}
	if (str_duration_ns(in, &ns))
		assert(ns % 1000 == 0);
	(void)str_bytes(in, &bytes);
	json_is_clean(in);

	struct str t = str_trim(in);
	assert(t.n <= in.n && str_eq(str_trim(t), t));
	ptrdiff_t first = str_find(in, ':'), last = str_rfind(in, ':');
	assert((first < 0) == (last < 0) && first <= last);
	assert(str_hash(in) == str_hash(in) && str_eq_nocase(in, in));

	/* two words with a NUL between them */
	char *z = xstrndup(in.p, in.n);
	size_t half = strlen(z);
	char *other = half < in.n ? z + half + 1 : z + half;
	unsigned d = str_distance(z, other, 4);
	assert(d <= 4 && d == str_distance(other, z, 4) && (strcmp(z, other) == 0 || d > 0));
	str_lower(z, half);
	assert(str_eq_nocase(str_of(z), str_cut(in, 0, half)));
	free(z);
	return 0;
}
