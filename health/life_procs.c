/* health/life_procs: the processes of an app that are watched. See health/life.h. */
#include "health/life_int.h"

void life_procs_free(struct life *l) { (void)l; }
void life_procs_save(const struct life *l, struct sb *out) { (void)l; sb_str(out, " pids="); }
void life_procs_restore(struct life *l, struct str pids) { (void)l, (void)pids; }
