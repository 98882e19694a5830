/* net/versions: which libraries this binary runs with, for `thinmesh -V`: third-party headers stay in net/. */
#include "net/versions.h"
#include <ares.h>
#include <event2/event.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>

const char *net_versions(char out[NET_VERSIONS])
{
	snprintf(out, NET_VERSIONS, "libevent %s, nghttp2 %s, c-ares %s", event_get_version(), nghttp2_version(0)->version_str, ares_version(NULL));
	return out;
}
