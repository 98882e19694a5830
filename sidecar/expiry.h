/* sidecar/expiry: warns in the log of certificates and roots that come to their end while no others come: of a certificate at a quarter and at a twentieth of its life, and (where no identity is that
 * tells so itself) when it is over; of a bundle of roots when its last root does, that is a month and a week before (or a quarter and a twentieth of its life, where that is less) and when it is over.
 * Once each, however many roots a bundle has.
 *
 *   any secret gets something new --> sweep over all of them --> a timer for the next one that is due
 *
 * Where there is neither there is no timer. Owner: struct sidecar; ends before the identities. */
#pragma once
struct sidecar;
struct expiry;
struct expiry *expiry_new(struct sidecar *sc);
void expiry_free(struct expiry **e);
void expiry_thaw(struct expiry *e);      /* time has passed */
