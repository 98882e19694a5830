/* sidecar/cgroup: how much memory this process may have, by the cgroups that it is in. */
#pragma once
#include <stdint.h>

/* The least memory.max of the process's cgroup and all above it (v2), or of the v1 controller. 0: none says anything. `root` is "" but in tests. */
uint64_t cgroup_memory(const char *root);
