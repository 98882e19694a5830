/* sidecar/xfcc: x-forwarded-client-cert: what the app learns of who calls it. It is said by us alone: whatever a caller has written there (or in a spelling that an app takes for it) is removed,
 * from callers without a certificate too. Pure.
 *
 *   By=spiffe://td/ns/x/sa/shop;Hash=HEX;Subject="CN=...";URI=spiffe://td/ns/x/sa/cart
 *
 * As Envoy writes it (istio.md 3.3): By only where our certificate has a URI, URI once for each that the caller's has. */
#pragma once
#include "net/fields.h"
#include "uds/listener.h"

/* An app's server may bound its header lists; a certificate may have thousands of names. What does not fit is left out whole. */
enum { XFCC_MAX = 4096, XFCC_SUBJECT_MAX = 1024 };
/* The text into out (XFCC_MAX bytes, no NUL): its length. */
size_t xfcc_text(const struct uds_identity *caller, char out[XFCC_MAX]);
/* Also of trailers, which servers may mix with the head. */
void xfcc_remove(struct fields *list);
/* Removes, and sets what we know; caller NULL: nothing. 0, or -ENOMEM. */
int xfcc_set(struct fields *head, const struct uds_identity *caller);
