"""The socket files: how they are made, taken over, guarded and removed; and what happens when descriptors run out."""
import grp
import os
import signal
import socket
import stat
import subprocess
import sys

from harness import DEMO, GREETER, PYTHON, Daemon, case, check, dial, http1, raw_exchange, same, until
from providers import Provider

NOBODY = 65534


def as_user(t, uid, code, *args):
	"""Runs a line of Python as another user and returns what it printed."""
	kw = {"user": uid, "group": uid, "extra_groups": []} if os.getuid() == 0 else {}
	done = subprocess.run([PYTHON, "-c", code] + list(args), capture_output=True, text=True, timeout=60, cwd="/", **kw)
	return done.stdout.strip() + done.stderr[-300:]


ASK = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
try:
	s.connect(sys.argv[1])
	s.sendall(b"GET /healthcheck HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
	got = s.recv(100)
	print("closed" if not got else got.split(b" ")[1].decode())
except PermissionError:
	print("denied")
except (ConnectionResetError, BrokenPipeError):
	print("closed")
"""


@case
def a_stale_socket_is_taken_over(t):
	s = socket.socket(socket.AF_UNIX)
	s.bind(t.path("s.sock"))
	s.close()
	check(os.path.exists(t.path("s.sock")))
	d = t.daemon({})
	same(http1(d.sock, "GET", "/healthcheck").status, 200)


@case
def a_killed_daemon_leaves_a_socket_that_the_next_one_takes(t):
	d = t.daemon({})
	d.judge_exit = False
	d.process.kill()
	d.process.wait()
	check(os.path.exists(d.sock))
	again = t.daemon({})
	same(http1(again.sock, "GET", "/healthcheck").status, 200)


@case
def a_live_socket_of_another_daemon_is_refused_with_a_clear_message(t):
	d = t.daemon({})
	second = t.daemon(conf=t.config({}, control={"unix": t.path("c2.sock")}), start=False)
	second.judge_exit = False
	second.expect_error("s.sock")
	second.spawn()
	code = second.exit_code(5)
	check(code not in (0,), code)
	check(d.sock in second.stderr() and ("in use" in second.stderr() or "another" in second.stderr() or "live" in second.stderr()), second.stderr())
	same(http1(d.sock, "GET", "/healthcheck").status, 200, "the first one still serves")


@case
def a_live_socket_of_another_program_is_refused(t):
	s = socket.socket(socket.AF_UNIX)
	s.bind(t.path("s.sock"))
	s.listen(8)
	d = t.daemon({}, start=False)
	d.judge_exit = False
	d.expect_error("s.sock")
	d.spawn()
	check(d.exit_code(5) != 0)
	inode = os.stat(t.path("s.sock")).st_ino
	s.close()
	same(os.stat(t.path("s.sock")).st_ino, inode, "the other's file was touched")


@case
def a_file_that_is_no_socket_is_never_removed(t):
	t.write("s.sock", "precious")
	d = t.daemon({}, start=False)
	d.judge_exit = False
	d.expect_error("s.sock")
	d.spawn()
	check(d.exit_code(5) != 0)
	same(open(t.path("s.sock")).read(), "precious")
	check(t.path("s.sock") in d.stderr(), d.stderr())


@case
def a_folder_that_is_missing_is_told(t):
	d = t.daemon({}, listen=[{"unix": t.path("missing/s.sock")}], start=False)
	d.judge_exit = False
	d.expect_error("missing")
	d.spawn()
	check(d.exit_code(5) != 0)
	check("missing" in d.stderr() and ("No such" in d.stderr() or "not exist" in d.stderr()), d.stderr())


@case
def a_folder_that_everybody_may_write_is_warned_of(t):
	os.mkdir(t.path("open"))
	os.chmod(t.path("open"), 0o777)
	d = t.daemon({}, listen=[{"unix": t.path("open/s.sock")}])
	check("writable by everybody" in d.stderr() and t.path("open") in d.stderr(), d.stderr())


@case
def the_mode_and_the_group_are_those_of_the_file(t):
	group = next((g for g in grp.getgrall() if g.gr_gid not in (0, os.getgid())), None)
	gid = group.gr_gid if os.getuid() == 0 else os.getgid()
	name = grp.getgrgid(gid).gr_name
	# Whatever umask the daemon is given.
	t.daemon({}, listen=[{"unix": t.path("s.sock"), "mode": "0606", "group": name}, {"unix": t.path("b.sock")}], umask=0o077)
	st = os.stat(t.path("s.sock"))
	same((stat.S_IMODE(st.st_mode), st.st_gid), (0o606, gid))
	same(stat.S_IMODE(os.stat(t.path("b.sock")).st_mode), 0o660)


@case
def an_abstract_socket_carries_calls(t):
	p = Provider(t, "a")
	name = "@" + t.path("abstract")
	t.daemon({DEMO: [p.address]}, listen=[{"unix": name}])
	with t.h2(name) as c:
		same(c.call(DEMO, GREETER).trailers["who"], "a")
	ch = t.channel("unix-abstract:" + name[1:])
	same(ch.unary_unary(GREETER)(b"hi", timeout=60), b"hi")


@case
def a_path_that_is_too_long_is_told_before_anything_is_opened(t):
	path = t.path("x" * 120 + ".sock")
	d = t.daemon({}, listen=[{"unix": t.path("b.sock")}, {"unix": path}], start=False)
	d.judge_exit = False
	d.spawn()
	same(d.exit_code(5), 2)
	check("107" in d.stderr() and "thinmesh.yaml:" in d.stderr(), d.stderr())
	check(not os.path.exists(t.path("b.sock")))


@case
def the_socket_is_removed_at_the_end(t):
	d = t.daemon({})
	same(d.stop(), 0)
	same([f for f in os.listdir(t.dir) if f.endswith(".sock")], [])


@case
def a_socket_that_is_not_ours_any_more_stays(t):
	d = t.daemon({})
	os.unlink(d.sock)
	s = socket.socket(socket.AF_UNIX)
	s.bind(d.sock)
	same(d.stop(), 0)
	check(os.path.exists(d.sock), "somebody else's socket was removed")
	s.close()


@case
def only_allowed_users_are_let_in(t):
	if os.getuid() != 0:
		return    # cannot become somebody else
	d = t.daemon({}, listen=[{"unix": t.path("s.sock"), "mode": "0666", "allow": {"uid": [0, 12345]}}])
	same(as_user(t, 0, ASK, d.sock), "200")
	same(as_user(t, 12345, ASK, d.sock), "200")
	same(as_user(t, NOBODY, ASK, d.sock), "closed")
	same(d.stat("down_connections_denied"), 1)


@case
def only_allowed_groups_are_let_in(t):
	if os.getuid() != 0:
		return
	d = t.daemon({}, listen=[{"unix": t.path("s.sock"), "mode": "0666", "allow": {"gid": [12345]}}])
	same(as_user(t, 12345, ASK, d.sock), "200")
	same(as_user(t, NOBODY, ASK, d.sock), "closed")


@case
def the_mode_keeps_others_out(t):
	if os.getuid() != 0:
		return
	d = t.daemon({}, listen=[{"unix": t.path("s.sock"), "mode": "0600"}])
	same(as_user(t, NOBODY, ASK, d.sock), "denied")


@case
def connections_of_one_user_are_limited(t):
	d = t.daemon({}, limits={"connections_per_uid": 4})
	held = [t.connect(d) for _ in range(12)]
	same(held[-1].recv(1), b"", "the last one is closed")
	for s in held:
		s.close()
	until(lambda: raw_exchange(d.sock, b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 1)[0].startswith(b"HTTP/1.1 200"), 5,
		"room after they are gone")
	check(d.stat("down_connections_limited_uid") >= 1)


@case
def connections_of_one_listener_are_limited_and_wait(t):
	d = t.daemon({}, limits={"connections_per_listener": 3})
	held = [t.connect(d) for _ in range(6)]
	until(lambda: d.stat("down_connections_limited_listener") >= 1, 3, "the limit")
	for s in held[:5]:
		s.close()
	# The last one was never refused: it waited in the backlog, and now it is its turn.
	held[5].sendall(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	check(held[5].recv(100).startswith(b"HTTP/1.1 200"))


@case
def running_out_of_descriptors_pauses_without_spinning_and_recovers(t):
	p = Provider(t, "a")
	d = t.daemon({DEMO: [p.address]}, wrapper=["prlimit", "--nofile=40:40", "--"])
	first = t.h2(d)
	same(first.call(DEMO, GREETER).grpc_status, 0)
	held = [t.connect(d) for _ in range(60)]
	until(lambda: d.descriptors() >= 32, 5, "the descriptors to be used up")
	# While it is full: the old connection still works, and time passes without work.
	before = d.cpu_s()
	for _ in range(20):
		same(first.call(DEMO, GREETER).grpc_status, 0)
	first.is_silent(0.5)
	used = d.cpu_s() - before
	check(used <= 0.15, "the daemon burns", used, "s of CPU in half a second with nothing to do")
	for s in held:
		s.close()
	until(lambda: raw_exchange(d.sock, b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 1)[0].startswith(b"HTTP/1.1 200"), 5,
		"room after they are gone")
	check(d.stat("accept_paused_descriptors") >= 1)


@case
def an_idle_daemon_does_nothing(t):
	p = Provider(t, "a")
	d = t.daemon({DEMO: [p.address]})
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).grpc_status, 0)
		# What the start and the call have left to do ends some time; whatever wakes it up again and again is there in each of these.
		for _ in range(4):
			c.is_silent(0.1)
			before = d.stat("loop_turns")
			c.is_silent(0.7)
			turns = d.stat("loop_turns") - before
			# Asking costs a few turns itself: a connection accepted, read, answered, closed.
			if turns <= 12:
				return
		check(False, "an idle daemon turned", turns, "times")


@case
def a_TCP_listener_that_is_not_loopback_is_refused(t):
	path = t.write("open.yaml", "apps:\n  - name: shop\n    listen: [{tcp: \"0.0.0.0:15051\"}]\n")
	done = t.cli("check", "-c", path)
	same(done.returncode, 2, done.stderr.decode())
	check(b":3:" in done.stdout + done.stderr and b"loopback" in done.stdout + done.stderr, done.stdout, done.stderr)


@case
def a_port_in_use_is_told_with_its_address(t):
	s = socket.socket()
	s.bind(("127.0.0.1", 0))
	s.listen(1)
	where = "127.0.0.1:%d" % s.getsockname()[1]
	d = t.daemon({}, listen=[{"tcp": where}], start=False)
	d.judge_exit = False
	d.expect_error(where)
	d.spawn()
	check(d.exit_code(5) != 0)
	check(where in d.stderr() and "in use" in d.stderr(), d.stderr())
	s.close()


@case
def a_signal_right_after_the_start_is_not_deadly(t):
	for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
		d = t.daemon({}, start=False)
		d.spawn()
		# The socket's file is made before anybody is told: the earliest moment at which we can be known of.
		until(lambda: os.path.exists(d.sock), 5, "the socket's file")
		d.signal(number)
		if number != signal.SIGTERM:
			same(http1(d.sock, "GET", "/healthcheck").status, 200)
			d.signal(signal.SIGTERM)
		same(d.exit_code(), 0, signal.Signals(number).name)
