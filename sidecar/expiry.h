/* sidecar/expiry: warns in the log of certificates that come to their end while no other comes: at a quarter and at a twentieth of their life, and (where no identity is that tells so itself) when it
 * is over, once each.
 *
 *   any secret gets something new --> sweep over all of them --> a timer for the next one that is due
 *
 * Where there is no certificate there is no timer. Owner: struct sidecar; ends before the identities. */
#pragma once
struct sidecar;
struct expiry;
struct expiry *expiry_new(struct sidecar *sc);
void expiry_free(struct expiry **e);
void expiry_thaw(struct expiry *e);      /* time has passed */
