/* sidecar/cgroup: see cgroup.h. In a container the process's own group mostly is the root of what it sees; under systemd it is a unit below slices, each
 * of which may have a limit. Files: /proc/self/cgroup ("0::/system.slice/thinmesh.service"), /sys/fs/cgroup/PATH/memory.max. */
#include "sidecar/cgroup.h"
#include <stdio.h>
#include <string.h>
#include "base/str.h"

enum { PATH_BYTES = 1024 };

/* The first line that begins with `start`, without it and without its newline. False: there is none. */
static bool read_line(const char *path, const char *start, char out[PATH_BYTES])
{
	char line[PATH_BYTES];
	bool found = false;
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof line, f)) {
		size_t n = strlen(line);
		if (n && line[n - 1] == '\n')
			line[n - 1] = '\0';
		found = strncmp(line, start, strlen(start)) == 0;
	}
	fclose(f);
	if (found)
		snprintf(out, PATH_BYTES, "%s", line + strlen(start));
	return found;
}

/* "max" and v1's huge number mean none. */
static void read_limit(const char *path, uint64_t *least)
{
	char text[PATH_BYTES];
	uint64_t v;
	if (read_line(path, "", text) && str_u64(str_of(text), &v) && v < UINT64_C(1) << 46 && (!*least || v < *least))
		*least = v;
}

uint64_t cgroup_memory(const char *root)
{
	char group[PATH_BYTES], path[2 * PATH_BYTES];
	uint64_t least = 0;
	snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
	if (!read_line(path, "0::", group))
		group[0] = '\0';
	for (;;) { /* from the own group up to the root */
		snprintf(path, sizeof path, "%s/sys/fs/cgroup%s/memory.max", root, group);
		read_limit(path, &least);
		char *slash = strrchr(group, '/');
		if (!slash)
			break;
		*slash = '\0';
	}
	snprintf(path, sizeof path, "%s/sys/fs/cgroup/memory/memory.limit_in_bytes", root);
	read_limit(path, &least);
	return least;
}
