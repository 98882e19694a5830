"""The app's life with real processes: posters that are killed, calls whose process ends, one-shot posts that are not the app, hooks, and programs as checks."""
import os
import pwd
import signal
import subprocess
import sys

from harness import DEMO, GREETER, Skipped, case, cases, check, http1, same, until
from providers import Provider

# An app of another process: speaks HTTP/1.1 on the socket, then keeps its connection and waits. argv: socket, then requests as METHOD:PATH:HOST.
APP = r"""
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
for request in sys.argv[2:]:
	method, path, host = request.split("|")
	s.sendall(("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n" % (method, path, host)).encode())
	head = b""
	while b"\r\n\r\n" not in head:
		head += s.recv(65536)
	print(head.split(b" ")[1].decode(), flush=True)
time.sleep(600)
"""


def app(t, d, *requests, **kw):
	"""The process, once all of its requests were answered; their statuses."""
	child = t.spawn([sys.executable, "-c", APP, d.sock, *requests], stdout=subprocess.PIPE, text=True, **kw)
	return child, [child.stdout.readline().strip() for _ in requests]


def kill(child):
	child.send_signal(signal.SIGKILL)
	child.wait()


def life(d):
	return http1(d.sock, "GET", "/healthcheck").json


def state(d):
	return life(d)["state"]


def says(t, d, *args, **kw):
	done = t.cli(*args, "-s", d.sock, **kw)
	same(done.returncode, 0, done.stderr)
	return done.stderr.decode()


@case
def a_poster_that_asked_to_be_watched_is_missed_when_it_is_killed(t):
	d = t.daemon({})
	child, statuses = app(t, d, "POST|/healthcheck/ok?watch=pid|any")
	same(statuses, ["200"])
	got = life(d)
	same((got["state"], got["processes"], got["asked_by"]["pid"]), ("ok", 1, child.pid))
	kill(child)
	until(lambda: state(d) == "gone", 5, "the death to be seen")
	same(life(d)["why"], "its process %d has ended" % child.pid)
	says(t, d, "ok")
	same(state(d), "ok")


@case
def a_post_of_curl_or_of_a_hook_is_not_the_app(t):
	d = t.daemon({})
	same(subprocess.run(["curl", "-sS", "-o", t.path("page"), "-X", "POST", "--unix-socket", d.sock, "http://x/healthcheck/ok"], timeout=60).returncode, 0)
	same((state(d), life(d)["processes"]), ("ok", 0))
	says(t, d, "ok")
	child, _ = app(t, d, "POST|/healthcheck/ok|x", "GET|/healthcheck|x")
	kill(child)
	child, _ = app(t, d, "POST|/healthcheck/ok?watch=pid|x")    # its death is seen, so those before it would have been
	same(life(d)["processes"], 1)
	check(state(d) == "ok")
	kill(child)
	until(lambda: state(d) == "gone", 5, "the death to be seen")


@case
def the_process_behind_a_connection_that_carries_calls_is_the_app(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	says(t, d, "ok")
	one, statuses = app(t, d, "POST|/t.Echo/nothing|" + DEMO)
	two, _ = app(t, d, "POST|/t.Echo/nothing|" + DEMO)
	check(statuses[0] != "404", statuses)
	same(life(d)["processes"], 2)
	same(t.cli("call", "-s", d.sock, DEMO + GREETER).returncode, 0)    # a tool of ours is nobody's app
	same(life(d)["processes"], 2)
	kill(one)
	until(lambda: life(d)["processes"] == 1, 5, "the first death to be seen")
	same(state(d), "ok")
	kill(two)
	until(lambda: state(d) == "gone", 5, "the second death to be seen")


@case
def a_process_is_named_by_its_number(t):
	d = t.daemon({}, app={"health": {"watch": False}})
	child = t.spawn(["sleep", "600"])
	says(t, d, "ok", "--pid", str(child.pid))
	same(life(d)["processes"], 1)
	kill(child)
	until(lambda: state(d) == "gone", 5, "the death to be seen")
	done = t.cli("ok", "-s", d.sock, "--pid", str(child.pid))
	check(done.returncode == 1 and b"has ended" in done.stderr, done)
	same(state(d), "gone")
	script = t.spawn(["sh", "-c", '"$0" ok -s "$1" --watch && exec sleep 600', t.binary, d.sock])    # the shell becomes the app
	until(lambda: state(d) == "ok", 5, "the script to say ok")
	same(life(d)["processes"], 1)
	kill(script)
	until(lambda: state(d) == "gone", 5, "the death to be seen")


@case
def nobody_has_somebody_elses_process_watched(t):
	if os.geteuid() != 0:
		raise Skipped("other users are tried as root only")
	nobody = pwd.getpwnam("nobody")
	d = t.daemon({}, listen=[{"unix": t.path("s.sock"), "mode": "0666"}])
	roots = t.spawn(["sleep", "600"])
	done = t.cli("ok", "-s", d.sock, "--pid", str(roots.pid), user=nobody.pw_uid)
	check(done.returncode == 1 and b"may not have it watched" in done.stderr, done)
	same(state(d), "unknown")
	theirs = t.spawn(["sleep", "600"], user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
	same(t.cli("ok", "-s", d.sock, "--pid", str(theirs.pid), user=nobody.pw_uid).returncode, 0)
	kill(theirs)
	until(lambda: state(d) == "gone", 5, "the death to be seen")
	same(d.stat("app_posts_denied"), 1)


@case
def a_poster_of_another_pid_namespace_is_watched_by_its_connection_and_not_by_its_number(t):
	if subprocess.run(["unshare", "-fp", "true"], capture_output=True).returncode != 0:
		raise Skipped("unshare may not make a PID namespace here")
	d = t.daemon({})
	done = subprocess.run(["unshare", "-fp", t.binary, "ok", "-s", d.sock, "--pid", "1"], capture_output=True, timeout=60)
	check(done.returncode == 1 and b"PID namespace" in done.stderr, done)
	same(state(d), "unknown")
	child = t.spawn(["unshare", "-fp", "--kill-child", sys.executable, "-c", APP, d.sock, "POST|/healthcheck/ok?watch=pid|x"], stdout=subprocess.PIPE, text=True)
	same(child.stdout.readline().strip(), "200")
	same((state(d), life(d)["processes"]), ("ok", 1))
	kill(child)
	until(lambda: state(d) == "gone", 5, "the death to be seen")


@case
def a_lease_and_a_wait_as_hooks_use_them(t):
	d = t.daemon({}, drain={"announce": "100ms", "deadline": "2s"})
	same(says(t, d, "ok", "--ttl", "100ms"), "")
	until(lambda: state(d) in ("failing", "drained"), 5, "the lease to run out")
	same(life(d)["why"], "its lease has run out")
	same(says(t, d, "ok", "--ttl", "60s"), "")
	check(0 < life(d)["lease_ms"] <= 60000)
	same(says(t, d, "fail", "--wait", "10s"), "")
	same(state(d), "drained")
	says(t, d, "ok")
	check("was over before" in says(t, d, "fail", "--wait", "1ms"))
	done = t.cli("fail", "-s", d.sock, "--wait", "2h")
	check(done.returncode == 1 and b"wait=2h is not understood" in done.stderr, done)


@cases("the app's own check is a program (%s)", [("its exit code", "test -e %s"), ("what it starts is ended with it", "test -e %s || sleep 600")])
def exec_check(t, what, command):
	flag = t.path("well")
	d = t.daemon({}, app={"health": {"check": {"exec": ["sh", "-c", command % flag], "period": "50ms", "timeout": "300ms", "failure_threshold": 2}}})
	until(lambda: state(d) == "failing", 10, "the check to fail")
	t.write("well", "")
	until(lambda: state(d) == "ok", 10, "the check to pass")
	os.remove(flag)
	until(lambda: state(d) == "failing", 10, "the check to fail again")
	check("its exec check fails" in life(d)["why"], life(d))
	says(t, d, "fail")
	t.write("well", "")
	until(lambda: life(d)["check"] == "passed", 10, "the check to pass again")
	check(state(d) in ("failing", "drained"), "what was said stays")
	says(t, d, "ok")
	until(lambda: state(d) == "ok", 5, "the app to be ok")    # a shell that the machine has kept waiting has failed a check meanwhile
	pid = d.pid
	d.stop()
	left = [p for p in os.listdir("/proc") if p.isdigit() and parent_of(p) == pid]
	same(left, [], "children of the daemon")


def parent_of(pid):
	try:
		with open("/proc/%s/stat" % pid) as f:
			return int(f.read().rpartition(")")[2].split()[1])
	except OSError:
		return 0


@case
def who_may_not_post_is_told_and_a_flood_is_paced(t):
	if os.geteuid() != 0:
		raise Skipped("other users are tried as root only")
	nobody = pwd.getpwnam("nobody")
	d = t.daemon({}, listen=[{"unix": t.path("s.sock"), "mode": "0666"}], app={"health": {"allow": {"uid": [nobody.pw_uid]}, "posts": 5}})
	done = t.cli("ok", "-s", d.sock)
	check(done.returncode == 1 and b"may not post" in done.stderr, done)
	same(t.cli("ok", "-s", d.sock, user=nobody.pw_uid).returncode, 0)
	out = subprocess.run(["curl", "-sS", "--max-time", "50", "-o", "/dev/null", "-w", "%{http_code}\n", "-X", "POST", "--unix-socket", d.sock, "http://x/healthcheck/ok"] +
		["-o", "/dev/null", "http://x/healthcheck/ok"] * 399, capture_output=True, text=True, timeout=60, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
	codes = out.stdout.split()
	check(len(codes) == 400 and codes.count("429") >= 200 and codes.count("200") >= 1 and set(codes) == {"200", "429"}, codes, out.stderr)
	same(state(d), "ok")


@case
def the_control_plane_hears_of_a_death(t):
	plane = t.plane()
	d = t.daemon({}, xds={"server": plane.at})
	child, _ = app(t, d, "POST|/healthcheck/ok?watch=pid|x")
	until(lambda: life(d).get("told_ok") is True, 5, "ok to be told")
	same(life(d)["registry"], "istio")
	kill(child)
	until(lambda: life(d).get("told_ok") is False, 5, "the death to be told")
	same(state(d), "gone")
