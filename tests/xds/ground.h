/* tests/xds/ground: what every source of secrets stands on in its tests: a loop on a virtual clock, names by a table, limits, transports, an authority, an account for the servers, and what was
 * logged. Owner of all of it: the test's own rig, which has it as a member. */
#pragma once
#include "base/stats.h"
#include "conf/conf.h"
#include "net/dns.h"
#include "net/transport.h"
#include "tests/flow/rig_ca.h"

struct ground {
	struct simnet *net;
	struct loop *loop;             /* net's */
	struct log *log;
	struct sb logged;
	struct dns *dns;
	struct account account;        /* of the servers */
	struct limits limits;
	struct transports *transports;
	struct authority *authority;
};
void ground_begin(struct ground *g);
void ground_end(struct ground *g); /* everything on it has ended: nothing is charged any more, and no sock is open */
void ground_advance(struct ground *g, uint64_t ms);
bool ground_logged(const struct ground *g, const char *text);
uint64_t ground_stat(const struct ground *g, enum stat_id id);
int64_t ground_now_s(const struct ground *g);
