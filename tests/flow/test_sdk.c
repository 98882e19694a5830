/* What each SDK really sends, byte by byte: tests/flow/fixtures/ holds one file an SDK, in the order of its wire. Each call must reach the provider with
 * every field as it was, and be answered, and the SDK must never see a GOAWAY.
 *
 * A fixture: `door unix|tcp`, `settings ID=VALUE ...`, `window N` (of the connection), `ping HEX`, `ack` (of our SETTINGS), `head STREAM` with its fields indented
 * below, `message STREAM N [end]` (with gRPC's prefix), `body STREAM N [end]`, `goaway LAST [DEBUG]`, `rst STREAM CODE`, `wait` (what was sent is
 * dealt with), `answered STREAM`, `open STREAM`, `close`. */
#include "tests/flow/rig.h"
#include "tests/unit.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE "10.0.0.1:50051"

static const char sdk_yaml[] =
	"apps:\n"
	"  - name: shop\n"
	"    listen:\n"
	"      - unix: /run/shop.sock\n"
	"      - {tcp: \"127.0.0.1:15051\", default: demo.default.svc.cluster.local}\n"
	"    paths: {org.apache.dubbo.demo.GreeterService: demo.default.svc.cluster.local}\n"
	"services:\n"
	"  - {name: demo.default.svc.cluster.local, endpoints: [\"" ONE "\"]}\n";

struct play { struct rig *r; struct provider *p; struct raw *w; struct sb out, head; uint32_t head_id, sent; const char *file; uint32_t requests; bool fin_at_head; };

static void put(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static void play_head_over(struct play *y)
{
	struct sb block = {0};

	if (!y->head_id)
		return;
	sb_char(&y->head, 0);
	hpack_fields(&block, y->head.p);
	frame_add(&y->out, F_HEADERS, FL_END_HEADERS, y->head_id, block.p, block.n);
	sb_end(&block);
	y->head_id = 0;
}

static void play_settings(struct play *y, char *rest)
{
	uint8_t iv[64 * 6];
	size_t n = 0;

	for (char *save = NULL, *word = strtok_r(rest, " ", &save); word; word = strtok_r(NULL, " ", &save), n += 6) {
		unsigned long id = strtoul(word, &word, 10);
		iv[n] = (uint8_t)(id >> 8);
		iv[n + 1] = (uint8_t)id;
		put(iv + n + 2, (uint32_t)strtoul(word + 1, NULL, 10));
	}
	sb_str(&y->out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	frame_add(&y->out, F_SETTINGS, 0, 0, iv, n);
}

static void play_body(struct play *y, const char *rest, bool prefix)
{
	unsigned id, n;
	char end[8] = "";
	uint8_t bytes[1024] = {0};

	sscanf(rest, "%u %u %7s", &id, &n, end);
	if (prefix)
		put(bytes + 1, n);
	for (unsigned i = 0; i < n; i++)
		bytes[(prefix ? 5 : 0) + i] = (uint8_t)('a' + i);
	frame_add(&y->out, F_DATA, *end ? FL_END_STREAM : 0, id, bytes, n + (prefix ? 5 : 0));
	y->sent = n + (prefix ? 5 : 0);
}

static void play_flush(struct play *y)
{
	raw_send(y->w, y->out.p ? y->out.p : "", y->out.n);
	y->out.n = 0;
	rig_settle(y->r);
}

/* Every field of the fixture but the pseudo-headers has reached the provider, and nothing of ours came to them. */
static void play_seen(struct play *y, const struct served *s, const char *lines)
{
	unsigned fields = 0, seen = 0;

	for (const char *p = lines; *p; p = strchr(p, '\n') + 1) {
		char name[256], value[512];
		size_t n = strcspn(p + 1, ":") + 1;
		snprintf(name, sizeof(name), "%.*s", (int)n, p);
		snprintf(value, sizeof(value), "%.*s", (int)strcspn(p + n + 2, "\n"), p + n + 2);
		fields++;
		const char *got = served_field(s, name);
		ck_assert_msg(got != NULL, "%s: '%s' is lost", y->file, name);
		if (strcmp(name, ":authority") == 0)
			ck_assert_msg(strncmp(got, "demo.default.svc.cluster.local", 30) == 0, "%s: %s", y->file, got);
		else
			ck_assert_msg(strcmp(got, value) == 0, "%s: '%s' is '%s', was '%s'", y->file, name, got, value);
	}
	for (const char *p = s->head.p; p < s->head.p + s->head.n; p++)
		seen += *p == '\n';
	/* A deadline that nobody named is not made up; everything else would be ours. */
	ck_assert_msg(seen == fields, "%s: %u fields were sent, %u came", y->file, fields, seen);
}

static void play_answered(struct play *y, uint32_t id, const char *head)
{
	struct frame f;
	uint32_t bytes = 0;

	ck_assert_msg(y->p->requests == ++y->requests || y->p->requests == y->requests + 1, "%s: %u requests", y->file, y->p->requests);
	play_seen(y, provider_call(y->p, 0), head);
	ck_assert_uint_eq(provider_call(y->p, 0)->bytes, 10 == provider_call(y->p, 0)->bytes ? 10 : 20);
	y->w->at = 0;
	bool end = false;
	while (raw_next(y->w, &f))
		if (f.id == id) {
			bytes += f.type == F_DATA ? f.n : 0;
			end |= f.type == F_HEADERS && (f.flags & FL_END_STREAM);
		}
	ck_assert_msg(raw_count(y->w, F_HEADERS, id) == 2 && end, "%s: %u HEADERS", y->file, raw_count(y->w, F_HEADERS, id));
	ck_assert_msg(bytes == provider_call(y->p, 0)->bytes, "%s: %u bytes came back", y->file, bytes);
	ck_assert_msg(raw_count(y->w, F_RST, id) == 0, "%s: reset", y->file);
	ck_assert_msg(raw_count(y->w, F_GOAWAY, -1) == 0, "%s: GOAWAY", y->file);
	ck_assert(!y->w->eof);
}

static void play_line(struct play *y, char *line, struct sb *first_head)
{
	char word[32] = "";
	uint8_t p[256];
	char *rest = line + strcspn(line, " ");

	rest += *rest == ' ';
	if (line[0] == ' ') {
		sb_str(&y->head, line + 2);
		sb_char(&y->head, '\n');
		return;
	}
	play_head_over(y);
	sscanf(line, "%31s", word);
	if (strcmp(word, "door") == 0) {
		y->w = raw_new(y->r, strcmp(rest, "unix") == 0 ? DOOR : "127.0.0.1:15051");
	} else if (strcmp(word, "settings") == 0) {
		play_settings(y, rest);
	} else if (strcmp(word, "window") == 0) {
		put(p, (uint32_t)strtoul(rest, NULL, 10));
		frame_add(&y->out, F_WINDOW, 0, 0, p, 4);
	} else if (strcmp(word, "ping") == 0) {
		put(p, (uint32_t)strtoul((char[9]){rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7], 0}, NULL, 16));
		put(p + 4, (uint32_t)strtoul(rest + 8, NULL, 16));
		frame_add(&y->out, F_PING, 0, 0, p, 8);
	} else if (strcmp(word, "ack") == 0) {
		frame_add(&y->out, F_SETTINGS, FL_ACK, 0, NULL, 0);
	} else if (strcmp(word, "head") == 0) {
		if (y->head.n && !first_head->n)
			sb_add(first_head, y->head.p, y->head.n);
		y->head.n = 0;
		y->head_id = (uint32_t)strtoul(rest, NULL, 10);
	} else if (strcmp(word, "message") == 0 || strcmp(word, "body") == 0) {
		play_body(y, rest, *word == 'm');
	} else if (strcmp(word, "goaway") == 0) {
		char *debug;
		put(p, (uint32_t)strtoul(rest, &debug, 10));
		put(p + 4, 0);
		size_t n = strlen(debug);
		memcpy(p + 8, debug, n);
		frame_add(&y->out, F_GOAWAY, 0, 0, p, 8 + n);
	} else if (strcmp(word, "wait") == 0) {
		play_flush(y);
	} else if (strcmp(word, "answered") == 0) {
		if (!first_head->n)
			sb_add(first_head, y->head.p, y->head.n);
		char *lines = xstrndup(first_head->p, strlen(first_head->p) < first_head->n ? strlen(first_head->p) : first_head->n);
		play_answered(y, (uint32_t)strtoul(rest, NULL, 10), lines);
		free(lines);
	} else if (strcmp(word, "open") == 0) {
		uint32_t id = (uint32_t)strtoul(rest, NULL, 10);
		ck_assert_uint_eq(raw_count(y->w, F_HEADERS, id), 1);
		ck_assert_uint_eq(raw_count(y->w, F_RST, id), 0);
		/* dubbo-go's Watch: the daemon answers it, and keeps it open */
		ck_assert_uint_eq(rig_stat(y->r, STAT_WATCHES), 1);
		ck_assert_uint_eq(raw_count(y->w, F_DATA, id), 1);
	} else if (strcmp(word, "close") == 0) {
		play_flush(y);
		raw_close(y->w);
		rig_settle(y->r);
		ck_assert_uint_eq(y->p->open + rig_stat(y->r, STAT_WATCHES), 0);
	} else {
		ck_abort_msg("%s: '%s'?", y->file, line);
	}
}

static void play(const char *name)
{
	char path[256], line[1024];
	struct rig *r = rig_new(sdk_yaml);
	struct play y = {.r = r, .p = provider_new(r, ONE, ECHOES), .file = name};
	struct sb first = {0};

	provider_next(y.p, (struct act){.does = ECHOES});
	provider_next(y.p, (struct act){.does = HEAD_ONLY});
	snprintf(path, sizeof(path), "tests/flow/fixtures/%s.txt", name);
	FILE *f = fopen(path, "re");
	ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (line[0] && line[0] != '#')
			play_line(&y, line, &first);
	}
	fclose(f);
	ck_assert_uint_ge(y.requests, 1);
	ck_assert_uint_eq(rig_stat(r, STAT_H2_PROTOCOL_ERRORS), 0);
	sb_end(&first);
	sb_end(&y.out);
	sb_end(&y.head);
	rig_free(&r);
}

#define SDK(test, name) \
	START_TEST(test) \
	{ \
		play(name); \
	} \
	END_TEST
SDK(what_grpc_go_sends_is_answered, "grpc-go")
SDK(what_grpc_core_of_debian_sends_is_answered, "grpc-core-1.51")
SDK(what_grpc_core_sends_is_answered, "grpc-core-1.85")
SDK(what_grpc_java_sends_is_answered, "grpc-java")
SDK(what_grpc_js_sends_is_answered, "grpc-js")
SDK(what_dubbo_js_sends_is_answered, "dubbo-js-triple")
SDK(what_dubbo_js_by_grpc_sends_is_answered, "dubbo-js-grpc")
SDK(what_connect_go_sends_is_answered, "connect-go")
SDK(what_tonic_sends_is_answered, "tonic")
SDK(what_kitex_sends_is_answered, "kitex")
SDK(what_dubbo_java_sends_is_answered, "dubbo-java")
SDK(what_a_dubbo_java_mesh_consumer_sends_is_answered, "dubbo-java-mesh")
SDK(what_dubbo_go_sends_is_answered, "dubbo-go")

UNIT_SUITE("sdk", what_grpc_go_sends_is_answered, what_grpc_core_of_debian_sends_is_answered, what_grpc_core_sends_is_answered, what_grpc_java_sends_is_answered,
	what_grpc_js_sends_is_answered, what_dubbo_js_sends_is_answered, what_dubbo_js_by_grpc_sends_is_answered, what_connect_go_sends_is_answered,
	what_tonic_sends_is_answered, what_kitex_sends_is_answered, what_dubbo_java_sends_is_answered, what_a_dubbo_java_mesh_consumer_sends_is_answered,
	what_dubbo_go_sends_is_answered)
