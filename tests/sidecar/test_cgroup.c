/* The memory that a process may have, by made-up files of its cgroups. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "sidecar/cgroup.h"
#include "tests/unit.h"

static char root[64];

static void put(const char *path, const char *text)
{
	char at[512];
	snprintf(at, sizeof at, "%s%s", root, path);
	for (char *p = at + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(at, 0755);
		*p = '/';
	}
	FILE *f = fopen(at, "w");
	fputs(text, f);
	fclose(f);
}

static void begin(void)
{
	snprintf(root, sizeof root, "/tmp/tm-cgroup-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
}

static void end(void)
{
	char command[128];
	snprintf(command, sizeof command, "rm -r %s", root);
	ck_assert_int_eq(system(command), 0);
}

START_TEST(without_any_file_there_is_no_limit)
{
	begin();
	ck_assert_uint_eq(cgroup_memory(root), 0);
	end();
}
END_TEST

START_TEST(the_least_limit_between_the_own_group_and_the_root_counts)
{
	begin();
	put("/proc/self/cgroup", "1:name=x:/y\n0::/system.slice/thinmesh.service\n");
	put("/sys/fs/cgroup/system.slice/memory.max", "900000000\n");
	put("/sys/fs/cgroup/system.slice/thinmesh.service/memory.max", "max\n");
	ck_assert_uint_eq(cgroup_memory(root), 900000000);
	put("/sys/fs/cgroup/system.slice/thinmesh.service/memory.max", "67108864\n");
	ck_assert_uint_eq(cgroup_memory(root), 67108864);
	put("/sys/fs/cgroup/memory.max", "33554432\n");
	ck_assert_uint_eq(cgroup_memory(root), 33554432);
	end();
}
END_TEST

START_TEST(a_container_sees_its_limit_at_the_root)
{
	begin();
	put("/proc/self/cgroup", "0::/\n");
	put("/sys/fs/cgroup/memory.max", "134217728\n");
	ck_assert_uint_eq(cgroup_memory(root), 134217728);
	end();
}
END_TEST

START_TEST(version_one_is_read_and_its_no_limit_is_none)
{
	begin();
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	ck_assert_uint_eq(cgroup_memory(root), 0);
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "104857600\n");
	ck_assert_uint_eq(cgroup_memory(root), 104857600);
	end();
}
END_TEST

UNIT_SUITE("cgroup", without_any_file_there_is_no_limit, the_least_limit_between_the_own_group_and_the_root_counts, a_container_sees_its_limit_at_the_root,
	version_one_is_read_and_its_no_limit_is_none)
