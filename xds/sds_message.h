/* xds/sds_message: an answer of an SDS server (a DiscoveryResponse, state of the world), whole in memory because it is one certificate: which of its secrets is ours. Pure; what is found
 * is a loan from the bytes. */
#pragma once
#include "base/str.h"

enum { SDS_ANSWER_MAX = 5 << 20 /* what net/tls takes of a chain or a bundle is 4 MiB */, SDS_WORD_MAX = 4096 /* a version, a nonce */, SDS_RESOURCES_MAX = 1024 };
extern const char sds_type_url[];
struct sds_message { struct str version, nonce, secret; uint32_t resources; bool found; };
/* 0; or ERR_MALFORMED: no answer can be made out, and none be acknowledged. found: `secret` is the Secret of that name; else problem says what came instead. */
int sds_message_read(struct str bytes, struct str name, struct sds_message *ret, struct sb *problem);
