/* xds/csr_message: see csr_message.h. Field numbers: istio/api security/v1alpha1/ca.proto, google/protobuf/struct.proto. */
#include "xds/csr_message.h"
#include "base/err.h"
#include "xds/wire.h"

/* An entry of a Struct: 1 key, 2 Value{3 string_value}. */
static void put_metadata(struct sb *out, struct str key, struct str text)
{
	struct sb value = {0}, entry = {0}, map = {0};

	wire_put_bytes(&value, 3, text);
	wire_put_bytes(&entry, 1, key);
	wire_put_bytes(&entry, 2, sb_view(&value));
	wire_put_bytes(&map, 1, sb_view(&entry));
	wire_put_bytes(out, 4, sb_view(&map));
	sb_end(&map);
	sb_end(&entry);
	sb_end(&value);
}

void csr_request_write(const struct csr_request *r, struct sb *out)
{
	wire_put_bytes(out, 1, r->pem);
	if (r->validity_s)
		wire_put_varint(out, 3, r->validity_s);
	put_metadata(out, STR("CertSigner"), r->signer); /* istio's own agent says it always, mostly empty */
}

/* Behind what the chain has already; a tag and a length stood in front of it, so a newline has room. */
static size_t append(char *bytes, size_t at, struct str entry)
{
	memmove(bytes + at, entry.p, entry.n);
	at += entry.n;
	bytes[at++] = '\n';
	return at;
}

int csr_answer_read(char *bytes, size_t n, struct csr_answer *ret, struct sb *why)
{
	struct csr_answer a = {.entries = 0};
	struct wire w = wire_of(str_n(bytes, n));
	struct wire_field f;
	size_t chain = 0;
	int more;

	while ((more = wire_next(&w, &f)) > 0) {
		if (f.number != 1)
			continue;
		if (f.type != WIRE_BYTES || !wire_is_text(f.bytes)) {
			sb_str(why, "an entry of cert_chain is no text");
			return ERR_MALFORMED;
		}
		if (++a.entries > CSR_ENTRIES_MAX) {
			sb_fmt(why, "cert_chain has more than %d entries", CSR_ENTRIES_MAX);
			return ERR_MALFORMED;
		}
		if (a.entries > 1)
			chain = append(bytes, chain, a.roots);
		a.roots = f.bytes;
	}
	if (more < 0) {
		sb_str(why, "the bytes are no CertificateResponse");
		return ERR_MALFORMED;
	}
	if (a.entries < 2) {
		sb_fmt(why, "cert_chain has %u %s, at least 2 are needed: the certificate, and the roots as the last one", a.entries, a.entries == 1 ? "entry" : "entries");
		return ERR_MALFORMED;
	}
	a.chain = str_n(bytes, chain);
	*ret = a;
	return 0;
}
