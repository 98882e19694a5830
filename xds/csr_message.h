/* xds/csr_message: istio.v1.auth.IstioCertificateService/CreateCertificate in bytes (istio.md 3.1): the request written, the answer read in place. Pure. Owner of the bytes: the caller. */
#pragma once
#include "base/str.h"

enum { CSR_ANSWER_MAX = 5 << 20 /* what net/tls takes of a chain or a bundle is 4 MiB */, CSR_ENTRIES_MAX = 64 };
struct csr_request { struct str pem; uint64_t validity_s; struct str signer; };
void csr_request_write(const struct csr_request *r, struct sb *out);
struct csr_answer { struct str chain /* PEM, the leaf first */, roots /* the last entry */; uint32_t entries; };
/* Moves the entries of the chain together: `bytes` is no message afterwards, and what is told is a loan from it. 0; ERR_MALFORMED with why (both values where there are two). */
int csr_answer_read(char *bytes, size_t n, struct csr_answer *ret, struct sb *why);
