"""What the daemon answers by itself: the app's health posts, the control socket, and HTTP/1.1 as curl speaks it."""
import json
import subprocess

from harness import DEMO, GREETER, case, cases, check, http1, raw_exchange, same, until
from h2raw import grpc_message
from providers import Provider, RawProvider


def curl(*args, stdin=None):
	done = subprocess.run(["curl", "-sS", "--max-time", "50"] + list(args), capture_output=True, input=stdin, timeout=60)
	check(done.returncode == 0, "curl ended with", done.returncode, done.stderr.decode())
	return done.stdout


def curl_status(*args, **kw):
	"""(status, body)"""
	out = curl("-w", "\n%{http_code}", *args, **kw)
	body, _, code = out.rpartition(b"\n")
	return int(code), body


VERSIONS = [("HTTP/1.1", ["--http1.1"]), ("HTTP/1.1 with an offer of h2c", ["--http2"]), ("HTTP/2", ["--http2-prior-knowledge"])]


@cases("the app says ok and fail over %s", VERSIONS)
def health(t, version, flags):
	d = t.daemon({DEMO: ["127.0.0.1:1"]})
	base = flags + ["--unix-socket", d.sock]
	answers = []
	for post in ("fail", "ok", "fail", "ok"):
		code, _ = curl_status(*base, "-X", "POST", "http://localhost/healthcheck/" + post)
		same(code, 200, post)

		def told():
			code, body = curl_status(*base, "http://any.authority.will.do/healthcheck")
			return code, json.loads(body)["state"]
		# Failing, and drained a moment later.
		answers.append(until(lambda: (lambda got: got if got[1] != "failing" else None)(told()), 5, "the app to be drained"))
	check(answers[0] != answers[1], "GET /healthcheck does not tell the state:", answers)
	same(answers[:2], answers[2:])


@cases("a wrong method or path of /healthcheck is refused over %s", VERSIONS)
def health_wrong(t, version, flags):
	d = t.daemon({DEMO: ["127.0.0.1:1"]})
	base = flags + ["--unix-socket", d.sock]
	code, _ = curl_status(*base, "http://localhost/healthcheck/ok")
	check(code in (404, 405), "GET /healthcheck/ok:", code)
	code, _ = curl_status(*base, "-X", "POST", "http://localhost/healthcheck/maybe")
	check(code in (404, 405), "POST /healthcheck/maybe:", code)


@case
def a_post_with_a_body_is_as_good_as_one_without(t):
	d = t.daemon({DEMO: ["127.0.0.1:1"]})
	same(curl_status("--unix-socket", d.sock, "-d", "{}", "http://x/healthcheck/ok")[0], 200)
	same(curl_status("--unix-socket", d.sock, "-d", "", "http://x/healthcheck/ok")[0], 200)


@case
def two_apps_have_two_states(t):
	conf = t.config({})
	conf["apps"].append({"name": "second", "listen": [{"unix": t.path("b.sock")}]})
	d = t.daemon(conf=conf)
	same(http1(d.sock, "POST", "/healthcheck/ok").status, 200)
	same(http1(t.path("b.sock"), "POST", "/healthcheck/fail").status, 200)
	a, b = http1(d.sock, "GET", "/healthcheck"), http1(t.path("b.sock"), "GET", "/healthcheck")
	check((a.status, a.body) != (b.status, b.body), a, b)


@cases("the control socket answers over %s", VERSIONS)
def control(t, version, flags):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	base = flags + ["--unix-socket", d.control]
	same(curl_status(*base, "http://localhost/live")[0], 200)
	same(curl_status(*base, "http://localhost/ready")[0], 200)
	same(t.channel(d).unary_unary(GREETER)(b"x", timeout=60), b"x")
	code, body = curl_status(*base, "http://localhost/stats")
	same(code, 200)
	lines = body.decode().splitlines()
	check('thinmesh_cluster_calls_total{service="%s"} 1' % DEMO in lines, "the call is not in", lines)
	check("# TYPE thinmesh_calls_total counter" in lines and any(l.startswith("# HELP thinmesh_calls_total ") for l in lines), lines[:20])
	code, body = curl_status(*base, "http://localhost/clusters")
	same(code, 200)
	check(DEMO.encode() in body and p.address.encode() in body, body)
	same(curl_status(*base, "http://localhost/nothing")[0], 404)


@case
def the_stats_are_well_formed_prometheus_text(t):
	d = t.daemon({})
	import re
	typed, helped = set(), set()
	for line in d.get("/stats").text.splitlines():
		if line.startswith("# TYPE "):
			name, kind = line.split()[2:]
			check(kind in ("counter", "gauge", "histogram") and name not in typed, line)
			typed.add(name)
			check(kind != "counter" or name.endswith("_total"), line)
		elif line.startswith("# HELP "):
			helped.add(line.split()[2])
		else:
			m = re.fullmatch(r'(thinmesh_[a-z0-9_]+)(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? (\S+)', line)
			check(m, "not a sample:", line)
			name = m.group(1) if m.group(1) in typed else re.sub("_(bucket|sum|count)$", "", m.group(1))
			check(name in typed and name in helped, "no TYPE or HELP before", line)
			float(m.group(3))
	check(len(typed) > 40, "only", len(typed), "metrics")


@case
def the_log_level_is_changed_by_a_post(t):
	d = t.daemon({DEMO: ["127.0.0.1:1"]})
	code, body = curl_status("--unix-socket", d.control, "-X", "POST", "http://localhost/log?level=debug")
	same(code, 200)
	code, body = curl_status("--unix-socket", d.control, "http://localhost/log")
	check(code == 200 and b"debug" in body, code, body)
	same(curl_status("--unix-socket", d.control, "-X", "POST", "http://localhost/log?level=chatty")[0], 400)


@case
def the_tcp_twin_of_the_control_socket_only_reads(t):
	port = t.port()
	d = t.daemon({}, control={"unix": t.path("c.sock"), "tcp": "127.0.0.1:%d" % port})
	until(lambda: raw_exchange(("127.0.0.1", port), b"", half_close=True)[1], 3, "the twin")
	base = "http://127.0.0.1:%d" % port
	for path in ("/ready", "/live", "/stats"):
		same(curl_status(base + path)[0], 200, path)
		same(curl_status("--http2-prior-knowledge", base + path)[0], 200, path)
	for path in ("/log?level=debug", "/stats", "/ready"):
		code, _ = curl_status("-X", "POST", base + path)
		check(code in (403, 404, 405), "POST", path, code)
	code, _ = curl_status(base + "/log")
	check(code in (403, 404), "GET /log over TCP:", code)
	check(b"debug" not in curl("--unix-socket", d.control, "http://x/log").split(b"\n")[0], "the level was changed")


# ---- HTTP/1.1 forwarded --------------------------------------------------------------------------------------------------

def json_provider(t, seen):
	"""Triple's HTTP half: answers with what it got."""
	def serve(c):
		while True:
			st = c.accept(3600)
			c.wait(lambda: st.over, 10)
			seen.append(st)
			body = json.dumps({"got": st.data.decode(), "path": st.headers[":path"], "bytes": len(st.data)}).encode()
			c.send_headers(st.id, [(":status", "200"), ("content-type", "application/json"), ("content-length", str(len(body))), ("x-attachment", "yes")])
			c.send_data(st.id, body, end=True)
	return RawProvider(t, serve)


@case
def a_unary_call_by_curl_reaches_an_HTTP2_provider(t):
	seen = []
	p = json_provider(t, seen)
	d = t.daemon({DEMO: [p.address]})
	for _, flags in VERSIONS:
		out = curl(*flags, "-i", "--unix-socket", d.sock, "-H", "content-type: application/json", "-H", "tri-service-version: 1.0.0",
			"-d", '["Dubbo"]', "http://%s%s" % (DEMO, GREETER))
		head, _, body = out.partition(b"\r\n\r\n")
		check(b"200" in head.split(b"\r\n")[0] and b"x-attachment: yes" in head.lower(), head)
		same(json.loads(body), {"got": '["Dubbo"]', "path": GREETER, "bytes": 9})
	for st in seen:
		same((st.headers[":authority"], st.headers[":method"], st.headers["tri-service-version"]), (DEMO, "POST", "1.0.0"))
		check(not {"connection", "host", "transfer-encoding", "keep-alive"} & set(st.headers), st.headers)


@case
def a_chunked_upload_by_curl_arrives_whole(t):
	seen = []
	p = json_provider(t, seen)
	d = t.daemon({DEMO: [p.address]})
	body = b"0123456789" * 30000
	out = curl("--http1.1", "--unix-socket", d.sock, "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "-H", "content-type: application/json",
		"--data-binary", "@-", "http://%s%s" % (DEMO, GREETER), stdin=body)
	same(json.loads(out)["bytes"], len(body))


@case
def an_upload_that_expects_100_continue_goes_through(t):
	seen = []
	p = json_provider(t, seen)
	d = t.daemon({DEMO: [p.address]})
	out = curl("--http1.1", "--unix-socket", d.sock, "-H", "Expect: 100-continue", "--expect100-timeout", "5", "-H", "content-type: application/json",
		"--data-binary", "@-", "http://%s%s" % (DEMO, GREETER), stdin=b"x" * 5000)
	same(json.loads(out)["bytes"], 5000)


@case
def one_HTTP1_connection_carries_several_calls(t):
	import http.client
	from harness import dial
	seen = []
	p = json_provider(t, seen)
	d = t.daemon({DEMO: [p.address]})
	c = http.client.HTTPConnection("x", timeout=60)
	c.sock = dial(d.sock)
	for i in range(5):
		c.request("POST", GREETER, body=b"%d" % i, headers={"Host": DEMO, "Content-Type": "application/json"})
		r = c.getresponse()
		same((r.status, json.loads(r.read())["got"]), (200, str(i)))
	c.request("GET", "/healthcheck")
	same(c.getresponse().status, 200)
	c.close()


@case
def a_provider_that_is_not_there_is_503_with_JSON(t):
	d = t.daemon({DEMO: ["127.0.0.1:%d" % t.port()]})
	r = http1(d.sock, "POST", GREETER, b"[]", {"Host": DEMO, "Content-Type": "application/json"})
	same(r.status, 503)
	check("json" in r.headers["content-type"] and r.json, r)


GARBAGE = [
	("garbage", b"\x01\x02\x03garbage\r\n\r\n"),
	("a TLS client", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)),
	("a bare line feed", b"GET /healthcheck HTTP/1.1\nHost: x\n\n"),
	("no version", b"GET /healthcheck\r\nHost: x\r\n\r\n"),
	("a wrong version", b"GET /healthcheck HTTP/3.7\r\nHost: x\r\n\r\n"),
	("a space in a name", b"GET /healthcheck HTTP/1.1\r\nHost : x\r\n\r\n"),
	("a folded line", b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"),
	("two hosts", b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
	("no host", b"GET /healthcheck HTTP/1.1\r\n\r\n"),
	("two lengths", b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
	("a signed length", b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na"),
	("a list of lengths", b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\na"),
	("length and chunked", b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	("an unknown coding", b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
	("a coding with a vertical tab", b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
	("chunked in HTTP/1.0", b"POST /a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	("a NUL in a value", b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n"),
	("a bare CR in a value", b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n"),
]


@cases("HTTP/1.1 with %s answers 400 and closes", GARBAGE)
def garbage(t, name, data):
	p = Provider(t)
	d = t.daemon({"x": [p.address]}, limits={"preface_time": "1s", "header_time": "1s"})
	got, closed = raw_exchange(d.sock, data)
	check(closed, "still open after", got)
	check(got.startswith(b"HTTP/1.1 505 " if name == "a wrong version" else b"HTTP/1.1 400 "), "answered", got[:200])
	check(d.stat("h1_bad_requests") >= 1)
	same(len(p.calls), 0)
	same(http1(d.sock, "GET", "/healthcheck").status, 200)


@cases("a chunk with %s ends the connection", [
	("a bad size", b"zz\r\nab\r\n"), ("an overflowing size", b"fffffffffffffffff\r\nab\r\n"), ("more than it says", b"1\r\nabc\r\n0\r\n\r\n"),
	("a bare line feed", b"2\nab\r\n0\r\n\r\n"),
])
def bad_chunk(t, name, data):
	seen = []
	p = json_provider(t, seen)
	d = t.daemon({DEMO: [p.address]})
	got, closed = raw_exchange(d.sock, b"POST %s HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % (GREETER.encode(), DEMO.encode()) + data)
	check(closed and (got == b"" or got.startswith(b"HTTP/1.1 400 ")), got)
	same(seen, [], "nothing whole may reach the provider")
	same(http1(d.sock, "GET", "/healthcheck").status, 200)


@case
def grpc_over_HTTP1_gets_an_answer_and_no_hang(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	r = http1(d.sock, "POST", GREETER, grpc_message(b"x"), {"Host": DEMO, "Content-Type": "application/grpc"})
	check(100 < r.status < 600, r)
