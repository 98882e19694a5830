/* sidecar/allow: who may call what of an app (apps[].inbound[].allow): lists of SPIFFE ids and paths, of which the first that fits lets a call in. Pure; asked for each call, and
 * costs no memory.
 *
 *   entry   ids                                            paths
 *   none    anybody who was let in by the door             any
 *   some    one of the caller's own ids fits one of them   the path without its query fits one of them
 *
 * An id or a path is meant exactly, or with a "*" at its end as a prefix. The id "*" is whoever has shown a certificate. */
#pragma once
#include "base/str.h"
#include "conf/conf.h"
#include "uds/listener.h"

enum allow_answer {
	ALLOW_YES,
	ALLOW_NO,
	/* There are rules about paths, and this one may mean another path to the app than it does to us: "//", "/../", an encoded slash. */
	ALLOW_UNSAFE,
};
/* caller: NULL: nobody that we know. count 0: no lists, everybody may call everything. */
enum allow_answer allow_ask(const struct conf_allow_peer *lists, uint32_t count, const struct uds_identity *caller, struct str path);
