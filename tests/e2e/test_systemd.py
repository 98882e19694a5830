"""The two protocols of systemd, spoken by a fake manager: notifications, and descriptors that are handed over."""
import json
import os
import re
import signal
import socket
import sys
import time

from harness import DEMO, GREETER, PATIENCE, PYTHON, case, check, http1, same, until
from providers import Provider

# Whoever starts a socket-activated service is its own parent: LISTEN_PID must be the daemon's.
ACTIVATE = """
import os, sys
fds = [int(f) for f in sys.argv[1].split(",")]
high = [os.dup2(f, 100 + i) for i, f in enumerate(fds)]
for f in fds:
	os.close(f)
for i, f in enumerate(high):
	os.dup2(f, 3 + i, inheritable=True)
	os.close(f)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(fds))
if sys.argv[2]:
	os.environ["LISTEN_FDNAMES"] = sys.argv[2]
os.execv(sys.argv[3], sys.argv[3:])
"""


class Manager:
	def __init__(self, t, abstract=False):
		self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		self.path = "@" + t.path("notify") if abstract else t.path("notify")
		self.sock.bind("\0" + self.path[1:] if abstract else self.path)
		self.got = []
		t.after(self.sock.close)

	def wait(self, pattern, timeout_s=5):
		"""The first message, seen already or still to come, that has a line like it."""
		end = time.monotonic() + timeout_s * PATIENCE
		checked = 0
		while True:
			for i, m in enumerate(self.got[checked:]):
				if re.search(pattern, m, re.M):
					del self.got[:checked + i + 1]
					return m
			checked = len(self.got)
			self.sock.settimeout(max(0.01, end - time.monotonic()))
			try:
				self.got.append(self.sock.recv(4096).decode())
			except socket.timeout:
				check(False, "no", pattern, "but", self.got)


def listening(path_or_port):
	if isinstance(path_or_port, str):
		s = socket.socket(socket.AF_UNIX)
		s.bind(path_or_port)
	else:
		s = socket.socket()
		s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1) # connections of a case before may be in TIME_WAIT there
		s.bind(("127.0.0.1", path_or_port))
	s.listen(64)
	return s


def activated(t, socks, names="", **kw):
	fds = [s.fileno() for s in socks]
	return t.daemon(wrapper=[PYTHON, "-c", ACTIVATE, ",".join(map(str, fds)), names], pass_fds=fds, **kw)


@case
def the_manager_is_told_READY_when_everything_is_open(t):
	m = Manager(t)
	d = t.daemon({DEMO: ["127.0.0.1:1"]}, env={"NOTIFY_SOCKET": m.path}, start=False)
	d.spawn()
	said = m.wait(r"^READY=1$")
	# At that moment, not somewhat later.
	same(http1(d.sock, "GET", "/healthcheck").status, 200)
	if "STATUS=" not in said:
		m.wait(r"^STATUS=.")


@case
def the_manager_may_be_abstract(t):
	m = Manager(t, abstract=True)
	t.daemon({}, env={"NOTIFY_SOCKET": m.path})
	m.wait(r"^READY=1$")


@case
def a_reload_is_told_with_its_time_and_then_READY(t):
	m = Manager(t)
	d = t.daemon({}, env={"NOTIFY_SOCKET": m.path})
	m.wait(r"^READY=1$")
	before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
	d.reload()
	said = m.wait(r"^RELOADING=1$")
	check("MONOTONIC_USEC=" in said, "both belong in one message", said)
	at = int(re.search(r"^MONOTONIC_USEC=(\d+)$", said, re.M).group(1))
	check(before <= at <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000, before, at)
	m.wait(r"^READY=1$")


@case
def a_refused_reload_ends_with_READY_too_and_says_why(t):
	m = Manager(t)
	d = t.daemon({}, env={"NOTIFY_SOCKET": m.path})
	d.expect_error("thinmesh.yaml|reload|configuration")
	m.wait(r"^READY=1$")
	d.reload("nonsense: 1\n", refused=True)
	m.wait(r"^RELOADING=1$")
	said = m.wait(r"^READY=1$")
	if "STATUS=" not in said:
		m.wait(r"^STATUS=.")


@case
def the_end_is_told(t):
	m = Manager(t)
	d = t.daemon({}, env={"NOTIFY_SOCKET": m.path})
	m.wait(r"^READY=1$")
	d.stop()
	m.wait(r"^STOPPING=1$")


@case
def the_watchdog_is_fed_as_often_as_it_asks(t):
	m = Manager(t)
	t.daemon({}, env={"NOTIFY_SOCKET": m.path, "WATCHDOG_USEC": "200000"})
	m.wait(r"^READY=1$")
	for _ in range(3):
		m.wait(r"^WATCHDOG=1$")


@case
def the_watchdog_of_another_process_is_not_fed(t):
	m = Manager(t)
	d = t.daemon({}, env={"NOTIFY_SOCKET": m.path, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
	m.wait(r"^READY=1$")
	d.stop()
	m.wait(r"^STOPPING=1$")
	check(not any("WATCHDOG=1" in g for g in m.got), m.got)


@case
def a_manager_that_is_not_there_does_no_harm(t):
	d = t.daemon({}, env={"NOTIFY_SOCKET": t.path("nobody")})
	same(http1(d.sock, "GET", "/healthcheck").status, 200)


@case
def a_socket_is_handed_over_by_its_address(t):
	p = Provider(t, "a")
	s = listening(t.path("s.sock"))
	inode = os.stat(t.path("s.sock")).st_ino
	# Somebody calls before the daemon is there: the call waits in the backlog.
	early = t.connect(t.path("s.sock"))
	d = activated(t, [s], services={DEMO: [p.address]})
	early.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	check(early.recv(100).startswith(b"HTTP/1.1 200"))
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).trailers["who"], "a")
	same(d.stop(), 0)
	same(os.stat(t.path("s.sock")).st_ino, inode, "the manager's socket was removed")
	s.close()


@case
def a_socket_is_handed_over_by_the_name_of_its_app(t):
	p = Provider(t, "a")
	# The unit's path is another one than the file's.
	s = listening(t.path("unit.sock"))
	activated(t, [s], "shop", services={DEMO: [p.address]}, wait=[t.path("unit.sock"), t.path("c.sock")])
	until(lambda: http1(t.path("unit.sock"), "GET", "/healthcheck").status == 200, 5, "the handed over socket")
	with t.h2(t.path("unit.sock")) as c:
		same(c.call(DEMO, GREETER).trailers["who"], "a")
	s.close()


@case
def a_loopback_port_is_handed_over_by_its_address(t):
	p = Provider(t, "a")
	port = t.port()
	s, other = listening(port), listening(t.path("s.sock"))
	activated(t, [other, s], services={DEMO: [p.address]}, listen=[{"unix": t.path("s.sock")}, {"tcp": "127.0.0.1:%d" % port, "default": DEMO}])
	with t.h2(("127.0.0.1", port)) as c:
		same(c.call("localhost", GREETER).trailers["who"], "a")
	s.close()
	other.close()


@case
def a_descriptor_that_nobody_wants_is_told_and_closed(t):
	s = listening(t.path("unknown.sock"))
	d = activated(t, [s], "unknown", services={})
	d.wait_log("unknown")
	s.close()
	until(lambda: not_listening(t.path("unknown.sock")), 3, "the descriptor to be closed")


def not_listening(path):
	try:
		socket.socket(socket.AF_UNIX).connect(path)
		return False
	except OSError:
		return True


@case
def LISTEN_FDS_of_another_process_are_left_alone(t):
	d = t.daemon({}, env={"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c"})
	same(http1(d.sock, "GET", "/healthcheck").status, 200)


@case
def sockets_are_handed_over_by_the_names_of_two_apps_and_stay_over_a_reload(t):
	p = Provider(t, "a")
	one, two = listening(t.path("unit1.sock")), listening(t.path("unit2.sock"))
	conf = t.config({DEMO: [p.address]})
	conf["apps"] = [{"name": "shop", "listen": [{"unix": t.path("s.sock")}]}, {"name": "till", "listen": [{"unix": t.path("t.sock")}]}]
	d = activated(t, [two, one], "till:shop", conf=conf, wait=[t.path("unit1.sock"), t.path("unit2.sock"), t.path("c.sock")])
	for round in range(2):
		for path, app in (("unit1.sock", "shop"), ("unit2.sock", "till")):
			same(json.loads(http1(t.path(path), "GET", "/healthcheck").body)["app"], app)
			with t.h2(t.path(path)) as c:
				same(c.call(DEMO, GREETER).trailers["who"], "a")
		check(not os.path.exists(t.path("s.sock")) and not os.path.exists(t.path("t.sock")))
		d.reload()
	one.close()
	two.close()
