/* tests/net/materialrig: secrets by hand, filled with the papers of tests/net/tlsrig: what a provider would bring; and spaces and wants that lead to them. */
#pragma once
#include "net/transport.h"
#include "tests/net/tlsrig.h"

char *rig_text(const char *path);                              /* a file's bytes; xalloc */
void rig_put_cert(struct secret *s, const struct tls_paper *p); /* must succeed */
void rig_put_trust(struct secret *s, const struct tls_ca *ca);
/* A space in which "cert" and "roots" are these two, whatever they are asked by; each may be NULL: there is none. */
struct rig_space { struct secret *cert, *roots; struct secret_space space; };
void rig_space(struct rig_space *r, struct secret *cert, struct secret *roots);
/* A want that shows and trusts what the space has; names and all else is the caller's, who seals it. */
struct tls_want *rig_want(bool shows);
