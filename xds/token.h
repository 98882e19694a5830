/* xds/token: a bearer token as a file holds it (a Kubernetes service account's). kubelet writes a new one before the old one ends, so it is read for each use; beside the loop (net/reader).
 * Owner of an ask: who asked, until it was told. */
#pragma once
#include "net/reader.h"

struct token_ask;
/* token: "Bearer ...", taken over, to be freed by token_free, which wipes it; or NULL and why not (as long as the call). Told once, never from inside of token_ask. */
struct token_ask *token_ask(struct reader *r, const char *path, void (*told)(void *user, char *token_taken, const char *why), void *user);
void token_forget(struct token_ask **t);  /* nobody is told; accepts NULL inside */
void token_free(char **p);                /* accepts NULL inside */
