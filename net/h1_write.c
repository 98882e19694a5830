/* net/h1_write: one HTTP/1.1 answer on its way out (see net/h1_write.h). */
#include "net/h1_write.h"
#include <errno.h>
#include <stdio.h>

void h1_writer_init(struct h1_writer *w, struct buf_pool *bufs, struct account *a)
{
	*w = (struct h1_writer){.bufs = bufs, .account = a};
}

void h1_writer_clear(struct h1_writer *w)
{
	chain_clear(&w->text);
	chain_clear(&w->body);
	chain_clear(&w->tail);
	h1_writer_init(w, w->bufs, w->account);
}

/* ---- heads ---------------------------------------------------------------------------------------------------------------- */

/* Clients read the number; the phrase is for people with nc. What is missing here goes without one (RFC 9112 4 allows it). */
static const char *reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 202:
		return "Accepted";
	case 204:
		return "No Content";
	case 301:
		return "Moved Permanently";
	case 302:
		return "Found";
	case 304:
		return "Not Modified";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 415:
		return "Unsupported Media Type";
	case 417:
		return "Expectation Failed";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 501:
		return "Not Implemented";
	case 502:
		return "Bad Gateway";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "";
	}
}

static int put(struct h1_writer *w, struct chain *to, struct str s)
{
	return chain_copy_in(to, w->bufs, w->account, s.p, s.n);
}

int h1_write_text(struct h1_writer *w, struct str text)
{
	return put(w, &w->text, text);
}

/* What has a meaning for this connection alone is ours to write. A value that could end its line is left out, wherever it comes from:
 * the last wall against a split answer. */
static bool field_is_relayed(const struct field *e)
{
	if (e->flags & FF_HOP || e->token == FIELD_TE || e->token == FIELD_CONTENT_LENGTH)
		return false;
	return field_name_valid(e->name, e->name_len) && e->name[0] != ':' && !memchr(e->value, '\r', e->value_len) && !memchr(e->value, '\n', e->value_len) &&
		!memchr(e->value, '\0', e->value_len);
}

static int put_fields(struct h1_writer *w, struct chain *to, const struct fields *f)
{
	fields_each(e, f) {
		if (!field_is_relayed(e))
			continue;
		if (put(w, to, str_n(e->name, e->name_len)) < 0 || put(w, to, STR(": ")) < 0 ||
			put(w, to, str_n(e->value, e->value_len)) < 0 || put(w, to, STR("\r\n")) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int put_status(struct h1_writer *w, struct chain *to, int status)
{
	char line[80];
	int n = snprintf(line, sizeof(line), "HTTP/1.1 %d %s\r\n", status, reason(status));

	return put(w, to, str_n(line, (size_t)n));
}

static int put_length(struct h1_writer *w, struct chain *to, uint64_t length)
{
	char line[48];
	int n = snprintf(line, sizeof(line), "content-length: %llu\r\n", (unsigned long long)length);

	return put(w, to, str_n(line, (size_t)n));
}

/* How the body's end is told (RFC 9112 6), into the head and into the writer. */
static int put_framing(struct h1_writer *w, struct chain *to, int status, int64_t length, const struct h1_head *request, bool fin, bool *close)
{
	if (request->is_head || status == 204 || status == 304) {
		w->mode = H1_MODE_NONE;
		return length >= 0 && status != 204 ? put_length(w, to, (uint64_t)length) : 0;
	}
	if (fin || length >= 0) {
		/* A head that ends the answer has no body, whatever content-length it brought along. */
		w->mode = H1_MODE_LENGTH;
		w->promised = fin ? 0 : (uint64_t)length;
		return put_length(w, to, w->promised);
	}
	if (request->http10) {
		w->mode = H1_MODE_CLOSE;
		*close = true;
		return 0;
	}
	w->mode = H1_MODE_CHUNKED;
	return put(w, to, STR("transfer-encoding: chunked\r\n"));
}

int h1_write_head(struct h1_writer *w, const struct fields *head, const struct h1_head *request, bool fin, bool *close)
{
	struct chain made = CHAIN_INIT;
	uint64_t status = 0;

	/* What is no status at all cannot come through fields_check; 502 says whose fault it would be. */
	if (!str_u64(fields_value(head, FIELD_STATUS), &status) || status < 200 || status > 999)
		status = 502;
	if (put_status(w, &made, (int)status) < 0 || put_fields(w, &made, head) < 0 ||
		put_framing(w, &made, (int)status, fields_content_length(head), request, fin, close) < 0 ||
		(*close && put(w, &made, STR("connection: close\r\n")) < 0) || put(w, &made, STR("\r\n")) < 0) {
		chain_clear(&made);
		return -ENOMEM;
	}
	chain_move(&w->text, &made);
	w->headed = true;
	w->fin = fin;
	w->ended = w->mode != H1_MODE_CHUNKED;
	return 0;
}

int h1_write_local(struct h1_writer *w, int status, const char *why)
{
	struct chain made = CHAIN_INIT;
	struct sb json = {0};
	int r;

	sb_fmt(&json, "{\"status\":%d,\"message\":", status);
	sb_json(&json, str_of(why));
	sb_char(&json, '}');
	r = put_status(w, &made, status) < 0 || put(w, &made, STR("content-type: application/json\r\n")) < 0 ||
		put_length(w, &made, json.n) < 0 || put(w, &made, STR("connection: close\r\n\r\n")) < 0 ||
		put(w, &made, sb_view(&json)) < 0 ? -ENOMEM : 0;
	sb_end(&json);
	if (r < 0) {
		chain_clear(&made);
		return r;
	}
	chain_move(&w->text, &made);
	w->headed = w->fin = w->ended = true;
	return 0;
}

/* ---- body and end --------------------------------------------------------------------------------------------------------- */

void h1_write_data(struct h1_writer *w, struct chain *moved, bool fin)
{
	if (w->fin || !w->headed || w->mode == H1_MODE_NONE) {
		w->dropped += moved->bytes;
		chain_clear(moved);
	} else if (w->mode == H1_MODE_LENGTH) {
		if (moved->bytes > w->promised) {
			/* Beyond its content-length nothing of an answer may go out: the client would read it as the next one. */
			w->broken = true;
			w->dropped += moved->bytes - (size_t)w->promised;
			chain_move_n(&w->body, moved, (size_t)w->promised);
			chain_clear(moved);
			w->promised = 0;
		} else {
			w->promised -= moved->bytes;
			chain_move(&w->body, moved);
		}
	} else {
		chain_move(&w->body, moved);
	}
	if (fin && w->headed) {
		w->fin = true;
		w->broken |= w->promised > 0;
	}
}

int h1_write_trailers(struct h1_writer *w, const struct fields *f)
{
	struct chain none = CHAIN_INIT, made = CHAIN_INIT;

	if (f && w->headed && !w->fin && w->mode == H1_MODE_CHUNKED) {
		if (put_fields(w, &made, f) < 0 || (made.bytes && put(w, &made, STR("\r\n")) < 0)) {
			chain_clear(&made);
			return -ENOMEM;
		}
		chain_move(&w->tail, &made);
	}
	h1_write_data(w, &none, true);
	return 0;
}

/* ---- out ------------------------------------------------------------------------------------------------------------------ */

static void frame_make(struct h1_writer *w)
{
	if (w->mode != H1_MODE_CHUNKED || w->ended)
		return;
	if (w->chunk_left == 0 && w->frame_at == w->frame_n && w->body.bytes) {
		w->frame_n = (uint8_t)snprintf(w->frame, sizeof(w->frame), "%s%zx\r\n", w->framed ? "\r\n" : "", w->body.bytes);
		w->frame_at = 0;
		w->chunk_left = w->body.bytes;
		w->framed = true;
	}
	if (w->fin && w->chunk_left == w->body.bytes) {
		w->last_n = (uint8_t)snprintf(w->last, sizeof(w->last), "%s0\r\n%s", w->framed ? "\r\n" : "", w->tail.bytes ? "" : "\r\n");
		w->last_at = 0;
		w->ended = true;
	}
}

/* How much of the body may go in the present write. */
static size_t body_now(const struct h1_writer *w)
{
	return w->mode == H1_MODE_CHUNKED ? w->chunk_left : w->body.bytes;
}

int h1_write_iov(struct h1_writer *w, struct iovec iov[H1_IOV])
{
	int n;

	frame_make(w);
	/* Whatever does not fit goes with the next write: what stands behind it must wait then. */
	n = chain_iov(&w->text, iov, H1_IOV - 3, SIZE_MAX);
	if (n == H1_IOV - 3)
		return n;
	if (w->frame_at < w->frame_n)
		iov[n++] = (struct iovec){w->frame + w->frame_at, (size_t)(w->frame_n - w->frame_at)};
	n += chain_iov(&w->body, iov + n, H1_IOV - 2 - n, body_now(w));
	if (n >= H1_IOV - 2)
		return n;
	if (w->last_at < w->last_n)
		iov[n++] = (struct iovec){w->last + w->last_at, (size_t)(w->last_n - w->last_at)};
	if (w->ended)
		n += chain_iov(&w->tail, iov + n, H1_IOV - n, SIZE_MAX);
	return n;
}

static size_t take(size_t *n, size_t most)
{
	size_t now = *n < most ? *n : most;

	*n -= now;
	return now;
}

size_t h1_write_took(struct h1_writer *w, size_t n)
{
	size_t body;

	chain_drop(&w->text, take(&n, w->text.bytes));
	w->frame_at = (uint8_t)(w->frame_at + take(&n, (size_t)(w->frame_n - w->frame_at)));
	body = take(&n, body_now(w));
	chain_drop(&w->body, body);
	if (w->mode == H1_MODE_CHUNKED)
		w->chunk_left -= body;
	w->last_at = (uint8_t)(w->last_at + take(&n, (size_t)(w->last_n - w->last_at)));
	chain_drop(&w->tail, take(&n, w->tail.bytes));
	body += w->dropped;
	w->dropped = 0;
	return body;
}

bool h1_write_pending(const struct h1_writer *w)
{
	return w->text.bytes || w->frame_at < w->frame_n || w->body.bytes || w->last_at < w->last_n || w->tail.bytes || (w->fin && !w->ended);
}
