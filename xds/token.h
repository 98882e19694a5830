/* xds/token: a bearer token as a file holds it (a Kubernetes service account's). kubelet writes a new one before the old one ends, so it is read for each use.
 * Owner of the text: the caller. */
#pragma once

/* NULL, and "Bearer ..." in *ret, to be freed by token_free, which wipes it; or why not, static (strerror's for a file that cannot be read), and NULL in *ret. */
const char *token_read(const char *path, char **ret);
void token_free(char **p);  /* accepts NULL inside */
