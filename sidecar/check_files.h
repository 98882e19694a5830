/* sidecar/check_files: `thinmesh check` looks for the programs and reads the certificates, keys and roots that a configuration names, as the daemon would: what it could
 * not use is a problem, what cannot be judged here (a program or a file that is not there yet, or not for us to read; a group that only another machine knows) a warning. */
#pragma once
#include "conf/conf.h"
/* Lines for people. Appends problems to `err`, each under its file's name; warnings to `warnings`, each with its newline. now_s: Unix time. */
void check_files(const struct conf *c, int64_t now_s, struct err *err, struct sb *warnings);
