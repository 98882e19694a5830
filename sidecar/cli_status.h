/* sidecar/cli_status: the page /status of a control socket (sidecar/page_status) as a table for people. */
#pragma once
#include <stdbool.h>
#include "base/str.h"

struct rates;
/* json: the page. now_unix_ms: for "since when". rates: what `--watch` keeps from page to page (sidecar/cli_rates), NULL: none. False: the page is not what this version understands;
 * out is as far as it went. */
bool cli_status_text(struct str json, uint64_t now_unix_ms, bool colour, struct rates *rates_or_null, struct sb *out);
/* The same of /certs (--certs): certificates and roots, a row each; rates is not looked at. */
bool cli_certs_text(struct str json, uint64_t now_unix_ms, bool colour, struct rates *rates, struct sb *out);
