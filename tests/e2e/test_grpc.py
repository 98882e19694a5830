"""gRPC as a real SDK speaks it (C-core, by python3-grpcio) on both sides of the daemon, over its Unix socket."""
import threading

import grpc

from h2raw import CANCEL, NO_ERROR, grpc_message
from harness import DEMO, GREETER, Failed, case, cases, check, same, until
from providers import Provider, RawProvider, echo_all

P = "/t.Echo/"


def world(t, **kw):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]}, **kw)
	return p, d, t.channel(d)


def code_of(fn):
	"""(code name, details) of a call that must fail."""
	try:
		got = fn()
	except grpc.RpcError as e:
		return e.code().name, e.details()
	raise Failed("the call came back with %r" % (got,))


@case
def a_unary_call_comes_back(t):
	p, d, ch = world(t)
	same(ch.unary_unary(GREETER)(b"hello", timeout=60), b"hello")
	same(p.last.path, GREETER)


@case
def a_client_stream_is_summed_up_by_the_provider(t):
	p, d, ch = world(t)
	got = ch.stream_unary(P + "upload")((bytes(1000) for _ in range(50)), timeout=60)
	same(got, b"50000 50")


@case
def a_server_stream_arrives_whole_and_in_order(t):
	p, d, ch = world(t)
	got = list(ch.unary_stream(P + "download")(b"200 3000", timeout=60))
	same([m[0] for m in got], [i % 251 for i in range(200)])
	same({len(m) for m in got}, {3000})


@case
def a_bidirectional_stream_is_a_conversation(t):
	p, d, ch = world(t)
	answered = threading.Semaphore(1)
	asked = []

	def ask():
		for i in range(100):
			check(answered.acquire(timeout=60), "no answer to question", i)
			asked.append(b"%d" % i)
			yield asked[-1]
	got = []
	for m in ch.stream_stream(P + "chat")(ask(), timeout=60):
		got.append(m)
		answered.release()
	same(got, [b"%d" % i for i in range(100)])


@case
def streams_without_a_message_and_empty_messages_are_kept_apart(t):
	p, d, ch = world(t)
	same(list(ch.stream_stream(P + "chat")(iter(()), timeout=60)), [])
	same(list(ch.stream_stream(P + "chat")(iter((b"", b"x", b"")), timeout=60)), [b"", b"x", b""])
	same(ch.unary_unary(P + "unary")(b"", timeout=60), b"")
	same(ch.stream_unary(P + "upload")(iter(()), timeout=60), b"0 0")


@case
def metadata_pass_both_ways_untouched(t):
	p, d, ch = world(t)
	every_byte = bytes(range(256))
	sent = [("plain", "text, with = signs; and spaces"), ("many", "1"), ("many", "2"), ("many", "3"), ("raw-bin", every_byte),
		("initial-greeting", "hi"), ("initial-blob-bin", every_byte), ("trailing-parting", "bye"), ("trailing-blob-bin", every_byte[::-1]),
		("tri-service-version", "1.0.0"), ("tri-consumer-appname", "shop"), ("tri-header-convert", "%7B%22a%22%3A%22A%22%7D")]
	got, call = ch.unary_unary(P + "unary").with_call(b"x", timeout=60, metadata=sent)
	seen = [(k, v) for k, v in p.last.metadata]
	for k, v in sent:
		check((k, v) in seen, "the provider misses", k, v, seen)
	same([v for k, v in seen if k == "many"], ["1", "2", "3"])
	initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
	same((initial["greeting"], initial["blob-bin"]), ("hi", every_byte))
	same((trailing["parting"], trailing["blob-bin"], trailing["who"]), ("bye", every_byte[::-1], "a"))
	check("parting" not in initial and "greeting" not in trailing, "initial and trailing metadata are mixed up")


@case
def metadata_of_30_KiB_reach_the_provider(t):
	p, d, ch = world(t)
	sent = [("big-%02d" % i, "v" * 1000) for i in range(28)]
	ch.unary_unary(P + "unary")(b"x", timeout=60, metadata=sent)
	same([(k, v) for k, v in p.last.metadata if k.startswith("big-")], sent)


@case
def initial_and_trailing_metadata_of_20_KiB_reach_the_caller(t):
	# The provider repeats what it was told, so each list is sent up first, in a call of its own.
	p, d, ch = world(t)
	for kind in ("initial", "trailing"):
		sent = [("%s-big-%02d" % (kind, i), "%02d" % i * 500) for i in range(20)]
		got, call = ch.unary_unary(P + "unary").with_call(b"x", timeout=60, metadata=sent)
		came = dict(call.initial_metadata() if kind == "initial" else call.trailing_metadata())
		for k, v in sent:
			same(came.get(k.partition("-")[2]), v, k)


@cases("a message of %s comes back unchanged", [("1 MiB", 1 << 20), ("4 MiB", 1 << 22)])
def big_message(t, name, size):
	p, d, ch = world(t)
	body = bytes(i * 7 % 251 for i in range(4096)) * (size // 4096)
	check(ch.unary_unary(P + "unary")(body, timeout=60) == body, "the answer differs")


@case
def streams_of_big_messages_flow_both_ways_at_once(t):
	p, d, ch = world(t)
	piece = b"z" * (256 << 10)
	got = list(ch.stream_stream(P + "chat")((piece for _ in range(16)), timeout=60))
	check(got == [piece] * 16, "got", [len(g) for g in got])


@case
def a_compressed_message_passes(t):
	p, d, ch = world(t)
	body = b"compress me " * 1000
	same(ch.unary_unary(P + "unary")(body, timeout=60, compression=grpc.Compression.Gzip), body)


@case
def every_status_code_passes_with_its_text(t):
	p, d, ch = world(t)
	for code in grpc.StatusCode:
		if code is grpc.StatusCode.OK:
			continue
		said = "no: %d «schlecht» 不行 \U0001F980 100%%" % code.value[0]
		got = code_of(lambda: ch.unary_unary(P + "unary")(b"x", timeout=60,
			metadata=[("fail-code", str(code.value[0])), ("fail-text-bin", said.encode()), ("trailing-why", "because")]))
		same(got, (code.name, said))


@case
def a_status_after_some_messages_ends_the_stream_with_both(t):
	p, d, ch = world(t)

	class Partial(type(p.echo)):
		def download(self, request, seen, context):
			yield b"one"
			yield b"two"
			context.abort(grpc.StatusCode.DATA_LOSS, "the rest is gone")
	p.stop()
	p.echo = Partial("a")
	p.restart()
	call = ch.unary_stream(P + "download")(b"", timeout=60)
	got = []
	name, text = code_of(lambda: [got.append(m) for m in call])
	same((got, name, text), ([b"one", b"two"], "DATA_LOSS", "the rest is gone"))


@case
def a_method_that_the_provider_lacks_is_the_providers_answer(t):
	p, d, ch = world(t)
	same(code_of(lambda: ch.unary_unary(P + "missing")(b"x", timeout=60)), ("UNIMPLEMENTED", "Method not found!"))


@case
def an_exception_in_the_provider_is_UNKNOWN(t):
	p, d, ch = world(t)

	class Broken(type(p.echo)):
		def unary(self, request, seen, context):
			raise ValueError("boom")
	p.stop()
	p.echo = Broken("a")
	p.restart()
	name, text = code_of(lambda: ch.unary_unary(P + "unary")(b"x", timeout=60))
	same(name, "UNKNOWN")
	check("boom" in text, text)


# ---- deadlines -----------------------------------------------------------------------------------------------------------

@case
def the_callers_deadline_ends_the_call_and_cancels_the_provider(t):
	p, d, ch = world(t)
	# A short one may end before the provider is reached at all.
	for time_s in (0.2, 2, 20):
		same(code_of(lambda: ch.unary_unary(P + "sleep")(b"x", timeout=time_s))[0], "DEADLINE_EXCEEDED")
		if p.calls:
			break
	# C-core rounds what it reads; what is on the wire is looked at below.
	check(0 < p.last.remaining_s <= time_s * 1.25, "the provider was given", p.last.remaining_s, "of", time_s)
	check(p.last.cancelled.wait(30), "the provider still works on it")


@cases("%s is a deadline that the daemon keeps", [
	("grpc-timeout in milliseconds", "application/grpc", [("grpc-timeout", "150m")]),
	("grpc-timeout in microseconds", "application/grpc", [("grpc-timeout", "99999u")]),
	("grpc-timeout in nanoseconds", "application/grpc+proto", [("grpc-timeout", "1n")]),
	("x-envoy-upstream-rq-timeout-ms", "application/grpc", [("x-envoy-upstream-rq-timeout-ms", "120")]),
	("the least of two headers", "application/grpc", [("grpc-timeout", "20S"), ("x-envoy-upstream-rq-timeout-ms", "120")]),
	("tri-service-timeout", "application/json", [("tri-service-timeout", "120")]),
	("triple-timeout-ms", "application/proto", [("triple-timeout-ms", "120")]),
])
def deadline(t, name, content_type, extra):
	silent = RawProvider(t, lambda c: c.wait_closed(60))
	d = t.daemon({DEMO: [silent.address]})
	with t.h2(d) as c:
		# Over a connection that is there already: a provider that is slow to greet costs the call nothing of its short time.
		first = c.request(DEMO, GREETER, grpc_message(b"x"))
		until(lambda: silent.connections and silent.connections[0].order, 3, "the first call at the provider")
		c.send_reset(first)
		up = silent.connections[0]
		until(lambda: up.streams[up.order[0]].reset == CANCEL, 3, "its end")
		body = grpc_message(b"x") if "grpc" in content_type else b'["x"]'
		st = c.result(c.request(DEMO, GREETER, body, content_type=content_type, extra=extra), 5)
		if "grpc" in content_type:
			same((st.headers[":status"], st.grpc_status), ("200", 4))
			check(st.headers["content-type"].startswith("application/grpc"), st)
		else:
			same(st.headers[":status"], "504")
			check("json" in st.headers["content-type"] and bytes(st.data).startswith(b"{"), st)
	d.wait_stat("deadlines_exceeded", 1)
	if "1n" not in extra[0]:
		# One nanosecond may be over before anything was sent.
		until(lambda: up.order[1:] and up.streams[up.order[1]].reset == CANCEL, 3, "RST_STREAM(CANCEL) at the provider")
	same(c.goaways, [], "the app is never sent a GOAWAY")


@case
def the_remaining_time_goes_to_the_provider(t):
	raw = RawProvider(t, echo_all)
	d = t.daemon({DEMO: [raw.address]})
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER, extra=[("grpc-timeout", "90500m")])
		same(st.grpc_status, 0)
		sent = raw.connections[0].streams[1].headers["grpc-timeout"]
		unit = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "S": 1, "M": 60, "H": 3600}[sent[-1]]
		check(len(sent) <= 9 and 45 < int(sent[:-1]) * unit <= 90.5, "grpc-timeout", sent)


@case
def a_services_own_timeout_is_kept_where_the_caller_names_none(t):
	silent = RawProvider(t, lambda c: c.wait_closed(60))
	d = t.daemon({DEMO: {"endpoints": [silent.address], "timeout": "150ms"}})
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).grpc_status, 4)


# ---- cancellation --------------------------------------------------------------------------------------------------------

@case
def a_cancelled_unary_call_is_cancelled_at_the_provider(t):
	p, d, ch = world(t)
	call = ch.unary_unary(P + "sleep").future(b"x", timeout=60)
	until(lambda: p.calls, 3, "the call at the provider")
	call.cancel()
	check(p.last.cancelled.wait(30), "the provider still works on it")
	until(lambda: d.active_calls() == 0, 3, "no active call")


@case
def a_cancelled_stream_is_cancelled_at_the_provider(t):
	p, d, ch = world(t)
	call = ch.unary_stream(P + "endless")(b"tick", timeout=60)
	for _ in range(20):
		same(next(call), b"tick")
	call.cancel()
	check(p.last.cancelled.wait(30), "the provider still sends")
	same(ch.unary_unary(P + "unary")(b"next", timeout=60), b"next")


@case
def a_caller_that_dies_cancels_all_its_calls(t):
	p, d, _ = world(t)
	c = t.h2(d)
	for _ in range(5):
		c.request(DEMO, P + "sleep", grpc_message(b"x"))
	until(lambda: len(p.calls) == 5, 3, "five calls at the provider")
	c.close()
	for seen in p.calls:
		check(seen.cancelled.wait(30), "the provider still works for a dead caller")
	until(lambda: d.active_calls() == 0, 3, "no active call")


@case
def a_provider_that_aborts_in_the_middle_ends_only_that_call(t):
	p, d, ch = world(t)
	other = Provider(t, "b")
	d.reload(t.config({DEMO: [p.address], "other:1": [other.address]}))
	call = ch.unary_stream(P + "endless")(b"tick", timeout=60)
	next(call)
	second = t.channel(d, "other:1").stream_stream(P + "hold")(iter(lambda: b"x", None), timeout=60)
	next(second)
	p.stop(0)
	name, _ = code_of(lambda: [None for _ in call])
	check(name in ("UNAVAILABLE", "CANCELLED", "UNKNOWN"), name)
	next(second)
	second.cancel()


# ---- shapes that proxies get wrong ---------------------------------------------------------------------------------------

@case
def an_answer_before_the_end_of_the_request_is_delivered_whole(t):
	p, d, ch = world(t)
	gate = threading.Event()

	def slow():
		yield b"first"
		gate.wait(60)
	got = ch.stream_unary(P + "early")(slow(), timeout=60)
	gate.set()
	same(got, b"enough")
	same(ch.unary_unary(P + "unary")(b"next", timeout=60), b"next")


@case
def an_early_answer_with_a_reset_NO_ERROR_is_a_success(t):
	def early(c):
		st = c.accept()
		c.wait(lambda: len(st.data) > 0)
		c.answer(st.id, b"enough")
		c.send_reset(st.id, NO_ERROR)
		c.wait_closed(60)
	raw = RawProvider(t, early)
	d = t.daemon({DEMO: [raw.address]})
	with t.h2(d) as c:
		sid = c.request(DEMO, GREETER, grpc_message(b"x" * 1000), end=False)
		st = c.result(sid)
		same((bytes(st.data), st.grpc_status), (grpc_message(b"enough"), 0))
		c.wait(lambda: st.reset is not None, 3)
		same((st.reset, c.goaways), (NO_ERROR, []))


@case
def the_half_close_reaches_the_provider_before_its_answer(t):
	p, d, ch = world(t)
	call = ch.stream_stream(P + "hold")(iter((b"a", b"b")), timeout=60)
	same(list(call), [b"here", b"a", b"b"])


@case
def a_trailers_only_answer_stays_one(t):
	def refuse(c):
		st = c.accept()
		c.answer(st.id, None, 7, trailers=[("grpc-message", "not%20you"), ("x-why", "because")])
		c.wait_closed(60)
	raw = RawProvider(t, refuse)
	d = t.daemon({DEMO: [raw.address]})
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same((st.trailers, bytes(st.data), st.headers["grpc-status"], st.headers["grpc-message"], st.headers["x-why"]),
			(None, b"", "7", "not%20you", "because"))


@case
def a_thousand_calls_on_one_channel_each_get_their_own_answer(t):
	p, d, ch = world(t)
	unary = ch.unary_unary(P + "unary")
	running = []
	for i in range(1000):
		running.append((i, unary.future(b"call %d" % i, timeout=60)))
		if len(running) >= 32:
			n, f = running.pop(0)
			same(f.result(), b"call %d" % n)
	for n, f in running:
		same(f.result(), b"call %d" % n)
	same((len(p.calls), d.stat("calls_failed")), (1000, 0))


@case
def cancelled_calls_by_the_hundred_never_close_the_connection(t):
	p, d, _ = world(t)
	with t.h2(d) as c:
		for _ in range(1000):
			sid = c.request(DEMO, P + "sleep", grpc_message(b"x"))
			c.send_reset(sid)
		same(c.call(DEMO, GREETER, timeout_s=10).grpc_status, 0)
		same(c.goaways, [])
	until(lambda: d.active_calls() == 0, 5, "no active call")


@case
def two_hundred_calls_at_once_fit_one_connection(t):
	p = Provider(t, threads=210)
	d = t.daemon({DEMO: [p.address]})
	with t.h2(d) as c:
		ids = [c.request(DEMO, P + "sleep", grpc_message(b"%d" % i)) for i in range(200)]
		until(lambda: len(p.calls) == 200, 10, "200 calls at the provider")
		p.echo.release.set()
		for i, sid in enumerate(ids):
			st = c.result(sid, 10)
			same((bytes(st.data), st.grpc_status), (grpc_message(b"%d" % i), 0))


@case
def a_stalled_reader_stops_the_sender_and_nobody_else(t):
	sent = []

	def flood(c):
		st = c.accept()
		c.send_headers(st.id, [(":status", "200"), ("content-type", "application/grpc")])
		piece = grpc_message(bytes(16000))
		while st.reset is None:
			c.send_data(st.id, piece, timeout_s=60)
			sent.append(len(piece))
	raw = RawProvider(t, flood)
	p = Provider(t)
	d = t.daemon({DEMO: [raw.address], "other:1": [p.address]})
	before = d.rss_kib()
	stalled = t.h2(d, auto_window=False, settings={4: 65535}, connection_window=0)
	sid = stalled.request(DEMO, GREETER, grpc_message(b"x"))
	stalled.wait(lambda: len(stalled.stream(sid).data) >= 65535, 5)
	# It has stopped when two looks, with calls of others between them, see the same.
	ch = t.channel(d, "other:1")

	def settled():
		had = sum(sent)
		for _ in range(10):
			same(ch.unary_unary(P + "unary")(b"x", timeout=60), b"x")
		return sum(sent) == had
	until(settled, 5, "the sender to stop")
	check(sum(sent) < 4 << 20, "the provider could send", sum(sent), "bytes to a reader that has taken 64 KiB")
	d.check_growth(before, 6 << 10)
	stalled.auto_window = True
	stalled.send_window(0, 1 << 20)
	stalled.send_window(sid, 1 << 20)
	want = len(stalled.stream(sid).data) + (512 << 10)
	stalled.wait(lambda: len(stalled.stream(sid).data) > want, 5)
