/* sidecar/attempt: one try of an exchange at one provider (or at a local answer): from the host picked to the end of its stream.
 * Owner: its exchange. */
#pragma once
#include "sidecar/exchange.h"

struct attempt {
	struct exchange *x;          /* borrowed: owner */
	struct host *host;           /* counted; NULL for local answers */
	struct stream *up;           /* NULL while it waits for a connection, and after the end */
	uint64_t sent;               /* body bytes the kernel took on this attempt */
	bool answered, ended;
	bool judged;                 /* the host's cluster wants to know what came of it, and has not been told yet (host_outcome) */
	bool exception;              /* a business exception (Triple) */
	uint64_t told_ns;            /* until when the provider was told that it has time; not moved by a thaw, for it has seen the time pass. 0: none */
	uint32_t begun_thaws;        /* STAT_THAWS when it began */
	int16_t status;              /* HTTP; of the answer's head, and what grpc-status makes of it */
	struct grave grave;
	struct pool_wait wait;
	struct timer per_try;
};
struct attempt *attempt_start(struct exchange *x, struct host *host_taken);  /* may fail at once: exchange_attempt_failed is called later or before return */
struct attempt *attempt_local(struct exchange *x, const struct local_row *row, struct uds_client *client, const struct sock_cred *cred, bool read_only);
struct attempt *attempt_ask(struct exchange *x, const char *default_authority); /* gRPC health, answered here (sidecar/grpc_health) */
/* Cancels it: no event follows. result: what the host is told. */
void attempt_end(struct attempt **a, enum host_result result);
