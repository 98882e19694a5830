/* xds/decode_name: what a resource is called, without decoding it. Listener, RouteConfiguration, Cluster and ClusterLoadAssignment have their name in field 1. */
#include "xds/decode.h"
#include "xds/wire.h"

bool decode_name(const void *p, size_t n, struct str *ret)
{
	struct wire w = wire_of(str_n(p, n));
	struct wire_field f;

	while (wire_next(&w, &f) > 0)
		if (f.number == 1 && f.type == WIRE_BYTES) {
			*ret = f.bytes;
			return true;
		}
	return false;
}
