/* xds/request: see request.h. Field numbers: envoy/service/discovery/v3/discovery.proto, google/rpc/status.proto. */
#include "xds/request.h"
#include "xds/wire.h"

static void put_text(struct sb *out, uint32_t number, struct str s)
{
	if (s.n)
		wire_put_bytes(out, number, s);
}

static void put_error(struct sb *out, uint32_t number, const struct request *r)
{
	struct sb status = {0};

	if (!r->error)
		return;
	if (r->error_code)
		wire_put_varint(&status, 1, (uint64_t)r->error_code);
	put_text(&status, 2, r->error_text);
	wire_put_bytes(out, number, sb_view(&status)); /* even an empty one says that there is an error */
	sb_end(&status);
}

void request_write(const struct request *r, struct sb *out)
{
	if (r->delta) {
		put_text(out, 1, r->node);
		put_text(out, 2, r->type_url);
		put_text(out, 6, r->nonce);
		put_error(out, 7, r);
		return;
	}
	put_text(out, 1, r->version);
	put_text(out, 2, r->node);
	put_text(out, 4, r->type_url);
	put_text(out, 5, r->nonce);
	put_error(out, 6, r);
}

void request_subscribe(struct sb *out, struct str name)
{
	wire_put_bytes(out, 3, name); /* 3 in both messages */
}

void request_unsubscribe(struct sb *out, struct str name)
{
	wire_put_bytes(out, 4, name);
}

void request_initial(struct sb *out, struct str name, struct str version)
{
	struct sb entry = {0};

	wire_put_bytes(&entry, 1, name);
	wire_put_bytes(&entry, 2, version);
	wire_put_bytes(out, 5, sb_view(&entry));
	sb_end(&entry);
}
