/* xds/csr_files: a certificate with its key and the roots, written for others to read (apps[].identity.ca.output): cert-chain.pem, key.pem (0600), root-cert.pem. In the helper (net/offload).
 * Owner of a job: the offload; who gave it may forget it. */
#pragma once
#include "base/mem.h"
#include "base/str.h"
#include "net/offload.h"

struct csr_files;
/* All copied, and charged to the account, which outlives the offload; NULL: it says no. told: in the loop, when it is done: 0, or the errno of `what` (a path or a step; valid during the call). */
struct csr_files *csr_files_write(struct offload *o, struct account *a, const char *folder, struct str chain, struct str key, struct str roots,
	void (*told)(void *user, int err, const char *what), void *user);
void csr_files_forget(struct csr_files **f); /* nothing is told; it goes on */
