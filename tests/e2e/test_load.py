"""Load by h2load and nghttp, and the access log that it leaves."""
import json
import os
import re
import subprocess

from harness import DEMO, GREETER, case, cases, check, http1, same, until
from h2raw import grpc_message
from providers import Provider, RawProvider

URL = "http://%s%s" % (DEMO, GREETER)


def nghttpd_like(t):
	"""A fast enough provider: nghttpd would need a file; an own thread with raw frames does."""
	def serve(c):
		done = 0
		while True:
			c.wait(lambda: len(c.order) > done, 60)
			out = b""
			for sid in c.order[done:]:
				st = c.streams[sid]
				if not st.over:
					c.wait(lambda: st.over, 5)
				out += c.frame(1, 4, sid, c.encode([(":status", "200"), ("content-type", "application/grpc")]))
				out += c.frame(0, 0, sid, bytes(st.data))
				out += c.frame(1, 5, sid, c.encode([("grpc-status", "0")]))
				c.streams.pop(sid)
				done += 1
			c.raw(out)
	return RawProvider(t, serve)


def h2load(t, d, *args):
	body = t.path("body")
	with open(body, "wb") as f:
		f.write(grpc_message(b"x" * 100))
	done = subprocess.run(["h2load", "-t", "1", "-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers", "-B", "unix:" + d.sock] + list(args) + [URL],
		capture_output=True, text=True, timeout=60)
	check(done.returncode == 0, done.stdout, done.stderr)
	return done.stdout


@case
def h2load_gets_2000_answers_over_8_connections_with_32_streams(t):
	p = nghttpd_like(t)
	d = t.daemon({DEMO: [p.address]})
	out = h2load(t, d, "-n", "2000", "-c", "8", "-m", "32")
	check("2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out)
	check("status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx" in out, out)
	same((d.stats()["thinmesh_cluster_calls_total"], d.stat("calls_failed")), (2000, 0))
	until(lambda: d.stat("down_connections") <= 1, 3, "the callers' connections to go")


@case
def many_short_connections_leave_nothing_behind(t):
	p = nghttpd_like(t)
	d = t.daemon({DEMO: [p.address]})
	h2load(t, d, "-n", "50", "-c", "50", "-m", "1")
	had = d.descriptors()
	memory = d.rss_kib()
	for _ in range(3):
		out = h2load(t, d, "-n", "200", "-c", "200", "-m", "1")
		check("200 succeeded" in out, out)
	until(lambda: d.descriptors() <= had, 3, "the descriptors to be closed")
	d.check_growth(memory, 16 << 10)


@case
def nghttp_gets_its_answer(t):
	p = Provider(t, "a")
	port = t.port()
	t.daemon({DEMO: [p.address]}, listen=[{"unix": t.path("s.sock")}, {"tcp": "127.0.0.1:%d" % port}])
	with open(t.path("body"), "wb") as f:
		f.write(grpc_message(b"by nghttp"))
	done = subprocess.run(["nghttp", "-v", "-d", t.path("body"), "-H", ":authority: " + DEMO, "-H", "content-type: application/grpc", "-H", "te: trailers",
		"http://127.0.0.1:%d%s" % (port, GREETER)], capture_output=True, timeout=60)
	check(done.returncode == 0 and b"by nghttp" in done.stdout and b"grpc-status: 0" in done.stdout, done.stdout[-3000:], done.stderr)


# ---- the access log --------------------------------------------------------------------------------------------------------

def access(t, kind):
	"""One good call, one failed by the provider, one to nobody, one that the caller gives up; the lines that they leave."""
	p = Provider(t, "a")
	silent = RawProvider(t, lambda c: c.wait_closed(60))
	d = t.daemon({DEMO: [p.address], "silent:1": [silent.address]}, log={"level": "info", "access": kind, "access_file": t.path("access")})
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER, b"12345").grpc_status, 0)
		same(c.call(DEMO, GREETER, extra=[("fail-code", "7")]).grpc_status, 7)
		same(c.call("nobody:1", GREETER).grpc_status, 12)
		same(c.call("silent:1", GREETER, extra=[("grpc-timeout", "1S")]).grpc_status, 4)
		sid = c.request("silent:1", GREETER, grpc_message(b"x"))
		until(lambda: silent.connections and len(silent.connections[0].order) == 2, 3, "the call at the provider")
		c.send_reset(sid)
	until(lambda: os.path.exists(t.path("access")) and len(open(t.path("access")).readlines()) >= 5, 3, "five access lines")
	with open(t.path("access")) as f:
		return p, silent, d, f.readlines()


@case
def the_access_log_in_JSON_has_every_field(t):
	p, silent, d, lines = access(t, "json")
	same(len(lines), 5)
	good, failed, nobody, late, gone = [json.loads(l) for l in lines]
	flat = {k: v for k, v in good.items()}
	text = json.dumps(flat)
	check(GREETER in text and DEMO in text and p.address in text and "shop" in text, text)
	same([flag(l) for l in (good, failed, nobody, late, gone)], ["", "", "NR", "UT", "DR"])
	same([l["grpc_status"] for l in (good, failed, nobody, late)], [0, 7, 12, 4])
	same((find(good, "upstream_host"), find(nobody, "upstream_host")), (p.address, None))
	for l in (good, failed, late):
		durations = {k: v for k, v in l.items() if ("duration" in k or k.endswith(("_us", "_ms", "_ns", "_s"))) and isinstance(v, (int, float))}
		check(len(durations) >= 2, "durations:", l)
		check(any("own" in k or "added" in k for k in durations), "no own added time in", l)
		check(all(v >= 0 for v in durations.values()), durations)
	# The provider let it wait for a second: that is not our time.
	check(late["duration_us"] >= 1000000 and late["added_us"] < late["duration_us"] / 2, late)


def flag(line):
	value = next(v for k, v in line.items() if "flag" in k)
	return "" if value in (None, "-") else value


def find(line, word):
	value = next((v for k, v in line.items() if word in k), None)
	return None if value in ("", "-") else value


@case
def the_access_log_in_text_has_every_field(t):
	p, silent, d, lines = access(t, "text")
	same(len(lines), 5)
	good, failed, nobody, late, gone = lines
	for part in (GREETER, DEMO, p.address, "200"):
		check(part in good, "no", part, "in", good)
	for line, word in ((nobody, "NR"), (late, "UT"), (gone, "DR"), (nobody, "12"), (failed, "7")):
		check(re.search(r"\b%s\b" % word, line), "no", word, "in", line)


@case
def the_access_log_is_off_by_default(t):
	p = Provider(t, "a")
	d = t.daemon({DEMO: [p.address]})
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).grpc_status, 0)
	check(GREETER not in d.stderr(), d.stderr())


@case
def local_answers_are_in_the_access_log_too(t):
	d = t.daemon({}, log={"access": "json", "access_file": t.path("access")})
	http1(d.sock, "POST", "/healthcheck/ok")
	until(lambda: os.path.exists(t.path("access")) and "/healthcheck/ok" in open(t.path("access")).read(), 3, "its line")


@case
def a_log_pipe_that_nobody_reads_blocks_no_call(t):
	p = Provider(t, "a")
	os.mkfifo(t.path("pipe"))
	reader = os.open(t.path("pipe"), os.O_RDONLY | os.O_NONBLOCK)
	d = t.daemon({DEMO: [p.address]}, log={"access": "json", "access_file": t.path("pipe")})
	with t.h2(d) as c:
		for _ in range(400):
			same(c.call(DEMO, GREETER + "x" * 300).grpc_status, 0)
	check(d.stat("access_log_dropped") >= 1)
	os.close(reader)


@case
def an_access_log_on_a_stderr_that_nobody_reads_blocks_no_call(t):
	p = Provider(t, "a")
	os.mkfifo(t.path("pipe"))
	reader = os.open(t.path("pipe"), os.O_RDONLY | os.O_NONBLOCK)
	d = t.daemon({DEMO: [p.address]}, log={"level": "info", "access": "text"}, wrapper=["/bin/sh", "-c", 'exec "$@" 2>"$0"', t.path("pipe")])
	with t.h2(d) as c:
		for _ in range(400):
			same(c.call(DEMO, GREETER + "x" * 300).grpc_status, 0)
	check(d.stat("access_log_dropped") >= 1)
	said = os.read(reader, 1 << 20)
	check(GREETER.encode() in said, said[:300])
	os.close(reader)
