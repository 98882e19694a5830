/* sidecar/group: see group.h. */
#include "sidecar/group.h"
#include <errno.h>
#include <grp.h>
#include "base/str.h"

int group_find(const char *name, const char *place, int64_t *ret_gid, struct err *err)
{
	uint64_t gid;

	*ret_gid = -1;
	if (!name)
		return 0;
	if (!str_u64(str_of(name), &gid)) {
		struct group *g = getgrnam(name);
		if (!g) {
			err_add(err, NULL, 0, 0, "%s: no group is named '%s'", place, name);
			return -ENOENT;
		}
		gid = g->gr_gid;
	}
	*ret_gid = (int64_t)gid;
	return 0;
}
