/* xds/guard: protobuf-c for bytes of a peer. protobuf_c_message_unpack knows no limit: it recurses as deep as the bytes say, and two of them can cost hundreds.
 *
 *   guard_begin(budget of 2 x wire + 1 MiB) --guard_unpack(descriptor, bytes)*--> trees, all charged --guard_end
 *
 * Before anything is allocated the bytes are walked by descriptor: malformed wire, a field of the wrong wire type, text that is not UTF-8 or has a NUL in it (it
 * would end there as a C string), a message given twice where there is one (protobuf-c would merge), more than GUARD_DEPTH messages in each other,
 * or more memory than the budget has left: refused. The walk needs GUARD_DEPTH frames at most. What protobuf-c allocates then is charged all the same, so
 * the walk's estimate only has to be near.
 *
 * Owner of a guard: who decodes, on its stack. What is built from a tree is charged to guard.account as well, by charges that move to the parent
 * at guard_end. */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include "base/mem.h"
#include "base/str.h"

enum { GUARD_DEPTH = 32, GUARD_BASE = 1024 * 1024 };

struct guard {
	struct account account;     /* limit: 2 x wire + 1 MiB */
	ProtobufCAllocator alloc;
};
void guard_begin(struct guard *g, struct account *parent, size_t wire);
void guard_end(struct guard *g); /* all trees were freed */

/* The walk alone: 0, and what unpacking may cost; ERR_MALFORMED, -ELOOP (depth), -ENOMEM (beyond budget), with ret_why (static text). */
int guard_check(const ProtobufCMessageDescriptor *d, struct str bytes, size_t budget, size_t *ret_estimate, const char **ret_why);
/* Both: the tree, or NULL with the code and the reason. */
void *guard_unpack(struct guard *g, const ProtobufCMessageDescriptor *d, struct str bytes, int *ret_code, const char **ret_why);
void guard_free(struct guard *g, void *tree); /* NULL is fine */

/* What a field of text may hold: UTF-8 without a NUL. */
bool guard_text_valid(struct str s);
