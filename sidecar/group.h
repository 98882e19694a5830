/* sidecar/group: the group that a socket is given to, by the name or the number that a configuration says. */
#pragma once
#include <stdint.h>
#include "base/err.h"
/* name NULL: none, and *ret is -1: the process's own. A name that this machine does not know is an error, told with its place. */
int group_find(const char *name, const char *place, int64_t *ret_gid, struct err *err);
