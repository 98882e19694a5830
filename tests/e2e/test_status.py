"""What people see: `thinmesh status` once and watched, on a terminal and in a pipe, through the death of what it shows and of the daemon itself."""
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios

import grpc

from harness import DEMO, GREETER, PATIENCE, Failed, case, check, http1, same, until
from providers import Echo, Provider

CHECK = "/grpc.health.v1.Health/Check"
STAMP = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"


class Watched:
	"""`thinmesh status --watch` with its output in a pipe or on a terminal of so many rows."""

	def __init__(self, t, *args, rows=None):
		self.t, self.said = t, b""
		argv = [t.binary, "status", "-s", t.path("c.sock")] + list(args)
		if rows:
			self.fd, slave = pty.openpty()
			fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
			env = dict(os.environ, TERM="xterm")
			env.pop("NO_COLOR", None)
			self.process = t.spawn(argv, stdout=slave, stderr=slave, env=env)
			os.close(slave)
		else:
			self.fd, out = os.pipe()
			self.process = t.spawn(argv, stdout=out, stderr=out)
			os.close(out)
		os.set_blocking(self.fd, False)
		t.after(lambda: os.close(self.fd))

	def read(self):
		try:
			while True:
				more = os.read(self.fd, 65536)
				if not more:
					break
				self.said += more
		except (BlockingIOError, OSError):
			pass
		return self.said.decode()

	def until(self, pattern, since=0):
		"""Waits until what was said behind `since` matches; returns where that ends."""
		found = until(lambda: re.search(pattern, self.read()[since:], re.M | re.S), 5, "/%s/; it said:\n%s" % (pattern, self.said.decode()[-2000:]))
		return since + found.end()

	def end(self, number=signal.SIGINT):
		self.process.send_signal(number)
		try:
			code = self.process.wait(5 * PATIENCE)
		except subprocess.TimeoutExpired:
			raise Failed("it does not end") from None
		self.read()
		return code


def screen(said, rows):
	"""What a terminal shows after all of it: home, clear to the end of the line and of the screen, and a scroll at its foot, are all that may be asked of it."""
	lines, row, column = [""] * rows, 0, 0
	at = 0
	scrolled = 0
	while at < len(said):
		m = re.compile(r"\033\[(\??)(\d*)([A-Za-z])").match(said, at)
		if m:
			at = m.end()
			kind = m.group(1) + m.group(3)
			if kind == "H":
				row = column = 0
			elif kind == "K":
				lines[row] = lines[row][:column]
			elif kind == "J":
				lines = [""] * rows if m.group(2) == "2" else lines[:row] + [lines[row][:column]] + [""] * (rows - row - 1)
			else:
				check(kind in ("m", "?h", "?l"), "the terminal is asked for", repr(m.group(0)))
			continue
		c = said[at]
		at += 1
		if c == "\n":
			row += 1
			if row == rows:
				lines, row, scrolled = lines[1:] + [""], rows - 1, scrolled + 1
		elif c == "\r":
			column = 0
		elif column < 80:
			lines[row] = lines[row][:column] + c + lines[row][column + 1:]
			column += 1
	return lines, scrolled


@case
def a_watch_in_a_pipe_is_a_block_each_time_with_the_calls_a_second(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	w = Watched(t, "--watch=0.2")
	at = w.until(STAMP + r".*^thinmesh \S+, pid %d: ready.*^  %s" % (d.pid, p.address))
	call = t.channel(d).unary_unary(GREETER)
	at = w.until(STAMP + r".*  CALLS  +/S  ERRORS  +/S$", at)
	for _ in range(20):
		call(b"x", timeout=60)
	w.until(r"^%s .* 20 +(?:[1-9][0-9.]*|0\.[0-9]*[1-9]) +0 +0  " % re.escape(DEMO), at)
	w.until(r"^%s .* 20 +0 +0 +0  " % re.escape(DEMO), at)
	same(w.end(), 0)
	check("\033" not in w.said.decode(), "a pipe gets no colours")


@case
def a_watch_on_a_terminal_is_drawn_over_the_page_before(t):
	d = t.daemon({DEMO: ["127.0.0.1:9"], "other.default.svc.cluster.local:1": ["127.0.0.1:%d" % port for port in range(10, 30)]})
	w = Watched(t, "--watch=100ms", rows=12)
	for _ in range(4):
		at = w.until(r"more lines.*\033\[J\033\[\?7h")
		w.said = w.said[at:] if _ < 3 else w.said
	same(w.end(), 0)
	lines, scrolled = screen(w.said.decode(), 12)
	same(scrolled, 0, "lines scrolled away")
	check(re.match(STAMP, lines[0]), lines)
	check(lines[1].startswith("thinmesh ") and "pid %d" % d.pid in lines[1], lines)
	check(re.match(r"\.\.\. \d+ more lines", lines[10]), lines)
	same(lines[11], "")


@case
def a_watch_waits_for_a_daemon_that_is_not_there_and_outlives_a_restart(t):
	d = t.daemon({DEMO: ["127.0.0.1:9"]}, start=False)
	w = Watched(t, "--watch=0.1")
	at = w.until("not reachable, trying again.*is thinmesh running")
	d.start()
	at = w.until(r"pid %d: ready" % d.pid, at)
	first = d.pid
	same(d.stop(), 0)
	at = w.until("not reachable, trying again", at)
	d.start()
	check(d.pid != first)
	at = w.until(r"pid %d: ready.*" % d.pid, at)
	same(w.said.count(b"not reachable"), 2, "told once each time")
	same(w.end(signal.SIGTERM), 0)


@case
def a_watch_that_never_saw_anything_ends_with_1(t):
	w = Watched(t, "--watch=0.1")
	w.until("not reachable")
	same(w.end(), 1)


@case
def ctrl_c_ends_a_watch_of_a_daemon_that_hangs(t):
	d = t.daemon({DEMO: ["127.0.0.1:9"]})
	w = Watched(t, "--watch=0.1")
	w.until("ready")
	d.signal(signal.SIGSTOP)
	t.after(lambda: d.signal(signal.SIGCONT))
	same(w.end(), 0)
	d.signal(signal.SIGCONT)


@case
def json_is_a_document_a_line(t):
	d = t.daemon({DEMO: ["127.0.0.1:9"], "other.default.svc.cluster.local:1": ["127.0.0.1:10"]})
	w = Watched(t, "--watch=0.1", "--json", "demo")
	until(lambda: w.read().count("\n") >= 3, 5, "three lines")
	same(w.end(), 0)
	pages = [json.loads(line) for line in w.said.decode().splitlines()]
	check(len(pages) >= 3, pages)
	for page in pages:
		same(page["pid"], d.pid)
		same([s["name"] for s in page["services"]], [DEMO])
	check(pages[-1]["uptime_ms"] > pages[0]["uptime_ms"], pages)


@case
def a_service_is_found_by_a_part_of_its_name(t):
	d = t.daemon({DEMO: ["127.0.0.1:9"], "other.default.svc.cluster.local:1": ["127.0.0.1:10"]})
	for word, here, away in (("other", "127.0.0.1:10", "127.0.0.1:9 "), (DEMO, "127.0.0.1:9", "127.0.0.1:10"), ("o|1", "no services", "127.0.0.1")):
		done = t.cli("status", "-s", d.control, word)
		same(done.returncode, 0, done.stderr)
		check(here in done.stdout.decode() and away not in done.stdout.decode(), word, done.stdout.decode())


@case
def a_time_behind_watch_is_not_taken_for_a_name(t):
	d = t.daemon({DEMO: ["127.0.0.1:9"]})
	for word in ("2", "0.5", "500ms"):
		done = t.cli("status", "-s", d.control, "--watch", word)
		same(done.returncode, 2, done.stdout)
		check("--watch=%s" % word in done.stderr.decode(), done.stderr)
	same(t.cli("status", "-s", d.control, "2").returncode, 0)


@case
def all_endpoints_are_shown_when_asked(t):
	ports = ["127.0.0.1:%d" % port for port in range(1, 1301)]
	d = t.daemon({DEMO: ports})
	done = t.cli("status", "-s", d.control).stdout.decode()
	check("1300 endpoints" in done and "and 300 more: thinmesh status --all" in done, done[:2000])
	done = t.cli("status", "-s", d.control, "--all", "demo").stdout.decode()
	same([p for p in ports if not re.search(r"^  %s " % p, done, re.M)], [])
	check("more:" not in done)


@case
def who_keeps_an_endpoint_back_is_told_and_why(t):
	good, bad = Provider(t), Provider(t, "b")
	d = t.daemon({DEMO: {"endpoints": [good.address, bad.address], "health": {"tcp": {}, "interval": "100ms", "no_traffic_interval": "100ms", "unhealthy_threshold": 1}}})

	def shown():
		done = t.cli("status", "-s", d.control)
		same(done.returncode, 0, done.stderr)
		return done.stdout.decode()
	until(lambda: shown().count("tcp check passed") == 2, 5, "both to pass")
	bad.stop()
	until(lambda: re.search(r"^%s .* 1 healthy, 1 check failed$\n  %s +check failed .*\n    its tcp check: failed for \d+s: connection refused \(" % (re.escape(DEMO), bad.address), shown(), re.M), 5,
		"the failed check")
	check("%s  least_request, serving, 2 endpoints, 1 healthy, 1 check failed" % DEMO in d.get("/clusters").text)
	good.stop()
	until(lambda: "not serving" in shown(), 5, "nobody left")


@case
def an_app_with_a_check_at_its_own_inbound_door_opens_and_recovers(t):
	"""The example of the documents: the check names the door, which is closed until the check passes."""
	class Health(Echo):
		def service(self, details):
			if details.method == CHECK:
				return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")
			return super().service(details)
	door, server = t.port(), "unix:" + t.path("server.sock")
	d = t.daemon({}, app={"inbound": [{"tcp": "0.0.0.0:%d" % door, "to": server}],
		"health": {"listen": [{"tcp": "127.0.0.1:%d" % t.port()}], "check": {"grpc": "127.0.0.1:%d" % door, "period": "100ms", "timeout": "20s", "failure_threshold": 2}}})

	def app():
		return d.status()["apps"][0]
	# The first check fails (nobody is there), and that is an answer.
	until(lambda: app()["check"]["state"] == "failed", 5, "the check to fail")
	for _ in range(2):
		p = Provider(t, "app", address=server, handler=Health("app"))
		until(lambda: app()["state"] == "ok", 5, "the app to open; it is %s" % app())
		same(app()["check"], {"kind": "grpc", "state": "passed"})
		ch = t.channel("127.0.0.1:%d" % door, "shop")
		same(ch.unary_unary(GREETER)(b"x", timeout=60, wait_for_ready=True), b"x")
		p.stop()
		until(lambda: app()["state"] == "failing", 5, "the app to fail")
		check(app()["why"].startswith("its grpc check fails: "), app())
	shown = t.cli("status", "-s", d.control).stdout.decode()
	check(re.search(r"^shop +failing .*\n +\d+  0\.0\.0\.0:%d \(calls to it\)\n.*\n    its grpc check fails: " % door, shown, re.M), shown)


@case
def the_metrics_of_a_daemon_are_valid_and_each_has_its_help(t):
	p = Provider(t)
	d = t.daemon({DEMO: {"endpoints": [p.address], "health": {"tcp": {}}, "outlier": {}}})
	same(t.channel(d).unary_unary(GREETER)(b"x", timeout=60), b"x")
	seen, typed = set(), None
	for line in http1(d.control, "GET", "/stats").text.splitlines():
		if line.startswith("# HELP "):
			name = line.split()[2]
			check(name not in seen, "twice:", name)
			seen.add(name)
		elif line.startswith("# TYPE "):
			typed = line.split()[2]
			check(typed == name, line)
		else:
			check(re.match(r"%s(_bucket|_sum|_count)?(\{([a-z_]+=\"([^\"\\]|\\.)*\",?)*\})? [-+0-9.e]+$" % typed, line), line)
	for name in ("cluster_membership_healthy", "cluster_health_check_attempt_total", "cluster_outlier_detection_ejections_active", "cluster_lb_healthy_panic_total", "app_state", "app_transitions_total"):
		check("thinmesh_" + name in seen, name)
