"""The commands of the README do what it says: every fenced block that is tagged `sh test` is run.

A block runs by `sh -eu` in a folder of its own with the built daemon on the PATH as `thinmesh`, with $THINMESH_TEST set to 1 and $ROOT to the
source tree. /run/thinmesh and /etc/thinmesh in its text are replaced by folders of the case, 50051 and 50052 by free ports. What it
starts in the background ends with it. Blocks tagged `sh test NAME` with the same NAME run as one script, in order.
"""
import os
import re
import signal
import subprocess

from harness import ROOT, cases, check

README = os.path.join(ROOT, "README.md")
FENCE = re.compile(r"^```sh test(?: +(\S+))?\n(.*?)^```$", re.M | re.S)


def blocks():
	if not os.path.exists(README):
		return []
	with open(README) as f:
		text = f.read()
	scripts, order = {}, []
	for m in FENCE.finditer(text):
		name = m.group(1) or "at line %d" % (text.count("\n", 0, m.start()) + 1)
		if name not in scripts:
			scripts[name] = ""
			order.append(name)
		scripts[name] += m.group(2)
	return [(name, scripts[name]) for name in order]


@cases("the block %s of the README works as printed", blocks())
def block(t, name, script):
	os.mkdir(t.path("bin"))
	os.symlink(t.binary, t.path("bin/thinmesh"))
	for folder in ("run", "etc"):
		os.mkdir(t.path(folder))
	script = script.replace("/run/thinmesh", t.path("run")).replace("/etc/thinmesh", t.path("etc"))
	for port in ("50051", "50052"):
		script = script.replace(port, str(t.port()))
	env = dict(os.environ, PATH=t.path("bin") + ":" + os.environ["PATH"], THINMESH_TEST="1", ROOT=ROOT)
	# Into a file: a pipe would be held open by what goes on in the background.
	with open(t.path("said"), "wb") as said:
		child = subprocess.Popen(["sh", "-eu", "-c", script], cwd=t.dir, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
			start_new_session=True)
	try:
		code = child.wait(20)
	except subprocess.TimeoutExpired:
		code = "no end within 20 s"
	finally:
		try:
			os.killpg(child.pid, signal.SIGKILL)
		except ProcessLookupError:
			pass
		child.wait()
	with open(t.path("said"), errors="replace") as f:
		out = f.read()
	check(code == 0, "the block ended with", code, "\n", script, "\n", out)
