/* net/watch: tells when files or folders change (inotify; Kubernetes' `..data` swaps included): the folder is watched, events are gathered for 100 ms,
 * then fn is called once. Owner: the caller. In simulation watches never fire by themselves (watch_poke does). */
#pragma once
#include "net/loop.h"

struct watch;
int watch_new(struct loop *l, const char *path /* file or folder */, void (*fn)(void *user), void *user, struct watch **ret);
/* As for a file, whatever lies there: a symbolic link that is put elsewhere, which a watch on the folder behind it would not see. */
int watch_new_entry(struct loop *l, const char *path, void (*fn)(void *user), void *user, struct watch **ret);
void watch_poke(struct watch *w);
void watch_free(struct watch **w);
