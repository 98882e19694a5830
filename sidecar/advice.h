/* sidecar/advice: what is no mistake, and yet worth a word, of how a configuration encrypts and of who its apps are. In one place, for two who say it: `thinmesh check`, and the daemon in its
 * log: at its start, at each reload, and when a certificate comes. Pure: reads what it is given. */
#pragma once
#include "conf/conf.h"
#include "net/tls.h"

/* place: of the line that it is about ("thinmesh.yaml:7"; NULL: unknown); whose: "service 'demo'", "app 'shop'". Texts are borrowed for the call. */
struct advice { void (*say)(void *ctx, const char *place, const char *whose, const char *text); void *ctx; };
void advice_conf(const struct conf *c, const struct advice *to);
/* Of the certificate that an app shows. wanted: conf_spiffe_id of the app. */
void advice_cert(const struct conf_identity *id, const char *app, const char *wanted, const struct tls_cert *cert, const struct advice *to);
