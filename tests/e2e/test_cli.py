"""The commands: what they print, how they end."""
import json
import os
import re
import subprocess

from harness import DEMO, GREETER, Daemon, case, cases, check, http1, same
from h2raw import grpc_message
from providers import Provider, RawProvider


def text(done):
	return done.stdout.decode() + done.stderr.decode()


@case
def the_version_tells_how_it_was_built(t):
	done = t.cli("-V")
	same(done.returncode, 0, text(done))
	check(re.search(r"thinmesh \d+\.\d+", done.stdout.decode()) and re.search("gcc|clang", done.stdout.decode()), done.stdout)


@case
def the_help_names_every_command(t):
	done = t.cli("--help")
	same(done.returncode, 0)
	for word in ("run", "check", "call", "ok", "fail", "ready", "status", "--print-conf", "THINMESH_SOCKET"):
		check(word in done.stdout.decode(), "no", word, "in", done.stdout.decode())


@case
def a_wrong_command_is_told_on_stderr_with_exit_2(t):
	for argv in (["rum"], ["run", "--fast"], [], ["call"], ["check", "-c"]):
		done = t.cli(*argv)
		same(done.returncode, 2, "%r: %s" % (argv, text(done)))
		check(done.stderr and not done.stdout, argv, done.stdout, done.stderr)


@case
def the_printed_configuration_is_one_that_check_accepts(t):
	done = t.cli("--print-conf")
	same(done.returncode, 0)
	printed = done.stdout.decode()
	for key in ("apps:", "services:", "limits:", "streams_per_connection", "drain:", "log:"):
		check(key in printed, "no", key)
	path = t.write("printed.yaml", printed)
	again = t.cli("check", "-c", path)
	same(again.returncode, 0, text(again))


@case
def check_accepts_a_good_file_in_silence_or_with_one_line(t):
	path = t.write("good.yaml", "apps:\n  - name: shop\n    listen:\n      - unix: %s\nservices:\n  - name: %s\n    endpoints: [\"127.0.0.1:1\"]\n"
		% (t.path("s.sock"), DEMO))
	done = t.cli("check", "-c", path)
	same(done.returncode, 0, text(done))
	check(not os.path.exists(t.path("s.sock")), "check opened the socket")


BROKEN = """apps:
  - name: shop
    lisen:
      - unix: %(s)s
  - name: shop2
    listen:
      - unix: %(s)s2
        mode: "9999"
services:
  - name: demo:1
    endpoints: ["10.0.0.1:70000"]
    timeout: soon
drain: {deadlin: 3s}
drain: {deadline: 3s}
"""


@case
def check_tells_every_problem_with_its_place_and_the_nearest_key(t):
	path = t.write("broken.yaml", BROKEN % {"s": t.path("s.sock")})
	done = t.cli("check", "-c", path)
	same(done.returncode, 2, text(done))
	lines = [l for l in text(done).splitlines() if path in l]
	places = {}
	for line in lines:
		m = re.match(re.escape(path) + r":(\d+):(\d+): (.+)", line)
		check(m, "no FILE:LINE:COLUMN:", line)
		places.setdefault(int(m.group(1)), []).append(m.group(3))
	for wanted in (3, 8, 11, 12, 13, 14):
		check(wanted in places, "nothing is said of line", wanted, text(done))
	check("listen" in places[3][0], "the nearest key is not named:", places[3])
	check("deadline" in places[13][0], "the nearest key is not named:", places[13])


@case
def broken_YAML_is_told_with_its_place(t):
	path = t.write("torn.yaml", "apps:\n  - name: \"shop\n    listen: [\n")
	done = t.cli("check", "-c", path)
	same(done.returncode, 2)
	check(re.search(re.escape(path) + r":\d+:\d+: ", text(done)), text(done))


@case
def check_warns_of_a_group_that_this_machine_does_not_know(t):
	path = t.write("group.yaml", "apps:\n  - name: shop\n    listen: [{unix: %s, group: no-such-group}]\n    health: {listen: [{unix: %s, group: neither}]}\n" % (
		t.path("s.sock"), t.path("h.sock")) + "control: {unix: %s, group: nor-this}\n" % t.path("c.sock"))
	done = t.cli("check", "-c", path)
	same(done.returncode, 0, text(done))
	for place, name in (("control.group", "nor-this"), (path + ":3", "no-such-group"), (path + ":4", "neither")):
		check("%s: warning: no group is named '%s' on this machine" % (place, name) in text(done), text(done))
	same(t.cli("check", "-c", t.write("known.yaml", "apps: [{name: shop, listen: [{unix: %s, group: root}, {unix: %s, group: \"12345\"}]}]\n" % (
		t.path("s.sock"), t.path("r.sock")))).stderr, b"")


@case
def check_tells_of_a_program_that_cannot_be_started(t):
	t.write("no-program", "text\n")
	t.write("program", "#!/bin/sh\n")
	os.chmod(t.path("program"), 0o755)
	for exec_, why in (("no-such-program", "No such file or directory"), (t.path("absent/program"), "No such file or directory"), (t.path("no-program"), "Permission denied"), (t.path(""), "it is no file"),
			("program", None), (t.path("program"), None), ("no-program", "Permission denied")):
		path = t.write("exec.yaml", "apps:\n  - name: shop\n    listen: [{unix: %s}]\n    health:\n      check: {exec: [%s, argument]}\n" % (t.path("s.sock"), exec_))
		done = t.cli("check", "-c", path, env={"PATH": "/absent::%s" % t.path("")})
		same(done.returncode, 0, text(done))
		told = "%s:5: warning: the check of app 'shop' cannot start '%s' on this machine: %s; where that is so, the app is never ok\n" % (path, exec_, why)
		same(done.stderr.decode(), told if why else "", exec_)
		same(done.stdout.decode(), "ok: 1 apps, 0 services\n")


@case
def a_file_that_is_not_there_is_told_with_its_name(t):
	for command in ("check", "run"):
		done = t.cli(command, "-c", t.path("absent.yaml"))
		same(done.returncode, 2, command)
		check("absent.yaml" in text(done) and "No such file" in text(done), text(done))


@case
def run_refuses_a_broken_file_with_exit_2(t):
	path = t.write("broken.yaml", BROKEN % {"s": t.path("s.sock")})
	done = t.cli("run", "-c", path)
	same(done.returncode, 2, text(done))
	check(path + ":3:" in text(done), text(done))
	check(not os.path.exists(t.path("s.sock2")))


@case
def a_file_on_stderr_holds_all_that_was_said_whoever_said_it(t):
	path = t.write("bad.yaml", "control: {unix: %s, group: no-such-group}\nsnapshot: {dir: \"\"}\napps: [{name: shop, listen: [{unix: %s}]}]\n" % (
		t.path("c.sock"), t.path("s.sock")))
	with open(t.path("said"), "wb", buffering=0) as said:
		said.write(b"who starts it says something\n")
		same(subprocess.run([t.binary, "run", "-c", path], stderr=said, timeout=20).returncode, 1)
		said.write(b"and says something at the end\n")
	lines = open(t.path("said")).read().splitlines()
	same(len(lines), 4, lines)
	same((lines[0], lines[3]), ("who starts it says something", "and says something at the end"))
	check(lines[1].endswith("info app 'shop': listens on '%s'" % t.path("s.sock")), lines)
	same(lines[2], "control.group: no group is named 'no-such-group'")


@case
def a_folder_is_read_in_name_order_and_a_name_defined_twice_names_both_places(t):
	t.write("d/10-app.yaml", "apps:\n  - name: shop\n    listen: [{unix: %s}]\n" % t.path("s.sock"))
	t.write("d/20-demo.yaml", "services:\n  - name: demo:1\n    endpoints: [\"127.0.0.1:1\"]\n")
	same(t.cli("check", "-c", t.path("d")).returncode, 0)
	t.write("d/30-again.yaml", "\nservices:\n  - name: demo:1\n    endpoints: [\"127.0.0.1:2\"]\n")
	done = t.cli("check", "-c", t.path("d"))
	same(done.returncode, 2)
	check("30-again.yaml:3" in text(done) and "20-demo.yaml:2" in text(done), text(done))


@case
def the_environment_is_taken_into_the_file(t):
	p = Provider(t)
	conf = "apps:\n  - name: shop\n    listen: [{unix: \"${SOCKET}\"}]\nservices:\n  - name: \"${NAME:-demo:1}\"\n    endpoints: [\"${PROVIDER}\"]\n"
	t.daemon(conf=conf, env={"SOCKET": t.path("s.sock"), "PROVIDER": p.address})
	done = t.cli("call", "-s", t.path("s.sock"), "demo:1" + GREETER)
	same(done.returncode, 0, text(done))
	path = t.write("env.yaml", conf)
	done = t.cli("check", "-c", path)
	same(done.returncode, 2)
	check("SOCKET" in text(done), text(done))


@case
def call_sends_a_message_and_prints_what_came_back(t):
	p = Provider(t, "demo")
	d = t.daemon({DEMO: [p.address]})
	done = t.cli("call", "-s", d.sock, "-H", "echo: me", "-H", "trailing-x: y", "-d", b"hello".hex(), DEMO + GREETER)
	out = done.stdout.decode()
	same(done.returncode, 0, text(done))
	for part in (":status", "200", "hello", b"hello".hex(), "grpc-status", "who", "demo", "x", "y"):
		check(part in out.replace("6c 6c", "6c6c") or part in out.replace(" ", ""), "no", part, "in", out)
	check(("echo", "me") in [(k, v) for k, v in p.last.metadata], p.last.metadata)


@case
def call_takes_the_message_from_a_file_and_from_stdin(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	with open(t.path("m"), "wb") as f:
		f.write(b"from a file")
	done = t.cli("call", "-s", d.sock, "-d", "@" + t.path("m"), DEMO + GREETER)
	check(done.returncode == 0 and b"from a file" in done.stdout, text(done))
	done = t.cli("call", "-s", d.sock, "-d", "-", DEMO + GREETER, stdin=b"from stdin")
	check(done.returncode == 0 and b"from stdin" in done.stdout, text(done))
	done = t.cli("call", "-s", d.sock, "-d", "xyz", DEMO + GREETER)
	same(done.returncode, 2, text(done))


@case
def call_ends_with_1_where_the_status_is_not_0(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	done = t.cli("call", "-s", d.sock, "-H", "fail-code: 7", DEMO + GREETER)
	check(done.returncode not in (0, 2) and b"grpc-status" in done.stdout and b"7" in done.stdout, done.returncode, text(done))
	done = t.cli("call", "-s", d.sock, "nobody:1" + GREETER)
	check(done.returncode not in (0, 2) and b"12" in done.stdout and b"nobody" in done.stdout, done.returncode, text(done))


@case
def call_tells_clearly_that_there_is_no_daemon(t):
	done = t.cli("call", "-s", t.path("absent.sock"), DEMO + GREETER)
	check(done.returncode != 0 and "absent.sock" in text(done), text(done))


@case
def THINMESH_SOCKET_is_the_default_of_s(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	env = {"THINMESH_SOCKET": d.sock}
	same(t.cli("call", DEMO + GREETER, env=env).returncode, 0)
	same(t.cli("fail", env=env).returncode, 0)
	failing = http1(d.sock, "GET", "/healthcheck")
	same(t.cli("ok", env=env).returncode, 0)
	fine = http1(d.sock, "GET", "/healthcheck")
	check((fine.status, fine.body) != (failing.status, failing.body), fine, failing)


@case
def ok_and_fail_tell_when_nobody_listens(t):
	for command in ("ok", "fail"):
		done = t.cli(command, "-s", t.path("absent.sock"))
		check(done.returncode == 1 and "absent.sock" in text(done), done.returncode, text(done))


@case
def fail_may_wait(t):
	d = t.daemon({})
	same(t.cli("fail", "-s", d.sock, "--wait", "100ms").returncode, 0)


@case
def ready_is_a_probe(t):
	d = t.daemon({})
	same(t.cli("ready", "-s", d.control).returncode, 0)
	d.stop()
	check(t.cli("ready", "-s", d.control).returncode == 1)


@case
def status_is_a_table_for_people(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address], "other.default.svc.cluster.local:1": ["127.0.0.1:9", "127.0.0.1:10"]})
	same(t.channel(d).unary_unary(GREETER)(b"x", timeout=60), b"x")
	done = t.cli("status", "-s", d.control)
	out = done.stdout.decode()
	same(done.returncode, 0, text(done))
	for part in ("shop", d.sock, DEMO, p.address, "other.default.svc.cluster.local:1", "127.0.0.1:9", "127.0.0.1:10"):
		check(part in out, "no", part, "in", out)


@case
def status_as_json_is_json(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	done = t.cli("status", "-s", d.control, "--json")
	same(done.returncode, 0, text(done))
	said = json.dumps(json.loads(done.stdout))
	for part in ("shop", DEMO, p.address):
		check(part in said, "no", part, "in", said)


@case
def status_tells_when_nobody_listens(t):
	done = t.cli("status", "-s", t.path("absent.sock"))
	check(done.returncode == 1 and "absent.sock" in text(done), done.returncode, text(done))


@case
def what_this_version_cannot_do_is_refused_with_its_place(t):
	path = t.write("mesh.yaml", "apps:\n  - name: shop\n    listen: [{unix: %s}]\nxds:\n  server: 127.0.0.1:15010\n" % t.path("s.sock"))
	done = t.cli("check", "-c", path)
	if done.returncode == 0:
		return    # a version that can
	same(done.returncode, 2)
	check(re.search(re.escape(path) + r":[45]:\d+: .*xds", text(done)), text(done))
