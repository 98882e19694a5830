/* sidecar/cli_call: `thinmesh call`: what a thin SDK does, once, with everything shown that comes back, as it comes.
 *
 *   struct call   the command line made into a request (owner: cli_call, it lives on its stack)
 *   struct show   the answer on its way to stdout: gRPC messages are cut out of the bytes, any other body is kept until it is whole
 *
 * Sent is one gRPC message, or, where -H sets another content-type, the bytes as they are. Nothing of a peer reaches the terminal unescaped. */
#include "sidecar/cli_client.h"
#include "sidecar/cli_int.h"
#include <errno.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/mem.h"
#include "net/grpc.h"

enum { MESSAGE_MAX = 64 << 20, FRAME_HEAD = 5, ROW = 16 };
/* Of the whole call, where --timeout says nothing: long for a person who waits, short for a script that was forgotten. */
static const uint64_t patience_ns = UINT64_C(30) * 1000000000;
/* The sidecar is told the deadline too and shall be the one that speaks of it: grpc-status 4 says more than silence. */
static const uint64_t grace_ns = UINT64_C(2) * 1000000000;

struct call {
	const char *socket, *data;
	struct cli_field *fields;   /* those of -H; owned; names are copies, values are loans of argv */
	size_t nfields;
	uint64_t timeout_ns;
	bool has_timeout;
	struct str authority, path;
	struct sb body;
};

/* ---- the answer ----------------------------------------------------------------------------------------------------------------- */

struct show {
	struct sb out;              /* not printed yet */
	struct sb bytes;            /* of the message that is not whole yet, or of the whole body */
	bool grpc;                  /* the answer is cut into messages */
	uint64_t messages;
	uint64_t http;
	int grpc_status;            /* -1: none was said */
	struct sb grpc_message;     /* decoded */
	const char *refused;        /* why on_bytes had enough */
};

static void show_flush(struct show *s)
{
	if (s->out.n)
		fwrite(s->out.p, 1, s->out.n, stdout);
	fflush(stdout); /* a stream's messages are seen when they come; a failure is told at the end */
	sb_end(&s->out);
}

/* As `hexdump -C`, repeated rows in one '*'. */
static void show_hex(struct sb *out, const unsigned char *p, size_t n)
{
	bool starred = false;

	for (size_t at = 0; at < n; at += ROW) {
		size_t width = n - at < ROW ? n - at : ROW;
		if (at && width == ROW && at + ROW < n && memcmp(p + at, p + at - ROW, ROW) == 0) {
			if (!starred)
				sb_str(out, "  *\n");
			starred = true;
			continue;
		}
		starred = false;
		sb_fmt(out, "  %08zx ", at);
		for (size_t i = 0; i < ROW; i++) {
			if (i < width)
				sb_fmt(out, "%s%02x", i == ROW / 2 ? "  " : " ", p[at + i]);
			else
				sb_str(out, i == ROW / 2 ? "    " : "   ");
		}
		sb_str(out, "  |");
		for (size_t i = 0; i < width; i++)
			sb_char(out, p[at + i] >= 0x20 && p[at + i] < 0x7f ? (char)p[at + i] : '.');
		sb_str(out, "|\n");
	}
}

static void show_fields(struct show *s, const char *title, const struct fields *f)
{
	sb_fmt(&s->out, "%s\n", title);
	fields_each(e, f) {
		sb_str(&s->out, "  ");
		cli_printable(&s->out, str_n(e->name, e->name_len));
		sb_str(&s->out, ": ");
		cli_printable(&s->out, str_n(e->value, e->value_len));
		sb_char(&s->out, '\n');
	}
	if (fields_get(f, FIELD_GRPC_STATUS)) {
		s->grpc_status = grpc_status_parse(fields_value(f, FIELD_GRPC_STATUS));
		s->grpc_message.n = 0;
		grpc_message_decode(fields_value(f, FIELD_GRPC_MESSAGE), &s->grpc_message);
	}
	show_flush(s);
}

static void on_head(void *user, struct fields *head)
{
	struct show *s = user;

	s->grpc = fields_is_grpc(head);
	str_u64(fields_value(head, FIELD_STATUS), &s->http);
	show_fields(s, "headers", head);
}

static void on_trailers(void *user, struct fields *trailers)
{
	show_fields(user, "trailers", trailers);
}

static void show_message(struct show *s, const unsigned char *frame, size_t n)
{
	sb_fmt(&s->out, "message %llu, %zu byte%s%s\n", (unsigned long long)++s->messages, n, n == 1 ? "" : "s", frame[0] & 1 ? ", compressed" : "");
	show_hex(&s->out, frame + FRAME_HEAD, n);
	show_flush(s);
}

/* Cuts whole messages off the front of what has come. False: one is announced that is too large. */
static bool show_messages(struct show *s)
{
	size_t at = 0;

	while (s->bytes.n - at >= FRAME_HEAD) {
		const unsigned char *p = (const unsigned char *)s->bytes.p + at;
		size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
		if (n > MESSAGE_MAX) {
			s->refused = "a message of more than 64 MiB is announced (or the answer is no gRPC)";
			return false;
		}
		if (s->bytes.n - at - FRAME_HEAD < n)
			break;
		show_message(s, p, n);
		at += FRAME_HEAD + n;
	}
	if (at) {
		memmove(s->bytes.p, s->bytes.p + at, s->bytes.n - at);
		s->bytes.n -= at;
	}
	return true;
}

static bool on_bytes(void *user, const char *p, size_t n)
{
	struct show *s = user;

	if (!s->grpc && s->bytes.n + n > MESSAGE_MAX) {
		s->refused = "the body is larger than 64 MiB";
		return false;
	}
	sb_add(&s->bytes, p, n);
	return !s->grpc || show_messages(s);
}

static bool is_text(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c == 0x7f || (c < 0x20 && c != '\n' && c != '\t' && c != '\r'))
			return false;
	}
	return true;
}

/* Of an answer that is no gRPC: text as it is, line by line, anything else in hex. */
static void show_body(struct show *s)
{
	struct str body = sb_view(&s->bytes);

	if (s->grpc || body.n == 0)
		return;
	sb_fmt(&s->out, "body, %zu byte%s\n", body.n, body.n == 1 ? "" : "s");
	if (!is_text(body))
		show_hex(&s->out, (const unsigned char *)body.p, body.n);
	for (size_t at = 0; is_text(body) && at < body.n;) {
		struct str rest = str_cut(body, at, body.n);
		ptrdiff_t end = str_find(rest, '\n');
		struct str line = end < 0 ? rest : str_cut(rest, 0, (size_t)end);
		at += line.n + 1;
		if (str_ends(line, STR("\r")))
			line.n--;
		sb_str(&s->out, "  ");
		cli_printable(&s->out, line);
		sb_char(&s->out, '\n');
	}
}

/* The last line, and the exit code. */
static int show_result(struct show *s, bool asked_grpc)
{
	bool torn = s->grpc && s->bytes.n;

	show_body(s);
	if (s->grpc_status >= 0) {
		sb_fmt(&s->out, "result: %s (%d)", grpc_status_name(s->grpc_status), s->grpc_status);
		if (s->grpc_message.n) {
			sb_str(&s->out, ": ");
			cli_printable(&s->out, sb_view(&s->grpc_message));
		}
		sb_char(&s->out, '\n');
	} else {
		sb_fmt(&s->out, "result: HTTP %llu%s\n", (unsigned long long)s->http, asked_grpc ? ", no grpc-status" : "");
	}
	show_flush(s);
	if (torn)
		cli_say("call", "the last message is torn: %zu byte%s of it came", s->bytes.n, s->bytes.n == 1 ? "" : "s");
	if (s->refused)
		cli_say("call", "the call was cancelled: %s", s->refused);
	bool fine = s->grpc_status >= 0 || asked_grpc ? s->grpc_status == GRPC_OK : s->http >= 200 && s->http < 300;
	return fine && !torn && !s->refused ? CLI_OK : CLI_NO;
}

static int exchange(const struct call *call, const struct addr *to, const char *socket, bool grpc)
{
	static const struct cli_events events = {.on_head = on_head, .on_bytes = on_bytes, .on_trailers = on_trailers};
	uint64_t timeout_ns = call->has_timeout ? (call->timeout_ns ? call->timeout_ns + grace_ns : 0) : patience_ns;
	struct cli_request rq = {.to = *to, .socket = socket, .method = "POST", .authority = call->authority, .path = call->path, .fields = call->fields,
		.nfields = call->nfields, .body = sb_view(&call->body), .timeout_ns = timeout_ns};
	struct show show = {.grpc_status = -1};
	struct sb why = {0};
	struct loop *l = loop_new_real(NULL);
	int r = CLI_NO;

	if (!l) {
		cli_say("call", "the kernel refuses an event loop: %s", err_text(-errno));
		return r;
	}
	if (cli_exchange(l, &rq, &events, &show, &why) == 0)
		r = cli_print("call", STR(""), show_result(&show, grpc));
	else
		cli_say("call", "%.*s", (int)why.n, why.p);
	loop_free(&l);
	sb_end(&show.bytes);
	sb_end(&show.grpc_message);
	sb_end(&show.out);
	sb_end(&why);
	return r;
}

/* ---- the message ---------------------------------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Pairs of digits; blanks and colons between bytes are how people paste them. */
static bool message_hex(const char *text, struct sb *out)
{
	for (const char *p = text; *p;) {
		if (*p == ' ' || *p == ':') {
			p++;
			continue;
		}
		int high = hex_digit(p[0]), low = high < 0 ? -1 : hex_digit(p[1]);
		if (low < 0) {
			cli_usage("call", "-d: '%.40s' is not hex; expected pairs of digits, @FILE or -", text);
			return false;
		}
		sb_char(out, (char)(high << 4 | low));
		p += 2;
	}
	return true;
}

static bool message_file(const char *path, struct sb *out)
{
	bool is_stdin = strcmp(path, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(path, "re");
	char part[16384];
	size_t n;

	if (!f) {
		cli_say("call", "-d: cannot open '%s': %s", path, err_text(-errno));
		return false;
	}
	while (out->n <= MESSAGE_MAX && (n = fread(part, 1, sizeof(part), f)) > 0)
		sb_add(out, part, n);
	bool failed = ferror(f);
	int code = errno;
	if (!is_stdin)
		fclose(f);
	if (failed)
		cli_say("call", "-d: cannot read '%s': %s", path, err_text(-code));
	else if (out->n > MESSAGE_MAX)
		cli_say("call", "-d: '%s' is larger than 64 MiB", path);
	return !failed && out->n <= MESSAGE_MAX;
}

static bool call_body(struct call *call, bool grpc)
{
	struct sb *b = &call->body;

	if (grpc)
		sb_add(b, (const char[FRAME_HEAD]){0}, FRAME_HEAD);
	if (call->data) {
		bool is_file = call->data[0] == '@' || strcmp(call->data, "-") == 0;
		if (is_file ? !message_file(call->data[0] == '@' ? call->data + 1 : "-", b) : !message_hex(call->data, b))
			return false;
	}
	for (int i = 0; grpc && i < 4; i++)
		b->p[1 + i] = (char)((b->n - FRAME_HEAD) >> (24 - 8 * i));
	return true;
}

/* ---- the command line ----------------------------------------------------------------------------------------------------------- */

static struct cli_field *call_field(struct call *call, struct str name)
{
	for (size_t i = 0; i < call->nfields; i++)
		if (str_eq(call->fields[i].name, name))
			return &call->fields[i];
	return NULL;
}

static void call_add(struct call *call, char *name_taken, struct str value)
{
	call->fields = xrealloc(call->fields, (call->nfields + 1) * sizeof(*call->fields));
	call->fields[call->nfields++] = (struct cli_field){str_of(name_taken), value};
}

/* What gRPC asks of a request, unless -H says otherwise. */
static void call_default(struct call *call, const char *name, struct str value)
{
	if (!call_field(call, str_of(name)))
		call_add(call, xstrdup(name), value);
}

static bool call_header(struct call *call, const char *text)
{
	const char *colon = strchr(text, ':');

	if (!colon || colon == text) {
		cli_usage("call", "-H: '%.60s' is no header; expected 'name: value'", text);
		return false;
	}
	struct str value = str_trim(str_of(colon + 1));
	char *name = xstrndup(text, (size_t)(colon - text));
	str_lower(name, strlen(name));
	const char *wrong = !field_name_valid(name, strlen(name))    ? "is no header's name"
		: field_flags(field_token(name, strlen(name))) & FF_HOP ? "speaks of a connection: HTTP/2 has no such header"
		: !field_value_valid(value.p, value.n)                   ? "has a value that no header may have"
									 : NULL;
	if (wrong) {
		cli_usage("call", "-H: '%.60s' %s", name, wrong);
		free(name);
		return false;
	}
	call_add(call, name, value);
	return true;
}

static bool call_target(struct call *call, const char *text)
{
	struct str s = str_of(text);
	ptrdiff_t slash = str_find(s, '/');

	if (slash < 0 || (size_t)slash + 1 == s.n) {
		cli_usage("call", "'%.100s' names no method; expected AUTHORITY/SERVICE/METHOD", text);
		return false;
	}
	call->authority = str_cut(s, 0, (size_t)slash);
	call->path = str_cut(s, (size_t)slash, s.n);
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f) {
			cli_usage("call", "'%.100s' has a blank or a control character in it", text);
			return false;
		}
	return true;
}

static bool call_options(struct call *call, int argc, char **argv)
{
	static const struct cli_option options[] = {
		{'s', "socket", true}, {'H', "header", true}, {'d', "data", true}, {CLI_TIMEOUT, "timeout", true}, {0, NULL, false}};
	struct cli_args a = {.command = argv[0], .argc = argc, .argv = argv, .at = 1};
	const char *value, *target = NULL;
	int code;

	while ((code = cli_next(&a, options, &value)) != CLI_END) {
		switch (code) {
		case 's':
			call->socket = value;
			break;
		case 'H':
			if (!call_header(call, value))
				return false;
			break;
		case 'd':
			call->data = value;
			break;
		case CLI_TIMEOUT:
			if (!cli_duration(argv[0], "--timeout", value, &call->timeout_ns))
				return false;
			call->has_timeout = true;
			break;
		case CLI_OPERAND:
			if (target) {
				cli_usage(argv[0], "'%.100s' is one word too many", value);
				return false;
			}
			target = value;
			break;
		default:
			return false;
		}
	}
	if (!target) {
		cli_usage(argv[0], "what is to be called? expected AUTHORITY/SERVICE/METHOD");
		return false;
	}
	return call_target(call, target);
}

static bool is_grpc(struct str content_type)
{
	struct str grpc = STR("application/grpc");
	char after = content_type.n > grpc.n ? content_type.p[grpc.n] : ';';

	return str_eq_nocase(str_cut(content_type, 0, grpc.n), grpc) && (after == '+' || after == ';');
}

int cli_call(int argc, char **argv)
{
	struct call call = {0};
	struct sb socket = {0};
	struct addr to;
	char timeout[16];
	int r = CLI_USAGE;

	if (!call_options(&call, argc, argv))
		goto out;
	call_default(&call, "content-type", STR("application/grpc+proto"));
	bool grpc = is_grpc(call_field(&call, STR("content-type"))->value);
	if (grpc)
		call_default(&call, "te", STR("trailers"));
	call_default(&call, "user-agent", STR("thinmesh-call/" TM_VERSION));
	if (call.timeout_ns)
		call_default(&call, "grpc-timeout", str_n(timeout, grpc_timeout_format(call.timeout_ns, timeout)));
	if (!call_body(&call, grpc))
		goto out;
	r = cli_app_socket(argv[0], call.socket, &socket, &to) ? exchange(&call, &to, socket.p, grpc) : CLI_NO;
out:
	for (size_t i = 0; i < call.nfields; i++)
		free((char *)(uintptr_t)call.fields[i].name.p);
	free(call.fields);
	sb_end(&call.body);
	sb_end(&socket);
	return r;
}
