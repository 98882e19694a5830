/* sidecar/cli_json: reads JSON front to back, without a tree: what the daemon's pages say is shown once and forgotten. The configuration's reader is
 * not used for it: it takes 1 MiB at most and puts the environment into texts, and a page grows with the mesh and may say "${".
 *
 *	json_open(&r, '{');
 *	while (json_key(&r, &key))                  (in a list: while (json_item(&r)))
 *		if (str_is(sb_view(&key), "name")) json_text(&r, &name); else json_skip(&r);
 *
 * Once something is not as asked for, `bad` is set, every loop ends and all that is read is empty or 0: look at it at the end. */
#pragma once
#include <stdbool.h>
#include "base/str.h"

struct json { const char *p, *end; bool bad, first; };
static inline struct json json_of(struct str text) { return (struct json){text.p, text.p + text.n, false, false}; }
void json_open(struct json *r, char bracket);          /* '{' or '[' */
bool json_key(struct json *r, struct sb *ret_key);     /* the next key and its ':'; false: '}' was read, or bad */
bool json_item(struct json *r);                        /* stands before the next element; false: ']' was read, or bad */
void json_text(struct json *r, struct sb *ret);        /* a string, replaces what ret had; also a number, true, false as they are written, null as "" */
uint64_t json_u64(struct json *r);                     /* a whole number */
bool json_bool(struct json *r);
void json_skip(struct json *r);                        /* any value, however deep */
