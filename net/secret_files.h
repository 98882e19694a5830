/* net/secret_files: secrets from files (SECRET_FILES) and from PEM that is written down where it is used (SECRET_INLINE).
 *
 * Files are read beside the loop (net/reader), when they are asked for first, and again when they change: replaced by rename, swapped by Kubernetes' `..data`, or written in place. A certificate and its key
 * are taken together or not at all: while they do not fit, are half written or cannot be read, the pair in use stays, and they are looked at again at each change and after
 * 1, 2, 4 ... 30 s. Where changes are not told (a network's file system, no descriptor left) they are looked for each minute; one that does
 * not answer within 5 s is a file that cannot be read.
 *
 * Owner: sidecar/identities, one a process; secrets may outlive it and keep what they have. */
#pragma once
#include "net/reader.h"
#include "net/secret.h"

struct secret_files;
struct secret_files *secret_files_new(struct loop *l, struct transports *t, struct reader *r /* borrowed, outlives it */);
void secret_files_free(struct secret_files **f);
/* Counted for the caller; never NULL; the same one for an equal ref while anybody holds it. WAITING until it was read: that is a moment. What is inline is there at once. */
struct secret *secret_files_get(struct secret_files *f, const struct secret_ref *ref);
/* A secret that has been filled by another provider is filled from these files from now on. */
void secret_files_fill(struct secret_files *f, const struct secret_ref *ref, struct secret *s);
/* Now, without waiting for a sign of a change: a reload, a thaw. */
void secret_files_look(struct secret_files *f);
/* For the log. why: cannot be taken over, told once until it is well again; then NULL. A mismatch that mends itself within the first second (the key is written behind the certificate) is not told. */
void secret_files_set_tell(struct secret_files *f, void (*fn)(void *ctx, const struct secret *s, const char *why), void *ctx);
