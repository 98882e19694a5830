/* sidecar/page_certs: certificates and roots for people: GET /certs, what /status says of an app's identity, and the metrics of both. Keys are in none of them. */
#pragma once
#include "sidecar/local.h"

struct sidecar;
void page_certs(struct local_call *c);
void page_certs_identity(const struct sidecar *sc, const char *app, struct sb *b); /* a member "identity", with the comma before it; nothing: the app has none */
void page_certs_stats(struct sidecar *sc, struct sb *b);
