/* xds/decode_secret: envoy.extensions.transport_sockets.tls.v3.Secret, from SDS (xds/sds) or from the control plane's own stream (xds/secrets), to what net/tls holds. Pure but for OpenSSL.
 *
 * The bytes hold private keys, so they are walked where they lie and copied nowhere; whoever owns them wipes them afterwards. Hostile bytes cost nothing: the walk is bounded by
 * guard_check, and what is made of PEM by net/tls. */
#pragma once
#include "base/str.h"
#include "net/tls.h"

enum { SECRET_DOMAINS_MAX = TRUST_DOMAINS_MAX /* of a SPIFFECertValidatorConfig */ };

/* secret: the message (Any.value). 0, and of ret_cert (SECRET_CERT) and ret_trust (SECRET_ROOTS) the one that was wanted is the caller's, the other NULL. Negative: refused, "field: reason" appended to
 * problems, both NULL. ret_name, a loan from the bytes, is written in any case (n 0: none, or not known). What it says that has no effect (names that peers must have) is appended to
 * notes, which may be NULL. */
int secret_decode(struct str secret, enum secret_kind want, struct tls_cert **ret_cert, struct tls_trust **ret_trust, struct str *ret_name, struct sb *problems, struct sb *notes);
