"""Providers that misbehave: their garbage hurts only the calls on that connection, and what they refuse goes elsewhere."""
import struct
import threading

from h2raw import (CANCEL, DATA, END_HEADERS, END_STREAM, Gone, H2, HEADERS, INITIAL_WINDOW_SIZE, INTERNAL_ERROR, MAX_CONCURRENT_STREAMS, NO_ERROR,
	PING, REFUSED_STREAM, SETTINGS, grpc_message)
from harness import DEMO, GREETER, PATIENCE, case, cases, check, same, until
from providers import Provider, RawProvider, echo_all

OK_HEAD = [(":status", "200"), ("content-type", "application/grpc")]


def pair(t, serve, **raw):
	"""A service whose first provider is `serve` and whose second is honest; both are tried in turn."""
	bad = RawProvider(t, serve, **raw)
	good = Provider(t, "good")
	# The bad one that never greets is given up soon; the good one has the time that it needs.
	d = t.daemon({DEMO: {"endpoints": [bad.address, good.address], "lb": "round_robin", "connect_timeout": "2s"}, "bad:1": {"endpoints": [bad.address], "connect_timeout": "300ms"},
		"good:1": [good.address]})
	return bad, good, d


def only(t, serve, service=None, **raw):
	bad = RawProvider(t, serve, **raw)
	d = t.daemon({DEMO: dict({"endpoints": [bad.address]}, **(service or {}))})
	return bad, d


def each(serve_one):
	"""Serves request after request on a connection; returns when serve_one says False."""
	def serve(c):
		while True:
			st = c.accept(60)
			c.wait(lambda: st.over, 10)
			if serve_one(c, st) is False:
				return
	return serve


# ---- what is refused moves on ----------------------------------------------------------------------------------------------

@case
def REFUSED_STREAM_moves_the_call_to_another_provider(t):
	bad, good, d = pair(t, each(lambda c, st: c.send_reset(st.id, REFUSED_STREAM)))
	with t.h2(d) as c:
		for _ in range(10):
			st = c.call(DEMO, GREETER)
			same((st.grpc_status, st.trailers["who"]), (0, "good"))
	check(d.stat("calls_moved") >= 1)


@case
def a_call_that_everybody_refuses_is_UNAVAILABLE_after_a_few_attempts(t):
	bad, d = only(t, each(lambda c, st: c.send_reset(st.id, REFUSED_STREAM)))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same(st.grpc_status, 14)
	check(sum(len(c.order) for c in bad.connections) <= 10, "attempts:", sum(len(c.order) for c in bad.connections))


@case
def a_refused_stream_with_a_body_is_sent_again_whole(t):
	bad, good, d = pair(t, each(lambda c, st: c.send_reset(st.id, REFUSED_STREAM)))
	body = bytes(range(256)) * 100
	with t.h2(d) as c:
		for _ in range(6):
			st = c.call(DEMO, GREETER, body)
			same((st.grpc_status, bytes(st.data)), (0, grpc_message(body)))


@case
def a_refused_stream_that_has_sent_too_much_is_UNAVAILABLE(t):
	def refuse_late(c):
		st = c.accept(30)
		c.wait(lambda: len(st.data) > 100000, 10)
		c.send_reset(st.id, REFUSED_STREAM)
		c.wait_closed(30)
	bad = RawProvider(t, refuse_late)
	d = t.daemon({DEMO: [bad.address]}, limits={"replay_bytes": "16KiB"})
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER, bytes(200000))
		same(st.grpc_status, 14)
	same(d.stat("replay_overflows"), 1)


@case
def a_provider_that_closes_at_accept_is_passed_by(t):
	bad, good, d = pair(t, lambda s: s.close(), wrap=False)
	with t.h2(d) as c:
		for _ in range(20):
			same(c.call(DEMO, GREETER).trailers["who"], "good")
		same(c.call("bad:1", GREETER).grpc_status, 14)
		same(c.goaways, [])


@case
def a_GOAWAY_below_the_stream_moves_it(t):
	def serve(c):
		st = c.accept(60)
		c.wait(lambda: st.over, 5)
		c.send_goaway(0)
		c.wait_closed(30)
	bad, good, d = pair(t, serve)
	with t.h2(d) as c:
		for _ in range(6):
			same(c.call(DEMO, GREETER).trailers["who"], "good")
	check(d.stat("calls_moved") >= 1 and d.stat("h2_goaways_received") >= 1)


@case
def a_graceful_GOAWAY_fails_no_call_and_the_next_one_takes_a_new_connection(t):
	def serve(c):
		me = len(raw.connections)
		before = c.accept(60)
		c.wait(lambda: before.over, 5)
		c.answer(before.id, b"from connection %d" % me)
		first = c.accept(60)
		c.wait(lambda: first.over, 5)
		c.send_goaway(0x7fffffff, NO_ERROR, b"app_requested")
		c.send_ping(struct.pack(">Q", 0x97ACEF001))
		c.wait(lambda: c.ping_acks, 5)
		c.send_goaway(first.id)
		c.answer(first.id, b"from connection %d" % me)
		c.wait_closed(30)
	raw = RawProvider(t, serve)
	d = t.daemon({DEMO: [raw.address]})
	with t.h2(d) as c:
		for i in (1, 1, 2, 2, 3, 3):
			st = c.call(DEMO, GREETER)
			same((st.grpc_status, bytes(st.data)), (0, grpc_message(b"from connection %d" % i)))
		same(c.goaways, [])
	same(raw.errors, [])


@case
def streams_up_to_the_last_id_finish_and_later_ones_move(t):
	def serve(c):
		if len(bad.connections) > 1:
			return echo_all(c)       # what moved may come back on a new connection
		a, b, e = c.accept(10), c.accept(10), c.accept(10)
		c.wait(lambda: e.over, 5)
		c.send_goaway(a.id)
		c.answer(a.id, b"kept")
		c.wait_closed(30)
	bad = RawProvider(t, serve)
	good = Provider(t, "good")
	d = t.daemon({DEMO: [bad.address]})
	with t.h2(d) as c:
		ids = [c.request(DEMO, GREETER, grpc_message(b"%d" % i), end=False) for i in range(3)]
		until(lambda: bad.connections and len(bad.connections[0].order) == 3, 3, "three calls at the provider")
		d.reload(t.config({DEMO: [bad.address, good.address]}))
		for sid in ids:
			c.send_data(sid, b"", end=True)
		results = [c.result(sid, 8) for sid in ids]
		same([st.grpc_status for st in results], [0, 0, 0])
		same(bytes(results[0].data), grpc_message(b"kept"))


@case
def a_GOAWAY_whose_last_id_grows_does_no_harm(t):
	def serve(c):
		st = c.accept(60)
		c.wait(lambda: st.over, 5)
		c.send_goaway(st.id)
		c.send_goaway(st.id + 100)
		c.answer(st.id)
		c.wait_closed(30)
	bad, good, d = pair(t, serve)
	with t.h2(d) as c:
		for _ in range(6):
			check(c.call(DEMO, GREETER).grpc_status in (0, 14))
		same(c.call("good:1", GREETER).grpc_status, 0)


# ---- garbage ---------------------------------------------------------------------------------------------------------------

GARBAGE = [
	("noise", bytes(range(256)) * 4),
	("HTTP/1.1", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
	("a TLS alert", b"\x15\x03\x01\x00\x02\x02\x46"),
	("a frame above the largest size", H2.frame(SETTINGS, 0, 0, b"") + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(70000)),
	("MAX_FRAME_SIZE 0", H2.frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 0))),
	("an impossible window", H2.frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0xffffffff))),
	("HEADERS of a stream never opened", H2.frame(SETTINGS, 0, 0, b"") + H2.frame(HEADERS, 5, 1, b"\x88")),
	("a push", H2.frame(SETTINGS, 0, 0, b"") + H2.frame(5, 4, 1, struct.pack(">I", 2) + b"\x82\x86\x84")),
]


@cases("a provider that answers with %s makes its calls UNAVAILABLE and no others", GARBAGE)
def garbage(t, name, data):
	def serve(s):
		s.recv(65536)
		try:
			s.sendall(data)
			while s.recv(65536):
				pass
		except OSError:
			pass
	bad, good, d = pair(t, serve, wrap=False)
	with t.h2(d) as c:
		held = c.request("good:1", "/t.Echo/sleep", grpc_message(b"x"))
		until(lambda: good.calls, 3, "the honest call")
		st = c.call("bad:1", GREETER, timeout_s=8, extra=[("grpc-timeout", "60S")])
		same(st.grpc_status, 14)
		good.echo.release.set()
		same(c.result(held).grpc_status, 0)
		for _ in range(6):
			same(c.call(DEMO, GREETER).trailers["who"], "good")
		same(c.goaways, [])


MALFORMED = [
	("no :status", [("content-type", "application/grpc")]),
	("a wrong :status", [(":status", "20x")]),
	("a request pseudo-header", [(":status", "200"), (":path", "/")]),
	("an upper case name", OK_HEAD + [("X-A", "b")]),
	("a line feed in a value", OK_HEAD + [("x", "a\r\nb: c")]),
	("connection", OK_HEAD + [("connection", "close")]),
]


@cases("an answer with %s is UNAVAILABLE", MALFORMED)
def malformed(t, name, head):
	def one(c, st):
		c.send_headers(st.id, head)
		c.send_data(st.id, grpc_message(b"x"))
		try:
			c.send_headers(st.id, [("grpc-status", "0")], end=True)
		except Gone:
			pass
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same((st.grpc_status, st.headers[":status"]), (14, "200"))
		same(c.goaways, [])


@case
def a_second_header_list_without_an_end_is_no_hang(t):
	def one(c, st):
		c.send_headers(st.id, OK_HEAD)
		c.send_headers(st.id, OK_HEAD)
		c.send_data(st.id, grpc_message(b"x"))
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		check(st.reset is not None or st.grpc_status not in (None, 0), st)
		same(c.goaways, [])


@case
def DATA_before_HEADERS_is_UNAVAILABLE(t):
	def one(c, st):
		c.send_data(st.id, grpc_message(b"x"), end=True)
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).grpc_status, 14)


@case
def an_oversize_header_list_of_a_provider_is_a_local_answer(t):
	def one(c, st):
		c.send_headers(st.id, OK_HEAD + [("x-%d" % i, "v" * 1000) for i in range(36)] + [("grpc-status", "0")], end=True)
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		check(st.grpc_status in (8, 14), st)
		check(d.stat("limit_header_bytes") >= 1)
		same(c.goaways, [])


@case
def a_provider_that_dies_in_the_middle_ends_the_call(t):
	def one(c, st):
		c.send_headers(st.id, OK_HEAD)
		c.send_data(st.id, grpc_message(b"part"))
		c.close(reset=True)
		return False
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		check(st.reset is not None or st.grpc_status == 14, st)
		same(c.goaways, [])


@case
def a_provider_that_dies_before_its_answer_is_UNAVAILABLE_and_not_asked_twice(t):
	def one(c, st):
		c.close()
		return False
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).grpc_status, 14)
	same(sum(len(c.order) for c in bad.connections), 1, "the call was begun by the provider and may have run")


@cases("RST_STREAM %s of a provider becomes a status", [("INTERNAL_ERROR", INTERNAL_ERROR), ("CANCEL", CANCEL)])
def reset(t, name, code):
	bad, d = only(t, each(lambda c, st: c.send_reset(st.id, code)))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		check(st.grpc_status is not None and st.grpc_status != 0, st)
		same(c.goaways, [])


# ---- slowness ----------------------------------------------------------------------------------------------------------------

@case
def a_provider_that_allows_no_stream_yet_makes_the_call_wait(t):
	opened = threading.Event()

	def serve(c):
		c.wait(lambda: c.settings_acked, 5)
		opened.wait(60)
		c.send_settings({MAX_CONCURRENT_STREAMS: 1})
		echo_all(c)
	bad, d = only(t, serve, settings={MAX_CONCURRENT_STREAMS: 0})
	with t.h2(d) as c:
		ids = [c.request(DEMO, GREETER, grpc_message(b"%d" % i)) for i in range(3)]
		until(lambda: bad.connections, 3, "the connection")
		c.is_silent(0.1)
		check(not any(c.stream(s).over for s in ids))
		opened.set()
		for i, sid in enumerate(ids):
			st = c.result(sid, 8)
			same((st.grpc_status, bytes(st.data)), (0, grpc_message(b"%d" % i)))


@case
def a_provider_that_never_reads_stops_the_caller_and_the_deadline_ends_it(t):
	def serve(s):
		s.setsockopt(1, 8, 4096)
		s.sendall(H2.frame(SETTINGS, 0, 0, b""))
		gate.wait(60)
	gate = threading.Event()
	t.after(gate.set)
	bad, d = only(t, serve, wrap=False)
	before = d.rss_kib()
	with t.h2(d) as c:
		sid = c.request(DEMO, GREETER, end=False, extra=[("grpc-timeout", "700m")])
		sent = 0
		try:
			while sent < 8 << 20 and not c.stream(sid).over:
				c.send_data(sid, bytes(16384), timeout_s=0.2)
				sent += 16384
		except TimeoutError:
			pass
		check(sent < 1 << 20, "the caller could send", sent)
		d.check_growth(before, 5 << 10)
		same(c.result(sid, 5).grpc_status, 4)
		same(c.goaways, [])
	gate.set()


@case
def a_window_that_shrinks_below_zero_only_pauses(t):
	def serve(c):
		st = c.accept(10)
		c.wait(lambda: len(st.data) >= 20000, 5)
		c.send_settings({INITIAL_WINDOW_SIZE: 10})
		c.wait(lambda: c.settings_acked >= 2, 5)
		c.send_settings({INITIAL_WINDOW_SIZE: 1 << 20})
		c.auto_window = True
		c.send_window(0, 1 << 20)
		c.wait(lambda: st.over, 5)
		c.answer(st.id, b"%d" % len(st.data))
		c.wait_closed(30)
	bad, d = only(t, serve, settings={INITIAL_WINDOW_SIZE: 40000}, auto_window=False)
	with t.h2(d) as c:
		body = bytes(300000)
		st = c.call(DEMO, GREETER, body, timeout_s=8)
		same((st.grpc_status, bytes(st.data)), (0, grpc_message(b"300005")))


# ---- answers that real providers give and proxies trip over --------------------------------------------------------------------

@case
def informational_answers_are_swallowed(t):
	def one(c, st):
		for status in ("100", "103", "103"):
			c.send_headers(st.id, [(":status", status), ("link", "</x>")])
		c.answer(st.id, b"after")
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same((st.grpc_status, bytes(st.data), st.informational), (0, grpc_message(b"after"), []))
	same(d.stat("h2_informational"), 3)


@case
def trailers_only_with_status_500_keeps_its_grpc_status(t):
	def one(c, st):
		c.send_headers(st.id, [(":status", "500"), ("content-type", "application/grpc"), ("grpc-status", "13"), ("grpc-message", "Invoker failed")], end=True)
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same((st.grpc_status, st.grpc_message), (13, "Invoker failed"))
	same(d.stat("calls_failed"), 0)


@case
def te_in_an_answer_is_tolerated(t):
	def one(c, st):
		c.answer(st.id, b"java", head=[("te", "trailers")])
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same((st.grpc_status, bytes(st.data)), (0, grpc_message(b"java")))


@case
def a_grpc_message_in_raw_UTF8_passes(t):
	said = "nicht gefunden: «Grüße» 你好"

	def one(c, st):
		c.answer(st.id, None, 5, trailers=[("grpc-message", said)])
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same(st.grpc_status, 5)
		from urllib.parse import unquote
		same(unquote(st.grpc_message), said)


@case
def alt_svc_and_closing_are_not_relayed(t):
	def one(c, st):
		c.answer(st.id, b"x", head=[("alt-svc", 'h3=":443"'), ("closing", "true"), ("x-kept", "1")], trailers=[("closing", "true"), ("x-also", "2")])
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same((st.headers.get("x-kept"), st.trailers.get("x-also"), st.grpc_status), ("1", "2", 0))
		for fields in (st.headers, st.trailers):
			check("alt-svc" not in fields and "closing" not in fields, fields)


@case
def a_business_exception_is_no_failure(t):
	def one(c, st):
		c.answer(st.id, b"wrapped", head=[("tri-exception-code", "3")])
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same((st.headers["tri-exception-code"], bytes(st.data), st.grpc_status), ("3", grpc_message(b"wrapped"), 0))
	same(d.stat("calls_failed"), 0)


@case
def a_plain_HTTP_answer_without_trailers_passes(t):
	def one(c, st):
		c.send_headers(st.id, [(":status", "404"), ("content-type", "application/json")])
		c.send_data(st.id, b'{"status":"50"}', end=True)
	bad, d = only(t, each(one))
	with t.h2(d) as c:
		st = c.result(c.request(DEMO, GREETER, b"[]", content_type="application/json", te=False))
		same((st.headers[":status"], bytes(st.data), st.trailers), ("404", b'{"status":"50"}', None))


@case
def header_fields_reach_the_provider_in_order_and_nothing_is_added_twice(t):
	seen = []

	def one(c, st):
		seen.append(st.header_list)
		c.answer(st.id)
	bad, d = only(t, each(one))
	extra = [("tri-service-version", "1.0.0"), ("x-b", "2"), ("x-a", "1"), ("x-b", "3"), ("data-bin", "AAEC"), ("grpc-accept-encoding", "gzip")]
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER, extra=extra).grpc_status, 0)
	names = [k for k, _ in seen[0]]
	same([f for f in seen[0] if f[0] in dict(extra)], extra)
	same(sorted(k for k in set(names) if names.count(k) > 1), ["x-b"])
	same(dict(seen[0])["te"], "trailers")
	check(all(k.startswith(":") for k in names[:4]), names)


@case
def no_frame_limit_is_broken_toward_a_provider_with_a_Java_window(t):
	# It counts its connection window from 65536: a lift to 2^31-1 would end the connection.
	bad, d = only(t, echo_all, settings={1: 4096, 3: 0x7fffffff, 4: 8388608, 5: 8388608, 6: 32768})
	with t.h2(d) as c:
		body = bytes(200000)
		same(c.call(DEMO, GREETER, body).grpc_status, 0)
	c = bad.connections[0]
	check(c.window <= 0x7fffffff - 65536, "the connection window is", c.window)


# ---- policy ------------------------------------------------------------------------------------------------------------------

def flaky(fail):
	"""A provider that answers so many calls with UNAVAILABLE before each good one."""
	count = [0]

	def one(c, st):
		count[0] += 1
		if count[0] % (fail + 1):
			c.answer(st.id, None, 14, trailers=[("grpc-message", "try again")])
		else:
			c.answer(st.id, b"good")
	return count, each(one)


@case
def retries_are_made_where_the_service_asks_for_them(t):
	count, serve = flaky(2)
	bad, d = only(t, serve, {"retries": {"max": 2, "on": ["unavailable"]}})
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same((st.grpc_status, bytes(st.data), count[0]), (0, grpc_message(b"good"), 3))
	same(d.stat("retries"), 2)


@case
def without_retries_the_answer_is_the_providers(t):
	count, serve = flaky(2)
	bad, d = only(t, serve, {"retries": {"max": 0}})
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same((st.grpc_status, st.grpc_message, count[0]), (14, "try again", 1))


@case
def a_trusted_caller_may_ask_for_retries(t):
	count, serve = flaky(1)
	bad, d = only(t, serve, {"retries": {"max": 0}})
	with t.h2(d) as c:
		ask = [("x-envoy-retry-grpc-on", "unavailable"), ("x-envoy-max-retries", "1")]
		same((c.call(DEMO, GREETER, extra=ask).grpc_status, count[0]), (0, 2))
	check(not any(k.startswith("x-envoy-retry") or k.startswith("x-envoy-max") for k in bad.connections[0].streams[1].headers),
		"the provider is told", bad.connections[0].streams[1].headers)


@case
def x_envoy_headers_of_an_untrusted_listener_mean_nothing(t):
	silent = RawProvider(t, lambda c: c.wait_closed(60))
	d = t.daemon({DEMO: [silent.address]}, listen=[{"unix": t.path("s.sock"), "trusted": False}])
	with t.h2(d) as c:
		sid = c.request(DEMO, GREETER, grpc_message(b"x"), extra=[("x-envoy-upstream-rq-timeout-ms", "50")])
		c.is_silent(0.2)
		check(not c.stream(sid).over, c.stream(sid))
		same(c.call(DEMO, GREETER, extra=[("grpc-timeout", "50m")]).grpc_status, 4, "a deadline is anybody's right")


@case
def a_frozen_daemon_goes_on_without_a_failed_call(t):
	import signal
	good = Provider(t, "good")
	d = t.daemon({DEMO: [good.address]})
	with t.h2(d) as c:
		held = c.request(DEMO, "/t.Echo/sleep", grpc_message(b"x"), extra=[("grpc-timeout", "60S")])
		until(lambda: good.calls, 3, "the call at the provider")
		d.signal(signal.SIGSTOP)
		late = c.request(DEMO, GREETER, grpc_message(b"y"))
		good.echo.release.set()
		c.is_silent(1.2)
		d.signal(signal.SIGCONT)
		same((c.result(held).grpc_status, c.result(late).grpc_status), (0, 0))
		same(c.call(DEMO, GREETER).grpc_status, 0)
