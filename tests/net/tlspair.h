/* tests/net/tlspair: our client and our server on one loop in memory, for the tests of who is believed, and of what is told of a connection.
 *
 *   tls_pair   the loop, the door, the two contexts of the next connection
 *   tls_half   one side of the connection under way
 *
 * Owner of all: the test. */
#pragma once
#include "tests/net/tlsrig.h"
#include "tests/sim/simnet.h"

struct tls_half { struct sock *s; int connected, end; bool ended; struct sb got; char why[512]; };
struct tls_pair {
	struct simnet *sim;
	struct loop *l;
	struct account account;
	struct sock_listen *listen;
	int64_t now;
	struct tls_context *client, *server;     /* of the test */
	struct tls_peer of_client, of_server;    /* whom the client, the server accepts; server_name "a.b" */
	size_t first;                            /* so many bytes are read before the server's TLS begins */
	struct tls_half c, d;                    /* the client's and the door's side */
};
void tls_pair_new(struct tls_pair *p);
void tls_pair_free(struct tls_pair *p);
/* The last connection ends, the next one comes until nothing happens any more. */
void tls_pair_meet(struct tls_pair *p);
void tls_pair_part(struct tls_pair *p);
void tls_half_say(struct tls_half *h, const char *text);
