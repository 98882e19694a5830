"""The hot upgrade, and the end: one process follows another with the same listening descriptors, and no caller notices.

A daemon of this file is started from a copy of the binary, so that another program can be put in its place. When another process has taken
over, it is nobody's child here until its predecessor ends: this process is made the one to whom orphans go, and waits for them by number.
"""
import array
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import grpc

from harness import DEMO, GREETER, PATIENCE, PYTHON, Skipped, case, cases, check, dial, http1, same, until
from providers import Provider
from test_systemd import ACTIVATE, listening

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
	ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Successor:
	"""What subprocess.Popen is for a child, for a process that was made by one."""

	def __init__(self, pid):
		self.pid, self.returncode = pid, None

	def poll(self):
		if self.returncode is None:
			try:
				pid, status = os.waitpid(self.pid, os.WNOHANG)
				if pid:
					self.returncode = os.waitstatus_to_exitcode(status)
			except ChildProcessError:
				try:
					with open("/proc/%d/stat" % self.pid) as f:
						alive = f.read().rpartition(")")[2].split()[0] != "Z"
				except FileNotFoundError:
					alive = False
				if not alive:
					self.returncode = 0      # its own parent knows how it ended, and logs it
		return self.returncode

	def wait(self, timeout=None):
		end = time.monotonic() + (timeout or 3600)
		while self.poll() is None:
			if time.monotonic() > end:
				raise subprocess.TimeoutExpired("thinmesh", timeout)
			time.sleep(0.005)
		return self.returncode

	def send_signal(self, number):
		if self.poll() is None:
			os.kill(self.pid, number)

	def kill(self):
		self.send_signal(signal.SIGKILL)


class Manager:
	"""systemd as far as a service sees it: hears one process, keeps descriptors."""

	def __init__(self, t, own_pid=None):
		self.path = t.path("notify")
		self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
		self.sock.bind(self.path)
		self.main = None         # the pid that is listened to (NotifyAccess=main); None: the first that speaks
		self.heard = []          # (pid, text), of the main process alone
		self.ignored = []
		self.store = {}
		t.after(self.close)

	def close(self):
		self.sock.close()
		for fd in self.store.values():
			os.close(fd)

	def pump(self):
		self.sock.settimeout(0.001)
		while True:
			try:
				data, anc, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4 * 8))
			except (socket.timeout, BlockingIOError):
				return
			pid, fds = None, []
			for level, kind, value in anc:
				if kind == socket.SCM_CREDENTIALS:
					pid = struct.unpack("3i", value[:12])[0]
				elif kind == socket.SCM_RIGHTS:
					fds = list(array.array("i", value[:len(value) - len(value) % 4]))
			text = data.decode()
			if self.main is None:
				self.main = pid
			if pid != self.main:
				self.ignored.append((pid, text))
				for fd in fds:
					os.close(fd)
				continue
			self.heard.append((pid, text))
			said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
			if "FDSTORE" in said and fds:
				same(len(fds), 1)
				if said["FDNAME"] in self.store:
					os.close(self.store.pop(said["FDNAME"]))
				self.store[said["FDNAME"]] = fds[0]
			if "FDSTOREREMOVE" in said and said.get("FDNAME") in self.store:
				os.close(self.store.pop(said["FDNAME"]))
			if "MAINPID" in said:
				self.main = int(said["MAINPID"])

	def wait(self, pattern, pid=None, timeout_s=5):
		def found():
			self.pump()
			for who, text in self.heard:
				if (pid is None or who == pid) and re.search(pattern, text, re.M):
					return text
		return until(found, timeout_s, "the manager to hear /%s/ of %s" % (pattern, pid))


def service(t, services, manager=None, store=None, **kw):
	"""A daemon that is started from a program of its own."""
	adopt_orphans()
	program = t.path("thinmesh-program")
	if not os.path.exists(program):
		shutil.copy(t.binary, program)
		t.original, t.binary = t.binary, program
	env = dict(kw.pop("env", {}))
	if manager:
		env["NOTIFY_SOCKET"] = manager.path
	if store:
		env["FDSTORE"] = str(store)
	return t.daemon(services, env=env, **kw)


def put_program(t, text=None):
	"""As a package manager does: another file under the name. None: the right program, once more."""
	new = t.path("program.new")
	if text is None:
		shutil.copy(t.original, new)
	else:
		with open(new, "w") as f:
			f.write(text)
		os.chmod(new, 0o755)
	os.rename(new, t.binary)


def follow(d, how=signal.SIGUSR2, timeout_s=10):
	"""Asks for an upgrade, waits for the new process, and makes it the daemon; the old process is returned."""
	old = d.process
	d.signal(how)

	def other():
		try:
			pid = d.status()["pid"]
		except OSError:
			return None
		return pid if pid != old.pid else None
	d.process = Successor(until(other, timeout_s, "another process to take over"))
	return old


class Callers:
	"""Calls without a pause, each with its outcome: threads with a channel each, as SDKs of an app.

	Channels as gRPC makes them by default: a call that C-core was about to start when the GOAWAY came in goes to the next connection (it never left). With
	grpc.enable_retries=0, which the other cases use so that nothing hides, C-core fails such a call by itself: one in a hundred thousand here, and nobody else could help it.
	"""

	def __init__(self, t, d, threads=3, pause_s=0.001):
		self.failed, self.done, self.stopping = [], 0, threading.Event()
		self.lock = threading.Lock()
		self.channels = [t.channel(d, grpc__enable_retries=1) for _ in range(threads)]
		self.pause_s = pause_s
		self.threads = [t.thread(self.run, ch) for ch in self.channels]
		t.after(self.stop)

	def run(self, channel):
		call = channel.unary_unary(GREETER)
		i = 0
		while not self.stopping.is_set():
			i += 1
			try:
				if call(b"%d" % i, timeout=60) != b"%d" % i:
					raise ValueError("another answer")
				with self.lock:
					self.done += 1
			except (grpc.RpcError, ValueError) as e:
				with self.lock:
					self.failed.append("%s: %s" % (e.code(), e.details()) if isinstance(e, grpc.RpcError) else str(e))
			time.sleep(self.pause_s)

	def more(self, n=50):
		"""So many calls have ended since now."""
		goal = self.done + n
		until(lambda: self.done >= goal or self.failed, 15, "%d more calls" % n)

	def stop(self):
		self.stopping.set()
		for th in self.threads:
			th.join(15)


class Chat:
	"""A long stream: says something now and then, and hears it back."""

	def __init__(self, t, d):
		import queue
		self.out = queue.Queue()
		self.answers = t.channel(d).stream_stream("/a.b.C/hold")(iter(self.out.get, None))
		same(next(self.answers), b"here")

	def say(self, what):
		self.out.put(what)
		same(next(self.answers), what)

	def end(self):
		self.out.put(None)
		same(list(self.answers), [])
		same(self.answers.code(), grpc.StatusCode.OK)


def still(d):
	same(http1(d.sock, "GET", "/healthcheck").status, 200)


# ---- what callers see ----------------------------------------------------------------------------------------------------

@case
def a_hot_upgrade_fails_no_call_and_ends_no_stream(t):
	p = Provider(t, "a")
	d = service(t, {DEMO: [p.address]}, drain={"deadline": "120s"})
	inode = os.stat(d.sock).st_ino
	callers = Callers(t, d)
	chats = [Chat(t, d) for _ in range(3)]
	callers.more()
	old = follow(d)
	callers.more(100)
	for chat in chats:
		chat.say(b"still here")
	same(old.poll(), None, "the old process waits for its streams")
	same(os.stat(d.sock).st_ino, inode)
	for chat in chats:
		chat.end()
	same(old.wait(5 * PATIENCE), 0)
	callers.more()
	callers.stop()
	same(callers.failed, [])
	same((d.stat("upgrades"), d.stat("upgrades_failed")), (1, 0))
	# Its files go with the last one that serves.
	same(d.stop(), 0)
	check(not os.path.exists(d.sock) and not os.path.exists(d.sock + ".lock") and not os.path.exists(d.control))


@case
def five_upgrades_in_a_row_fail_no_call_and_leak_nothing(t):
	p = Provider(t, "a")
	d = service(t, {DEMO: [p.address]})
	callers = Callers(t, d, threads=2)
	callers.more()
	had = d.descriptors()
	for round in range(5):
		old = follow(d)
		callers.more(30)
		same(old.wait(5 * PATIENCE), 0)
	callers.stop()
	same(callers.failed, [])
	same(d.stat("upgrades"), 5)
	# Callers and providers have their connections to the new process as they had to the first one.
	until(lambda: d.descriptors() <= had + 2, 3, "as many descriptors as before (%d)" % had)


@case
def a_program_that_was_replaced_is_started_by_SIGHUP_and_the_same_one_is_not(t):
	p = Provider(t, "a")
	d = service(t, {DEMO: [p.address]})
	pid = d.pid
	d.reload()
	same(d.status()["pid"], pid, "the program is the same: a reload")
	put_program(t)
	old = follow(d, signal.SIGHUP)
	same(old.wait(5 * PATIENCE), 0)
	pid = d.pid
	d.reload()
	same(d.status()["pid"], pid)


@case
def the_new_process_has_the_new_configuration_doors_that_come_and_go_included(t):
	p = Provider(t, "a")
	port, gone, stays, abstract = t.port(), t.port(), t.port(), "@" + t.path("abstract")
	both = [{"unix": t.path("s.sock")}, {"unix": abstract}, {"tcp": "127.0.0.1:%d" % stays}]
	d = service(t, {DEMO: [p.address]}, listen=both + [{"unix": t.path("gone.sock")}, {"tcp": "127.0.0.1:%d" % gone}])
	conf = d.conf
	conf["apps"][0]["listen"] = both + [{"tcp": "127.0.0.1:%d" % port}]
	d.write(conf)
	same(follow(d).wait(5 * PATIENCE), 0)
	for at in (d.sock, abstract, ("127.0.0.1", stays), ("127.0.0.1", port)):
		same(http1(at, "GET", "/healthcheck").status, 200)
	check(not os.path.exists(t.path("gone.sock")) and not os.path.exists(t.path("gone.sock.lock")))
	try:
		dial(("127.0.0.1", gone))
		check(False, "a port that is not listed any more is open")
	except ConnectionRefusedError:
		pass


@case
def what_the_app_has_said_goes_along(t):
	d = service(t, {})
	same(http1(d.sock, "POST", "/healthcheck/ok?ttl=60s").status, 200)
	before = http1(d.sock, "GET", "/healthcheck").json
	same(follow(d).wait(5 * PATIENCE), 0)
	after = http1(d.sock, "GET", "/healthcheck").json
	same((after["state"], after["since_unix_ms"]), (before["state"], before["since_unix_ms"]))
	same(http1(d.sock, "POST", "/healthcheck/fail").status, 200)
	same(follow(d).wait(5 * PATIENCE), 0)
	check(http1(d.sock, "GET", "/healthcheck").json["state"] in ("failing", "drained"))


@case
def who_was_just_let_in_by_the_old_process_may_speak_and_is_heard_by_the_new_one(t):
	d = service(t, {}, limits={"preface_time": "60s"}, drain={"deadline": "120s"})
	same(http1(d.sock, "POST", "/healthcheck/ok").status, 200)
	silent = dial(d.sock)
	until(lambda: d.status()["apps"][0]["listen"][0]["connections"] >= 1, 5, "the old process to accept it")
	old = follow(d)
	same(old.poll(), None)
	silent.sendall(b"POST /healthcheck/fail HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	check(silent.recv(4096).startswith(b"HTTP/1.1 200"))
	until(lambda: http1(d.sock, "GET", "/healthcheck").json["state"] in ("failing", "drained"), 5, "the new process to know it")
	silent.close()
	same(old.wait(5 * PATIENCE), 0)


@case
def calls_to_the_app_and_those_who_ask_about_it_find_the_new_process(t):
	server = Provider(t, "server")
	inbound, health = t.port(), t.port()
	d = service(t, {}, app={"inbound": [{"tcp": "127.0.0.1:%d" % inbound, "to": server.address}], "health": {"listen": [{"tcp": "127.0.0.1:%d" % health}]}}, drain={"deadline": "120s"})
	same(http1(d.sock, "POST", "/healthcheck/ok").status, 200)
	call = t.channel("127.0.0.1:%d" % inbound, authority="shop", grpc__enable_retries=1).unary_unary(GREETER)     # as Callers'
	same(call(b"before", timeout=60), b"before")
	for _ in range(3):
		old = follow(d)
		same(http1(("127.0.0.1", health), "GET", "/healthz/ready").status, 200)
		same(call(b"after", timeout=60), b"after")
		same(old.wait(5 * PATIENCE), 0)


@case
def long_streams_end_at_the_deadline_as_UNAVAILABLE(t):
	p = Provider(t, "a")
	d = service(t, {DEMO: [p.address]}, drain={"deadline": "300ms"})
	chat = Chat(t, d)
	old = follow(d)
	try:
		next(chat.answers)
		check(False, "the stream goes on")
	except grpc.RpcError as e:
		same(e.code(), grpc.StatusCode.UNAVAILABLE)
	chat.out.put(None)
	same(old.wait(5 * PATIENCE), 0)
	d.wait_log("deadline has passed with 1 calls")


# ---- beside a control plane ------------------------------------------------------------------------------------------------

def in_a_mesh(t):
	p = Provider(t, "a")
	plane = t.plane()
	plane.service(DEMO, p.address)
	d = service(t, {}, xds={"server": plane.server}, snapshot={"dir": t.path("snap")}, drain={"deadline": "120s"})
	callers = Callers(t, d, threads=2)
	callers.more(20)
	return p, plane, d, callers


@case
def names_of_a_mesh_are_known_to_the_new_process_from_the_snapshot(t):
	p, plane, d, callers = in_a_mesh(t)
	chat = Chat(t, d)
	old = follow(d)
	callers.more(50)
	# Two processes, two streams; one file, which is the new one's.
	same(d.status()["xds"][0]["snapshot"]["state"], "loaded") if "snapshot" in d.status()["xds"][0] else None
	until(lambda: os.listdir(t.path("snap")) == ["shop.snapshot"], 5, "one snapshot")
	chat.end()
	same(old.wait(5 * PATIENCE), 0)
	# And again with nobody to ask.
	plane.kill()
	same(follow(d).wait(5 * PATIENCE), 0)
	callers.more(50)
	callers.stop()
	same(callers.failed, [])
	check("another daemon holds it" not in d.stderr(), "the new process had no snapshot")


@case
def a_snapshot_is_the_old_processs_again_when_the_new_one_dies(t):
	p, plane, d, callers = in_a_mesh(t)
	d.expect_error("upgrade")
	chat = Chat(t, d)
	old = follow(d)
	d.process.kill()
	d.wait_log("which had taken over, has died")
	d.process = old
	chat.end()
	until(lambda: os.listdir(t.path("snap")) == ["shop.snapshot"], 5, "one snapshot")
	callers.more(20)
	callers.stop()
	plane.kill()
	same(follow(d).wait(5 * PATIENCE), 0)
	# Those that were called before the new process died had their answers from it, or none.
	late = Callers(t, d, threads=1)
	late.more(20)
	late.stop()
	same(late.failed, [])


# ---- programs that are no good ---------------------------------------------------------------------------------------------

# A successor that knows the words and nothing else.
TALK = """#!/usr/bin/python3
import os, signal, socket
s = socket.socket(fileno=int(os.environ["THINMESH_HANDOVER"].split(",")[0]))
say = s.send
%s
"""

BAD = [
	("ends at once", "#!/bin/sh\nexit 3\n", r"ended before it was ready \(exit status 3\)"),
	("is killed", "#!/bin/sh\nkill -9 $$\n", r"ended before it was ready \(signal 9"),
	("is none", "this is no program\0\1\2", r"can't be started"),
	("talks nonsense", TALK % 'for word in (b"go", b"here", b"\\0\\xff" * 3000, b"life app=shop text=v1", b"bye", b"re", b""): say(word)', r"ended before it was ready \(exit status 0\)"),
	("hangs", "#!/bin/sh\nexec sleep 60\n", r"was not ready in time and was ended"),
]


@cases("a program that %s changes nothing", BAD)
def a_bad_program(t, what, text, pattern):
	p = Provider(t, "a")
	m = Manager(t)
	d = service(t, {DEMO: [p.address]}, m, drain={"deadline": "20s", "takeover": "5s" if what == "hangs" else "60s"})
	d.expect_error("upgrade")
	m.wait(r"^READY=1$")
	callers = Callers(t, d, threads=1)
	callers.more(10)
	pid, had = d.pid, d.descriptors()
	put_program(t, text)
	d.signal(signal.SIGHUP)
	d.wait_log(pattern)
	callers.more(20)
	same(d.status()["pid"], pid)
	same(d.stat("upgrades_failed"), 1)
	# The manager, who was told of a reload, is told of its end.
	m.wait(r"^RELOADING=1$")
	until(lambda: m.pump() or [x for x in m.heard if re.search(r"^READY=1$", x[1], re.M)][1:], 5, "a second READY=1")
	until(lambda: d.descriptors() == had, 5, "as many descriptors as before (%d)" % had)
	# And the next one succeeds.
	put_program(t)
	same(follow(d, signal.SIGHUP).wait(5 * PATIENCE), 0)
	callers.more(20)
	callers.stop()
	same(callers.failed, [])
	same((d.stat("upgrades"), d.stat("upgrades_failed")), (1, 1))


@case
def a_configuration_that_does_not_stand_leaves_the_old_process_serving(t):
	p = Provider(t, "a")
	d = service(t, {DEMO: [p.address]})
	d.expect_error("upgrade")
	pid, conf = d.pid, d.conf
	d.write("apps: nonsense\n")
	d.signal(signal.SIGUSR2)
	d.wait_log(r"ended before it was ready \(exit status 2\)")
	same(d.status()["pid"], pid)
	d.write(conf)
	same(follow(d).wait(5 * PATIENCE), 0)
	still(d)


# ---- killed in the middle ----------------------------------------------------------------------------------------------------

def slow_to_be_ready(t, m=None, **kw):
	"""A mesh that nobody answers for: a new process waits some seconds for it before it is ready."""
	p = Provider(t, "a")
	d = service(t, {DEMO: [p.address]}, m, xds={"server": "127.0.0.1:%d" % t.port()}, snapshot={"dir": ""}, **kw)
	return p, d


def started(d):
	return int(d.wait_log(r"is started as process (\d+)").group(1))


def has_read(d):
	d.wait_log(r"upgrade: takes over from process")


@case
def a_new_process_that_is_killed_before_it_is_ready_changes_nothing(t):
	_, d = slow_to_be_ready(t)
	d.expect_error("upgrade")
	callers = Callers(t, d, threads=2)
	callers.more(10)
	d.signal(signal.SIGUSR2)
	pid = started(d)
	has_read(d)
	os.kill(pid, signal.SIGKILL)
	d.wait_log(r"ended before it was ready \(signal 9")
	callers.more(50)
	callers.stop()
	same(callers.failed, [])
	same(d.status()["pid"], d.pid)
	check(os.path.exists(d.sock))


@case
def an_old_process_that_is_killed_before_the_new_one_is_ready_leaves_it_serving_alone(t):
	m = Manager(t)
	_, d = slow_to_be_ready(t, m)
	m.wait(r"^READY=1$")
	inode = os.stat(d.sock).st_ino
	d.signal(signal.SIGUSR2)
	pid = started(d)
	has_read(d)
	d.process.kill()
	d.process.wait()
	# Callers who come now wait; nobody is refused.
	early = dial(d.sock)
	early.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	check(early.recv(100).startswith(b"HTTP/1.1 200"))
	early.close()
	d.process = Successor(pid)
	same(d.status()["pid"], pid)
	same(os.stat(d.sock).st_ino, inode)
	d.wait_log("has ended before it handed over; goes on alone")
	# It claims to be the service; whether the manager believes it is the manager's affair.
	until(lambda: m.pump() or any(p == pid and "MAINPID=%d" % pid in text for p, text in m.ignored), 5, "MAINPID= of the new process")
	same(d.stop(), 0)
	check(not os.path.exists(d.sock))


@case
def a_new_process_that_dies_while_the_old_one_drains_gives_the_doors_back(t):
	p = Provider(t, "a")
	d = service(t, {DEMO: [p.address]}, drain={"deadline": "120s"})
	d.expect_error("upgrade")
	inode = os.stat(d.sock).st_ino
	chat = Chat(t, d)
	old = follow(d)
	d.process.kill()
	d.wait_log("which had taken over, has died")
	d.process = old
	same(d.status()["pid"], old.pid)
	chat.say(b"all the time")
	callers = Callers(t, d, threads=1)
	callers.more(20)
	same(os.stat(d.sock).st_ino, inode)
	same((d.stat("upgrades"), d.stat("upgrades_failed")), (1, 1))
	# It is as before: it can be followed again, and drains.
	old = follow(d)
	callers.more(20)
	callers.stop()
	same(callers.failed, [])
	chat.end()
	same(old.wait(5 * PATIENCE), 0)
	still(d)


@case
def a_new_process_that_dies_between_ready_and_its_first_accept_gives_the_doors_back(t):
	d = service(t, {})
	d.expect_error("upgrade")
	put_program(t, TALK % 'say(b"ready"); s.recv(100) == b"go" and os.kill(os.getpid(), signal.SIGKILL)')
	d.signal(signal.SIGUSR2)
	d.wait_log("which had taken over, has died")
	still(d)
	same(d.status()["pid"], d.pid)
	put_program(t)
	same(follow(d).wait(5 * PATIENCE), 0)
	still(d)


@case
def a_new_process_that_is_ready_and_then_hangs_is_ended_and_gives_the_doors_back(t):
	d = service(t, {})
	d.expect_error("upgrade")
	put_program(t, TALK % 'say(b"ready"); signal.pause()')
	d.signal(signal.SIGUSR2)
	d.wait_log("was told to go and does not answer; it is ended")
	d.wait_log("which had taken over, has died")
	still(d)
	same(d.status()["pid"], d.pid)
	same(d.stat("upgrades_failed"), 1)
	put_program(t)
	same(follow(d).wait(5 * PATIENCE), 0)
	still(d)


@case
def an_old_process_that_is_killed_while_it_drains_takes_only_its_streams_along(t):
	p = Provider(t, "a")
	d = service(t, {DEMO: [p.address]}, drain={"deadline": "120s"})
	chat = Chat(t, d)
	callers = Callers(t, d, threads=2)
	callers.more(10)
	old = follow(d)
	callers.more(50)
	old.kill()
	old.wait()
	try:
		next(chat.answers)
		check(False, "the stream goes on")
	except grpc.RpcError as e:
		same(e.code(), grpc.StatusCode.UNAVAILABLE)
	chat.out.put(None)
	callers.more(50)
	callers.stop()
	same(callers.failed, [])
	check(os.path.exists(d.sock))
	same(d.stop(), 0)
	check(not os.path.exists(d.sock))


@case
def the_new_process_may_end_while_the_old_one_drains_and_is_not_mourned(t):
	p = Provider(t, "a")
	port = t.port()
	d = service(t, {DEMO: [p.address]}, drain={"deadline": "120s"}, listen=[{"unix": t.path("s.sock")}, {"tcp": "127.0.0.1:%d" % port}])
	chat = Chat(t, d)
	old = follow(d)
	same(d.stop(), 0)
	d.wait_log("which had taken over, has ended")
	for at in (d.sock, ("127.0.0.1", port)):
		try:
			dial(at)
			check(False, "%s is still open" % (at,))
		except (FileNotFoundError, ConnectionRefusedError):
			pass
	chat.say(b"to the end")
	chat.end()
	same(old.wait(5 * PATIENCE), 0)


@case
def asked_twice_it_happens_once_and_SIGTERM_breaks_it_off(t):
	_, d = slow_to_be_ready(t)
	d.signal(signal.SIGUSR2)
	pid = started(d)
	d.signal(signal.SIGUSR2)
	d.wait_log("asked again, ignored")
	same(len(re.findall("is started as process", d.stderr())), 1)
	has_read(d)
	same(d.stop(), 0)
	until(lambda: not os.path.exists("/proc/%d" % pid) or Successor(pid).poll() is not None, 5, "the new process to go too")
	check(not os.path.exists(d.sock))


@case
def a_chain_of_processes_that_drain_side_by_side(t):
	p = Provider(t, "a")
	d = service(t, {DEMO: [p.address]}, drain={"deadline": "120s"})
	chats, olds = [], []
	for _ in range(3):
		chats.append(Chat(t, d))
		olds.append(follow(d))
	# The one in the middle ends first: nobody takes back what others serve.
	for i in (1, 0, 2):
		chats[i].say(b"%d" % i)
		chats[i].end()
		same(olds[i].wait(5 * PATIENCE), 0)
		still(d)
	same(d.stat("upgrades"), 3)
	check("serves again" not in d.stderr())


# ---- the manager -------------------------------------------------------------------------------------------------------------

@case
def the_manager_follows_and_the_watchdog_is_fed_by_the_new_process(t):
	p = Provider(t, "a")
	m = Manager(t)
	d = service(t, {DEMO: [p.address]}, m, env={"WATCHDOG_USEC": "200000", "WATCHDOG_PID": ""}, drain={"deadline": "120s"})
	m.wait(r"^READY=1$", d.pid)
	m.wait(r"^WATCHDOG=1$", d.pid)
	chat = Chat(t, d)
	put_program(t)
	old = follow(d, signal.SIGHUP)
	m.wait(r"^RELOADING=1$", old.pid)
	m.wait(r"^MAINPID=%d$" % d.pid, old.pid)
	m.wait(r"^READY=1$", d.pid)
	m.wait(r"^STATUS=ready", d.pid)
	m.wait(r"^WATCHDOG=1$", d.pid)
	m.heard.clear()
	for _ in range(2):
		m.wait(r"^WATCHDOG=1$", d.pid)
		m.heard.clear()
	same([text for pid, text in m.ignored if pid == old.pid], [], "the old process has nothing to say any more")
	chat.end()
	same(old.wait(5 * PATIENCE), 0)
	same(d.stop(), 0)
	m.wait(r"^STOPPING=1$", d.pid)


@case
def a_drain_asks_for_time_and_says_what_is_left(t):
	p = Provider(t, "a")
	m = Manager(t)
	d = service(t, {DEMO: [p.address]}, m, drain={"deadline": "120s"})
	chat = Chat(t, d)
	d.signal(signal.SIGTERM)
	m.wait(r"^STOPPING=1$")
	m.wait(r"^STATUS=draining: 1 calls")
	m.wait(r"^EXTEND_TIMEOUT_USEC=\d+$")
	chat.say(b"to the end")
	chat.end()
	same(d.exit_code(), 0)


@case
def a_socket_units_socket_goes_along_by_the_name_of_its_app(t):
	p = Provider(t, "a")
	s = listening(t.path("unit.sock"))
	inode = os.stat(t.path("unit.sock")).st_ino
	fd = s.fileno()
	d = service(t, {DEMO: [p.address]}, start=False, wrapper=[PYTHON, "-c", ACTIVATE, str(fd), "shop"], pass_fds=[fd], wait=[t.path("unit.sock"), t.path("c.sock")])
	d.start()
	s.close()
	for _ in range(2):
		same(follow(d).wait(5 * PATIENCE), 0)
		with t.h2(t.path("unit.sock")) as c:
			same(c.call(DEMO, GREETER).trailers["who"], "a")
	same(os.stat(t.path("unit.sock")).st_ino, inode)
	check(not os.path.exists(t.path("s.sock")))


def restarted(t, d, m):
	"""The manager starts the service anew, with what it has kept."""
	m.pump()         # what the last process had to say
	names = list(m.store)
	fds = [m.store[n] for n in names]
	m.main = None
	d.wrapper, d.pass_fds = [PYTHON, "-c", ACTIVATE, ",".join(map(str, [os.dup(f) for f in fds])), ":".join(names)], ()
	# The wrapper's arguments name descriptors of ours: they have to be inheritable under these numbers.
	d.pass_fds = [int(x) for x in d.wrapper[3].split(",")]
	d.start()
	for fd in d.pass_fds:
		os.close(fd)


@cases("a daemon that is %s finds its sockets again and callers see a pause", [("killed", signal.SIGKILL), ("restarted", signal.SIGTERM)])
def over_the_store(t, what, how):
	p = Provider(t, "a")
	m = Manager(t)
	port = t.port()
	d = service(t, {DEMO: [p.address]}, m, store=16, listen=[{"unix": t.path("s.sock")}, {"tcp": "127.0.0.1:%d" % port}])
	m.wait(r"^READY=1$")
	until(lambda: m.pump() or len(m.store) == 3, 5, "two doors and the control socket in the store")
	inode = os.stat(d.sock).st_ino
	d.wanted_exit = -how if how == signal.SIGKILL else 0
	d.process.send_signal(how)
	d.process.wait()
	same(os.stat(d.sock).st_ino, inode, "the file stays while the manager has the socket")
	early = [dial(d.sock), dial(("127.0.0.1", port))]
	for s in early:
		s.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	d.wanted_exit = 0
	restarted(t, d, m)
	for s in early:
		check(s.recv(100).startswith(b"HTTP/1.1 200"))
		s.close()
	same(os.stat(d.sock).st_ino, inode)
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).trailers["who"], "a")
	# An upgrade on top of it: still the same, and nothing is stored twice.
	same(len(m.store), 3)
	same(follow(d).wait(5 * PATIENCE), 0)
	same(os.stat(d.sock).st_ino, inode)
	# A door that a reload takes away leaves the store and the folder.
	conf = d.conf
	conf["apps"][0]["listen"] = [{"tcp": "127.0.0.1:%d" % port}]
	d.reload(conf)
	until(lambda: m.pump() or len(m.store) == 2, 5, "the door to leave the store")
	check(not os.path.exists(d.sock))


@case
def a_socket_out_of_the_store_whose_file_is_gone_is_made_anew(t):
	p = Provider(t, "a")
	m = Manager(t)
	d = service(t, {DEMO: [p.address]}, m, store=16)
	m.wait(r"^READY=1$")
	until(lambda: m.pump() or len(m.store) == 2, 5, "the doors in the store")
	d.process.kill()
	d.process.wait()
	os.unlink(d.sock)
	restarted(t, d, m)
	d.wait_log("which the manager has kept, can't be used")
	still(d)


@case
def a_manager_that_keeps_nothing_is_sent_nothing(t):
	m = Manager(t)
	d = service(t, {}, m)
	m.wait(r"^READY=1$")
	d.reload()
	same(d.stop(), 0)
	m.pump()
	same([text for _, text in m.heard if "FDSTORE" in text], [])
	check(not os.path.exists(d.sock))


@case
def as_PID_1_it_is_refused_and_the_configuration_is_read_instead(t):
	if subprocess.run(["unshare", "-fp", "true"], capture_output=True).returncode != 0:
		raise Skipped("no PID namespace can be made here")
	p = Provider(t, "a")
	d = service(t, {DEMO: [p.address]}, wrapper=["unshare", "-fp", "--kill-child"], start=False)
	d.judge_exit = False
	d.expect_error("upgrade: refused: this is PID 1")
	d.start()
	with open("/proc/%d/task/%d/children" % (d.pid, d.pid)) as f:
		pid = int(f.read())
	os.kill(pid, signal.SIGUSR2)
	d.wait_log("refused: this is PID 1")
	put_program(t)
	before = d.stat("reloads")
	os.kill(pid, signal.SIGHUP)
	until(lambda: d.stat("reloads") > before, 5, "a reload")
	still(d)
	os.kill(pid, signal.SIGTERM)


@case
def under_a_real_systemd(t):
	with open("/proc/1/comm") as f:
		first = f.read().strip()
	if first != "systemd" or os.geteuid() != 0:
		raise Skipped("PID 1 is '%s', not a systemd that we may command" % first)
	name = "thinmesh-e2e-%d.service" % os.getpid()
	p = Provider(t, "a")
	program = t.path("thinmesh-program")
	shutil.copy(t.binary, program)
	t.original, t.binary = t.binary, program
	conf = t.write("unit.yaml", json.dumps(t.config({DEMO: [p.address]})))
	unit = "/run/systemd/system/" + name
	with open(unit, "w") as f:
		f.write("[Service]\nType=notify\nNotifyAccess=main\nExecStart=%s run -c %s\nExecReload=/bin/kill -HUP $MAINPID\nFileDescriptorStoreMax=16\nEnvironment=FDSTORE=16\n"
			"Restart=on-failure\nRestartSec=100ms\nWatchdogSec=5\nKillMode=mixed\n" % (program, conf))

	def control(*args):
		return subprocess.run(["systemctl"] + list(args), capture_output=True, text=True, check=True).stdout.strip()

	def end():
		subprocess.run(["systemctl", "stop", name], capture_output=True)
		os.unlink(unit)
		subprocess.run(["systemctl", "daemon-reload"], capture_output=True)
	t.after(end)
	control("daemon-reload")
	control("start", name)
	sock = t.path("s.sock")
	inode, pid = os.stat(sock).st_ino, control("show", "-P", "MainPID", name)
	put_program(t)
	control("reload", name)
	until(lambda: control("show", "-P", "MainPID", name) not in (pid, "0"), 10, "another main process")
	same(control("is-active", name), "active")
	same(http1(sock, "GET", "/healthcheck").status, 200)
	control("restart", name)
	same(http1(sock, "GET", "/healthcheck").status, 200)
	os.kill(int(control("show", "-P", "MainPID", name)), signal.SIGKILL)
	same(http1(sock, "GET", "/healthcheck", timeout_s=10).status, 200)
	same(os.stat(sock).st_ino, inode)
