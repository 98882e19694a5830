"""Callers that misbehave: each is held within its limit, counted, and costs nobody else anything."""
import signal
import struct

from h2raw import (CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, Gone, GOAWAY, HEADERS, H2,
	INITIAL_WINDOW_SIZE, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, grpc_message)
from harness import DEMO, GREETER, case, cases, check, raw_exchange, same, until
from providers import Provider, RawProvider, echo_all

SLEEP = "/t.Echo/sleep"


def world(t, **limits):
	p = Provider(t, "a")
	d = t.daemon({DEMO: [p.address]}, limits=limits)
	return p, d


def well_behaved(t, d, what="another caller"):
	with t.h2(d) as other:
		same(other.call(DEMO, GREETER).grpc_status, 0, what)


def ended(c, code, what=""):
	"""The connection ends, with a GOAWAY of this code."""
	c.wait_closed(5)
	check(c.closed, "the connection still stands", what)
	check(c.goaways, "no GOAWAY", what)
	codes = code if isinstance(code, tuple) else (code,)
	check(c.goaways[-1][1] in codes, what, "GOAWAY", c.goaways)


def lives(c, what="the connection lives on"):
	same(c.call(DEMO, GREETER, timeout_s=8).grpc_status, 0, what)
	same(c.goaways, [])


# ---- floods --------------------------------------------------------------------------------------------------------------

@case
def a_rapid_reset_is_paced_and_the_connection_lives_on(t):
	p, d = world(t, premature_resets=150)
	c = t.h2(d)
	out = b""
	for _ in range(300):
		sid = c.new_id()
		out += c.frame(HEADERS, END_STREAM | END_HEADERS, sid, c.encode(c.head(DEMO, SLEEP)))
		out += c.frame(RST_STREAM, 0, sid, struct.pack(">I", 8))
	c.raw(out)
	d.wait_stat("limit_premature_resets")
	well_behaved(t, d)
	lives(c)
	check(len(p.calls) <= 302, len(p.calls))


@case
def resets_that_we_are_made_to_send_are_paced_too(t):
	p, d = world(t, premature_resets=100)
	c = t.h2(d)
	out = b""
	for _ in range(150):
		sid = c.new_id()
		out += c.frame(HEADERS, END_STREAM | END_HEADERS, sid, c.encode(c.head(DEMO, SLEEP)))
		out += c.frame(WINDOW_UPDATE, 0, sid, struct.pack(">I", 0x7fffffff))
	c.raw(out)
	try:
		d.wait_stat("limit_premature_resets")
		lives(c)
	except Gone:
		pass         # a connection error is an answer too
	well_behaved(t, d)
	until(lambda: d.active_calls() == 0, 5, "no call to be left over")


@case
def a_PING_flood_is_paced_and_every_PING_answered(t):
	p, d = world(t, control_frames=300)
	c = t.h2(d)
	c.raw(b"".join(c.frame(PING, 0, 0, struct.pack(">Q", i)) for i in range(500)))
	c.wait(lambda: len(c.ping_acks) == 500, 6)
	same([struct.unpack(">Q", a)[0] for a in c.ping_acks], list(range(500)))
	check(d.stat("limit_control_frames") >= 1)
	lives(c)


FLOODS = [("PING", H2.frame(PING, 0, 0, bytes(8))), ("SETTINGS", H2.frame(SETTINGS, 0, 0, b""))]


@cases("a %s flood whose replies are not read ends the connection", FLOODS)
def unread_flood(t, name, frame):
	p, d = world(t, control_frames=10000000, outbound_queue=20)
	c = t.h2(d)
	same(c.call(DEMO, GREETER).grpc_status, 0)
	before = d.rss_kib()
	burst = frame * 4000
	for _ in range(200):
		if c.try_raw(burst, 3) < len(burst):
			break
	until(lambda: d.stat("limit_outbound_queue") == 1, 5, "the limit")
	d.check_growth(before, 2048)
	well_behaved(t, d)


@case
def a_CONTINUATION_flood_ends_the_connection(t):
	p, d = world(t, continuations=8)
	c = t.h2(d)
	block = c.encode(c.head(DEMO, GREETER))
	c.raw(c.frame(HEADERS, 0, 1, block))
	c.try_raw(c.frame(CONTINUATION, 0, 1, b"") * 50 + c.frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b") * 50)
	ended(c, ENHANCE_YOUR_CALM)
	same(d.stat("limit_continuations"), 1)
	well_behaved(t, d)


@case
def a_header_block_that_never_ends_is_cut_at_its_wire_size(t):
	p, d = world(t)
	c = t.h2(d)
	value = b"\x00\x01a\x7f\x81\x7e" + b"v" * 16256
	c.raw(c.frame(HEADERS, 0, 1, c.encode(c.head(DEMO, GREETER))))
	c.try_raw(b"".join(c.frame(CONTINUATION, 0, 1, value[:16384]) for _ in range(20)))
	ended(c, ENHANCE_YOUR_CALM)
	same(d.stat("limit_header_wire_bytes"), 1)
	well_behaved(t, d)


@cases("empty %s frames in a row end the connection", [("DATA", b""), ("padding-only DATA", None)])
def empty_data(t, name, payload):
	p, d = world(t, empty_frames=20)
	c = t.h2(d)
	sid = c.request(DEMO, "/t.Echo/upload", end=False)
	frame = c.frame(DATA, 0, sid, b"") if payload is not None else c.frame(DATA, 8, sid, b"\x04" + bytes(4))
	c.try_raw(frame * 500)
	ended(c, ENHANCE_YOUR_CALM)
	same(d.stat("limit_empty_frames"), 1)
	well_behaved(t, d)


@case
def more_streams_than_allowed_are_refused_one_by_one(t):
	p, d = world(t, streams_per_connection=5)
	c = t.h2(d)
	ids = [c.request(DEMO, SLEEP, grpc_message(b"x")) for _ in range(8)]
	for sid in ids[5:]:
		same(c.result(sid).reset, REFUSED_STREAM)
	until(lambda: len(p.calls) == 5, 3, "five calls")
	same(d.stat("limit_streams_per_connection"), 3)
	p.echo.release.set()
	for sid in ids[:5]:
		same(c.result(sid).grpc_status, 0)
	same(c.goaways, [])


# ---- header lists --------------------------------------------------------------------------------------------------------

def oversize(c, field_count, size, **kw):
	return c.request(DEMO, GREETER, None if kw.get("te") is False else grpc_message(b"x"),
		extra=[("x-%04d" % i, "v" * size) for i in range(field_count)], **kw)


@case
def a_list_of_30_KiB_is_taken_and_one_of_50_KiB_is_RESOURCE_EXHAUSTED(t):
	p, d = world(t, header_wire_bytes="256KiB")
	c = t.h2(d)
	same(c.result(oversize(c, 29, 960)).grpc_status, 0)
	st = c.result(oversize(c, 50, 960))
	same((st.headers[":status"], st.grpc_status), ("200", 8))
	same(d.stat("limit_header_bytes"), 1)
	same(len(p.calls), 1)
	lives(c)


@case
def an_oversize_list_of_a_plain_request_is_431(t):
	p, d = world(t, header_wire_bytes="256KiB")
	c = t.h2(d)
	st = c.result(oversize(c, 50, 960, content_type="application/json", te=False))
	same(st.headers[":status"], "431")
	lives(c)
	got, _ = raw_exchange(d.sock, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: " % i + b"v" * 900 + b"\r\n" for i in range(60)) + b"\r\n")
	check(got.startswith(b"HTTP/1.1 431 ") or got.startswith(b"HTTP/1.1 400 "), got[:100])


@case
def too_many_fields_are_RESOURCE_EXHAUSTED(t):
	p, d = world(t)
	c = t.h2(d)
	st = c.result(oversize(c, 250, 1))
	same(st.grpc_status, 8)
	same(d.stat("limit_field_count"), 1)
	lives(c)


@case
def oversize_trailers_end_only_their_call(t):
	p, d = world(t, header_wire_bytes="256KiB")
	c = t.h2(d)
	sid = c.request(DEMO, "/t.Echo/upload", grpc_message(b"x"), end=False)
	c.send_headers(sid, [("t-%d" % i, "v" * 960) for i in range(50)], end=True)
	st = c.result(sid)
	check(st.reset is not None or st.grpc_status not in (None, 0), st)
	lives(c)


def bomb(c, sid, name, value, times):
	"""A field that is put into the table once and then named by one byte each time."""
	def string(s):
		if len(s) < 127:
			return bytes([len(s)]) + s
		n, out = len(s) - 127, b"\x7f"
		while n >= 128:
			out, n = out + bytes([n % 128 | 128]), n // 128
		return out + bytes([n]) + s
	block = c.encode(c.head(DEMO, GREETER))
	# The caller's own encoder does not know of this entry: the connection must not be `indexed`.
	block += b"\x40" + string(name) + string(value) + b"\xbe" * times
	first, rest = block[:16384], block[16384:]
	c.raw(c.frame(HEADERS, END_STREAM | (0 if rest else END_HEADERS), sid, first) + (c.frame(CONTINUATION, END_HEADERS, sid, rest) if rest else b""))


@cases("a bomb of %s holds no memory and the table stays in step", [
	("large fields", b"x-bomb", b"v" * 3900), ("empty fields", b"x", b""), ("cookie crumbs", b"cookie", b"a=b"),
])
def bombs(t, name, field, value):
	p, d = world(t)
	c = t.h2(d)
	c.indexed = False       # only the bomb is in the table
	same(c.call(DEMO, GREETER).grpc_status, 0)
	before = d.rss_kib()
	for _ in range(40):
		sid = c.new_id()
		bomb(c, sid, field, value, 12000)
		st = c.result(sid)
		same(st.grpc_status, 8)
	d.check_growth(before, 1024)
	check(d.stat("limit_header_bytes") + d.stat("limit_field_count") >= 40)
	lives(c)
	same(len(p.calls), 2)


@case
def header_lists_that_are_held_are_within_a_budget(t):
	p, d = world(t, header_budget="64KiB")
	c = t.h2(d)
	# In one write: they are there before the connection to the provider is, and so none has gone on yet.
	together, raw = [], c.raw
	c.raw = together.append
	ids = [c.request(DEMO, SLEEP, grpc_message(b"x"), extra=[("x-%d" % i, "v" * 1000) for i in range(20)]) for _ in range(8)]
	c.raw = raw
	c.wait(lambda: c.settings_seen)
	d.signal(signal.SIGSTOP)
	try:
		c.raw(b"".join(together))
	finally:
		d.signal(signal.SIGCONT)
	d.wait_stat("limit_header_budget")
	well_behaved(t, d)
	p.echo.release.set()
	for sid in ids:
		same(c.result(sid).grpc_status, 0)
	lives(c)


# ---- windows -------------------------------------------------------------------------------------------------------------

@case
def a_stream_window_beyond_its_maximum_resets_the_stream(t):
	p, d = world(t)
	c = t.h2(d)
	sid = c.request(DEMO, SLEEP, grpc_message(b"x"))
	c.send_window(sid, 0x7fffffff)
	st = c.result(sid)
	same(st.reset, FLOW_CONTROL_ERROR)
	lives(c)
	check(d.stat("h2_stream_errors") >= 1)


@case
def a_connection_window_beyond_its_maximum_ends_the_connection(t):
	p, d = world(t)
	c = t.h2(d)
	c.send_window(0, 0x7fffffff)
	ended(c, FLOW_CONTROL_ERROR)
	check(d.stat("h2_protocol_errors") >= 1)
	well_behaved(t, d)


@case
def more_DATA_than_the_window_is_an_error_and_not_kept(t):
	silent = RawProvider(t, lambda c: c.wait_closed(60), auto_window=False, settings={INITIAL_WINDOW_SIZE: 0}, connection_window=0)
	p = Provider(t, "a")
	d = t.daemon({"silent:1": [silent.address], DEMO: [p.address]})
	before = d.rss_kib()
	c = t.h2(d)
	c.wait(lambda: c.settings_seen)
	sid = c.request("silent:1", GREETER, end=False)
	for _ in range(200):
		if c.try_raw(c.frame(DATA, 0, sid, bytes(16384)), 3) < 16384:
			break
	try:
		c.wait(lambda: c.stream(sid).reset is not None, 5)
		c.is_silent(0.05)
		same(c.stream(sid).resets, [FLOW_CONTROL_ERROR], "what was on its way is no second fault")
	except Gone:
		same(c.goaways[-1][1], FLOW_CONTROL_ERROR)
	d.check_growth(before, 3072)
	well_behaved(t, d)


@case
def a_reader_that_stalls_loses_its_stream_after_the_stall_time(t):
	p, d = world(t, stall="1s")
	c = t.h2(d, settings={INITIAL_WINDOW_SIZE: 0}, auto_window=False)
	sid = c.request(DEMO, GREETER, grpc_message(b"x" * 5000))
	st = c.result(sid, 6)
	check(st.reset is not None, st)
	same(d.stat("limit_stall"), 1)
	same(c.goaways, [])
	well_behaved(t, d)


@case
def a_drip_of_one_byte_does_not_keep_a_stalled_stream_alive(t):
	p, d = world(t, stall="1s")
	c = t.h2(d, settings={INITIAL_WINDOW_SIZE: 0}, auto_window=False)
	sid = c.request(DEMO, GREETER, grpc_message(b"x" * 5000))
	st = c.stream(sid)

	def dripped():
		c.send_window(sid, 1)
		c.is_silent(0.04)
		return st.over
	until(dripped, 5, "the stream to end")
	check(st.reset is not None, st)
	well_behaved(t, d)


# ---- slowness ------------------------------------------------------------------------------------------------------------

@cases("a caller that sends %s is closed after the preface time", [
	("nothing", b""), ("a piece of the preface", PREFACE[:7]), ("one byte of HTTP/1", b"G"),
])
def slow_preface(t, name, data):
	p, d = world(t, preface_time="1s", header_time="1s")
	got, closed = raw_exchange(d.sock, data)
	check(closed, "still open")
	check(d.stat("limit_preface_time") + d.stat("limit_header_time") >= 1)
	well_behaved(t, d)


@case
def a_dribbled_preface_is_not_saved_by_each_byte(t):
	p, d = world(t, preface_time="600ms")
	c = t.h2(d, start=False, auto_ack=False)
	try:
		for b in PREFACE + PREFACE + PREFACE:
			c.raw(bytes([b]))
			c.is_silent(0.03)
	except Gone:
		pass
	check(c.closed, "still open")
	check(d.stat("limit_preface_time") >= 1)
	well_behaved(t, d)


@cases("a header block that is dribbled over %s is cut at the header time", [("HTTP/2", True), ("HTTP/1.1", False)])
def slow_headers(t, name, two):
	p, d = world(t, header_time="1s")
	# A SETTINGS ACK between the pieces of a header block would be an error of its own.
	c = t.h2(d, start=two, auto_ack=False)
	try:
		if two:
			c.raw(c.frame(HEADERS, 0, 1, c.encode(c.head(DEMO, GREETER))))
		else:
			c.raw(b"POST / HTTP/1.1\r\nHost: ")
		for _ in range(60):
			c.raw(c.frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b") if two else b"x")
			if two:
				c.is_silent(0.03)
			else:
				import select
				if select.select([c.sock], [], [], 0.03)[0]:
					break
		else:
			check(False, "still open")
	except Gone:
		pass
	check(d.stat("limit_header_time") >= 1)
	well_behaved(t, d)


# ---- malformed requests: the stream ends, the connection lives on ----------------------------------------------------------

def base_head():
	return [(":method", "POST"), (":scheme", "http"), (":path", GREETER), (":authority", DEMO), ("content-type", "application/grpc"), ("te", "trailers")]


def without(name):
	return [f for f in base_head() if f[0] != name]


MALFORMED = [
	("no :method", without(":method")), ("no :path", without(":path")), ("no :scheme", without(":scheme")),
	("an empty :path", [(k, "" if k == ":path" else v) for k, v in base_head()]),
	("two :path", base_head()[:4] + [(":path", "/b")] + base_head()[4:]),
	("an unknown pseudo-header", [(":color", "red")] + base_head()),
	("a response pseudo-header", [(":status", "200")] + base_head()),
	("a pseudo-header behind a field", base_head()[1:] + [base_head()[0]]),
	("an upper case name", base_head() + [("X-Upper", "1")]),
	("an empty name", base_head() + [("", "1")]),
	("a space in a name", base_head() + [("x y", "1")]),
	("a line feed in a value", base_head() + [("x", "a\nb")]),
	("a NUL in a value", base_head() + [("x", "a\0b")]),
	("connection", base_head() + [("connection", "close")]),
	("transfer-encoding", base_head() + [("transfer-encoding", "chunked")]),
	("te gzip", without("te") + [("te", "gzip")]),
	("two different lengths", base_head() + [("content-length", "5"), ("content-length", "6")]),
	("a length that is none", base_head() + [("content-length", "+5")]),
]


@cases("a request with %s is reset", MALFORMED)
def malformed(t, name, head):
	p, d = world(t)
	c = t.h2(d)
	sid = c.new_id()
	c.send_headers(sid, head)
	c.send_data(sid, grpc_message(b"hello"), end=True)
	st = c.result(sid)
	same((st.reset, st.headers), (PROTOCOL_ERROR, None))
	same(len(p.calls), 0, "it reached the provider")
	check(d.stat("h2_stream_errors") >= 1)
	lives(c)


@cases("a body that is %s than its content-length is reset", [("longer", "3"), ("shorter", "300")])
def wrong_length(t, name, length):
	p, d = world(t)
	c = t.h2(d)
	sid = c.request(DEMO, GREETER, grpc_message(b"hello"), extra=[("content-length", length)])
	st = c.result(sid)
	same(st.reset, PROTOCOL_ERROR)
	lives(c)


CONNECTION_ERRORS = [
	("DATA on stream 0", H2.frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
	("HEADERS on an even stream", H2.frame(HEADERS, 5, 2, b"\x82"), PROTOCOL_ERROR),
	("DATA on a stream never opened", H2.frame(DATA, 0, 9, b"x"), PROTOCOL_ERROR),
	("SETTINGS of five bytes", H2.frame(SETTINGS, 0, 0, b"12345"), FRAME_SIZE_ERROR),
	("PING of seven bytes", H2.frame(PING, 0, 0, b"1234567"), FRAME_SIZE_ERROR),
	("a broken header block", H2.frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff"), 9),
	("a frame above the largest size", H2.frame(DATA, 0, 1, bytes(16385)), FRAME_SIZE_ERROR),
	("an impossible INITIAL_WINDOW_SIZE", H2.frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), FLOW_CONTROL_ERROR),
	("an impossible MAX_FRAME_SIZE", H2.frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 0)), PROTOCOL_ERROR),
	("PUSH_PROMISE", H2.frame(5, 4, 1, struct.pack(">I", 2) + b"\x82"), PROTOCOL_ERROR),
	("CONTINUATION without HEADERS", H2.frame(CONTINUATION, 4, 1, b"\x82"), PROTOCOL_ERROR),
]


@cases("%s ends the connection with its code", CONNECTION_ERRORS)
def connection_error(t, name, frame, code):
	p, d = world(t)
	c = t.h2(d)
	c.wait(lambda: c.settings_acked)
	c.try_raw(frame)
	ended(c, code)
	check(d.stat("h2_protocol_errors") >= 1)
	well_behaved(t, d)


@case
def unknown_frames_and_settings_are_ignored(t):
	p, d = world(t)
	c = t.h2(d, settings={0x4d4d: 7, 65027: 1, 5: 8 << 20})
	for kind in (10, 12, 16, 99, 255):
		c.send(kind, 0xff, 0, b"whatever")
	c.send(PRIORITY, 0, 1, struct.pack(">IB", 0, 15))
	lives(c)


@case
def the_settings_of_a_Java_caller_are_fine(t):
	p, d = world(t)
	c = t.h2(d, settings={1: 4096, 2: 0, 3: 0x7fffffff, 4: 8388608, 5: 8388608, 6: 32768}, connection_window=16711681)
	c.next_id = 3
	st = c.call(DEMO, GREETER, b"m" * 300000)
	same((st.grpc_status, len(st.data)), (0, 300005))
	check(d.stat("h2_goaways_sent") == 0)


@case
def a_list_that_is_larger_than_the_caller_says_it_takes_is_no_reset(t):
	p, d = world(t)
	c = t.h2(d, settings={6: 10})
	same(c.call(DEMO, GREETER).grpc_status, 0)


@case
def HEADERS_on_a_closed_stream_are_STREAM_CLOSED(t):
	p, d = world(t)
	c = t.h2(d)
	same(c.call(DEMO, GREETER).grpc_status, 0)
	same(c.call(DEMO, GREETER).grpc_status, 0)
	c.try_raw(c.frame(HEADERS, END_STREAM | END_HEADERS, 1, c.encode(c.head(DEMO, GREETER))))
	ended(c, (STREAM_CLOSED, PROTOCOL_ERROR))
	well_behaved(t, d)


@case
def above_the_soft_memory_limit_new_calls_are_RESOURCE_EXHAUSTED_and_the_old_ones_live(t):
	flood = RawProvider(t, flooder)
	p = Provider(t, "a")
	d = t.daemon({DEMO: [p.address], "flood:1": [flood.address]}, limits={"memory": "16MiB", "memory_soft": 20, "memory_hard": 95, "window_up": "1MiB", "reader_budget": 0})
	held = t.h2(d)
	waiting = held.request(DEMO, SLEEP, grpc_message(b"x"))
	until(lambda: p.calls, 3, "the first call")
	# Readers that read nothing: what comes for them stays with us.
	lazy = t.h2(d, settings={INITIAL_WINDOW_SIZE: 0}, auto_window=False)
	for _ in range(6):
		lazy.request("flood:1", GREETER, grpc_message(b"x"))
	other = t.h2(d)
	st = until(lambda: (lambda st: st if st.grpc_status != 0 else None)(other.call(DEMO, GREETER)), 5, "a refusal")
	same((st.grpc_status, st.headers[":status"]), (8, "200"))
	check(d.stat("limit_memory_soft") >= 1)
	p.echo.release.set()
	same(held.result(waiting).grpc_status, 0)
	lazy.close()
	until(lambda: other.call(DEMO, GREETER).grpc_status == 0, 5, "room after the readers are gone")
	same(other.goaways, [])


def flooder(c):
	started = []
	while True:
		c.wait(lambda: len(c.order) > len(started), 60)
		for sid in c.order[len(started):]:
			started.append(sid)
			c.send_headers(sid, [(":status", "200"), ("content-type", "application/grpc")])
			c.send_data(sid, bytes(900000), timeout_s=10)
