/* An :authority, then a NUL, then a :path. What comes out is bounded, NUL-terminated, free of what is refused, and stays as it is when it is read
 * again: who asks the sidecar behind us gets the same answer. */
#include <stdint.h>
#include <stdlib.h>

#include "conf/authority.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool true_)
{
	if (!true_)
		abort();
}

static void check_candidates(const struct conf_app *app, struct str raw, enum authority_kind kind)
{
	struct authority a;

	authority_candidates(app, "cluster.local", raw, &a);
	insist(a.kind == kind && a.count <= 4);
	for (uint32_t i = 0; i < a.count; i++) {
		insist(a.candidate[i].n > 0 && a.candidate[i].n < AUTHORITY_MAX);
		for (uint32_t k = 0; k < i; k++)
			insist(!str_eq(a.candidate[i], a.candidate[k]));
	}
	insist(kind == AUTHORITY_BAD ? a.count == 0 && a.best.n == 0 : true);
	insist(kind == AUTHORITY_NAME ? a.count > 0 : true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_pair alias[] = {{(char *)"a", (char *)"b.c:1"}, {(char *)"b:1", (char *)"/"}, {(char *)"c", (char *)"d"}};
	const struct conf_app app = {.namespace_ = (char *)"ns", .alias = alias, .aliases = 3};
	struct str all = str_n((const char *)data, size), raw, path = {"", 0};
	char out[AUTHORITY_MAX], again[AUTHORITY_MAX];
	ptrdiff_t nul = str_find(all, '\0');
	size_t n, m;

	raw = nul < 0 ? all : str_cut(all, 0, (size_t)nul);
	if (nul >= 0)
		path = str_cut(all, (size_t)nul + 1, size);
	enum authority_kind kind = authority_normalise(NULL, "cluster.local", raw, out, &n);
	insist(n < AUTHORITY_MAX && strlen(out) == n && (kind != AUTHORITY_BAD || n == 0));
	for (size_t i = 0; i < n; i++)
		insist(out[i] > 0x20 && out[i] < 0x7f && out[i] != '@');
	insist(authority_normalise(NULL, "cluster.local", str_n(out, n), again, &m) == kind || kind == AUTHORITY_BAD);
	insist(kind != AUTHORITY_NAME || strcmp(out, again) == 0);
	check_candidates(NULL, raw, kind);
	kind = authority_normalise(&app, "cluster.local", raw, out, &n);
	check_candidates(&app, raw, kind);

	struct str service = authority_path_service(path);
	insist(service.n <= path.n && str_find(service, '/') < 0);
	return 0;
}
