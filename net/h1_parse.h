/* net/h1_parse: the grammar of HTTP/1.1 (RFC 9112), strict, without I/O: what the fuzzer and the tests feed. Requests for net/h1, answers for net/h1_client.
 *
 * A head is parsed whole, once h1_head_end has found its end; a chunked body is decoded step by step, without copying. Whatever two
 * readers could read in two ways is refused: bare CR or LF, folded lines, blanks before a colon, control bytes, more than one framing. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/limits.h"
#include "net/fields.h"

/* How far the search for the end of a head has come; zero-initialised. A head that drips in is looked at once. */
struct h1_scan {
	size_t line;  /* where the line begins that is not complete yet */
	size_t seen;  /* bytes that were searched for its end */
	bool started; /* the request line is there: the next empty line ends the head */
};
/* The length of the head with its empty line; 0: not complete yet; -1: a line that does not end with CR LF, NUL (answer 400). */
ptrdiff_t h1_head_end(struct h1_scan *scan, const char *p, size_t n);

enum h1_body { H1_BODY_NONE, H1_BODY_LENGTH, H1_BODY_CHUNKED, H1_BODY_CLOSE /* answers alone: up to the end of the connection */ };
struct h1_head {
	enum h1_body body;
	uint64_t length;       /* of H1_BODY_LENGTH; > 0 */
	bool http10;
	bool keep_alive;       /* what the request allows */
	bool wants_trailers;   /* te: trailers */
	bool expects_continue;
	bool is_head;          /* the answer has no body */
};
/* Parses a complete head; names are lowered in place, that is why p is not const. out: a new list; it becomes the request with
 * pseudo-headers (host -> :authority), hop-by-hop fields consumed. 0, or the HTTP status to answer before closing (400, 417, 431, 501,
 * 503, 505) with the reason in *ret_why (static). limit_bytes/limit_fields: of the list, as struct limits has them. */
int h1_head_parse(char *p, size_t n, const struct limits *lim, struct fields *out, struct h1_head *ret, const char **ret_why);

/* The same for the head of an answer: :status and the fields, checked, hop-by-hop fields consumed. to_head: HEAD was asked. 1xx come as they are, with H1_BODY_NONE.
 * 0; -EBADMSG with the reason; ERR_LIMIT beyond the limits; -ENOMEM. */
int h1_answer_parse(char *p, size_t n, const struct limits *lim, bool to_head, struct fields *out, struct h1_head *ret, const char **ret_why);

/* A chunked body, zero-initialised. Trailers are checked and dropped (RFC 9112 7.1.2 allows it): nobody behind us may rely on them. */
struct h1_chunked {
	uint64_t left;         /* of the present chunk */
	uint32_t overhead;     /* bytes of extensions and trailers, over the whole body */
	uint8_t state, digits;
};
enum h1_step {
	H1_STEP_MORE,  /* all bytes are used, the body is not complete */
	H1_STEP_DATA,  /* *ret_data is a piece of the body; call again */
	H1_STEP_END,   /* the body is complete; the bytes behind *ret_used are the next request's */
	H1_STEP_BAD    /* malformed, or beyond H1_OVERHEAD_MAX */
};
/* A body that is framing for the most part is an attack: enough for every honest extension and trailer. */
enum { H1_OVERHEAD_MAX = 8192 };
enum h1_step h1_chunked_step(struct h1_chunked *c, const char *p, size_t n, size_t *ret_used, struct str *ret_data);
