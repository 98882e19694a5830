"""The commands of the README do what it says: every fenced block that is tagged `sh test` is run.

A block runs by `sh -eu` in a folder of its own with the built daemon on the PATH as `thinmesh`, with $THINMESH_TEST set to 1 and $ROOT to the
source tree. /run/thinmesh and /etc/thinmesh in its text are replaced by folders of the case, $ROOT/build by where the build is, 50051, 50052, 15010, 20880 and 15021 by free ports. What it
starts in the background ends with it. Blocks tagged `sh test NAME` with the same NAME run as one script, in order.

What would change the machine (installing, units, users) or start these tests again goes to stand-ins, STAND_INS below: `make install` is the real
one into a folder of the case, and the others look whether what they are asked for was installed.
"""
import os
import re
import signal
import subprocess

from harness import PYTHON, ROOT, case, cases, check, same

README = os.path.join(ROOT, "README.md")
FENCE = re.compile(r"^```sh test(?: +(\S+))?\n(.*?)^```$", re.M | re.S)


# Name -> shell script. $INSTALLED: DESTDIR of the case; $BINARY: the daemon under test, which make must not build again.
STAND_INS = {
	"sudo": 'exec "$@"',
	"python3": 'exec %s "$@"' % PYTHON,
	"make": """[ -n "${1-}" ] || exec make_ -n all
case $1 in
demo) exec python3 "$ROOT/tools/demo" "$BINARY" ;;
test) exec make_ -n run-tests ;;
-C) [ "$2 $3" = "$ROOT plane" ] && exec make_ -n plane ;;
install) exec make_ install -o "$BUILD/thinmesh" DESTDIR="$INSTALLED" ;;
esac
echo "make: not in a README: $*" >&2; exit 1""",
	# Without the flags of the make that runs these tests.
	"make_": 'exec env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS /usr/bin/make -s -C "$ROOT" BUILD="$BUILD" "$@" >"$INSTALLED.log" 2>&1',
	"systemctl": """for unit; do
	case $unit in *.service | *.socket)
		[ -f "$(find "$INSTALLED" -path "*/systemd/system/$unit")" ] || { echo "systemctl: no $unit is installed" >&2; exit 1; } ;;
	esac
done""",
	"systemd-sysusers": 'grep -q "^u thinmesh " "$INSTALLED"/usr/lib/sysusers.d/*.conf',
	"adduser": 'grep -q "^u $2 " "$INSTALLED"/usr/lib/sysusers.d/*.conf',
}


def stand_in(t):
	for name, script in STAND_INS.items():
		path = t.path("bin/" + name)
		with open(path, "w") as f:
			f.write("#!/bin/sh\n%s\n" % script)
		os.chmod(path, 0o755)
	return {"INSTALLED": t.path("installed"), "BINARY": t.binary, "BUILD": os.path.dirname(t.binary)}


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
	script = script.replace("$ROOT/build", "$BUILD")
	for port in ("50051", "50052", "15010", "20880", "15021"):
		script = script.replace(port, str(t.port()))
	env = dict(os.environ, PATH=t.path("bin") + ":" + os.environ["PATH"], THINMESH_TEST="1", ROOT=ROOT, **stand_in(t))
	# Into a file: a pipe would be held open by what goes on in the background.
	with open(t.path("said"), "wb") as said:
		child = subprocess.Popen(["sh", "-eu", "-c", script], cwd=t.dir, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
			start_new_session=True)
	try:
		code = child.wait(100)
	except subprocess.TimeoutExpired:
		code = "no end within 100 s"
	finally:
		try:
			os.killpg(child.pid, signal.SIGKILL)
		except ProcessLookupError:
			pass
		child.wait()
	with open(t.path("said"), errors="replace") as f:
		out = f.read()
	check(code == 0, "the block ended with", code, "\n", script, "\n", out)


@case
def every_shell_block_of_the_README_is_run(t):
	with open(README) as f:
		openings = re.findall(r"^```(\S.*)$", f.read(), re.M)
	same([o for o in openings if o.split()[0] in ("sh", "bash", "console") and not o.startswith("sh test")], [], "shell blocks that are not tagged `sh test`")


@case
def what_the_README_and_the_docs_link_to_is_there(t):
	missing = []
	for name in ("README.md", "docs/internals.md", "docs/interop.md"):
		with open(os.path.join(ROOT, name)) as f:
			for link in re.findall(r"\]\(([^)#\s]+)\)", f.read()):
				if "://" not in link and not os.path.exists(os.path.join(ROOT, os.path.dirname(name), link)):
					missing.append("%s: %s" % (name, link))
	same(missing, [], "broken links")


def yaml_blocks():
	if not os.path.exists(README):
		return []
	with open(README) as f:
		return [("%d of the README" % (i + 1), text) for i, text in enumerate(re.findall(r"^```yaml\n(.*?)^```$", f.read(), re.M | re.S))]


def pod_configurations():
	"""The configurations inside of the ConfigMaps of the pods, without a YAML library."""
	found = []
	for name in ("pod.yaml", "mesh.yaml"):
		with open(os.path.join(ROOT, "examples/kubernetes", name)) as f:
			m = re.search(r"^( *)thinmesh\.yaml: \|\n((?:\1 +.*\n|\n)+)", f.read(), re.M)
		lines = m.group(2).splitlines()
		indent = len(lines[0]) - len(lines[0].lstrip())
		found.append(("of kubernetes/" + name, "\n".join(line[indent:] for line in lines) + "\n"))
	return found


@cases("the configuration %s is right", yaml_blocks() + pod_configurations())
def configuration(t, name, text):
	done = t.cli("check", "-c", t.write("shown.yaml", text))
	check(done.returncode == 0, done.stderr.decode())


# The snippets are for people; the programs of tests/interop are what `make interop` runs. What matters of a snippet stands in both.
SNIPPETS = [
	("grpc-go.go", "grpc-go/client/main.go", ["grpc.WithAuthority(", "passthrough:///", "grpc.WithContextDialer(", "grpc.NewClient("]),
	("GrpcJava.java", "grpc-java/src/thinmesh/interop/UdsClient.java",
		["NettyChannelBuilder.forAddress(new DomainSocketAddress(", ".channelType(EpollDomainSocketChannel.class, DomainSocketAddress.class)", ".overrideAuthority(", ".usePlaintext()"]),
	("grpc-node.mjs", "grpc-js/client.mjs", ["unix:${", '"grpc.default_authority"']),
	("tonic.rs", "tonic/src/main.rs", ["Endpoint::from_shared(", "connect_with_connector_lazy(tower::service_fn(", "TokioIo::new(UnixStream::connect("]),
	("kitex.go", "kitex/client/main.go", ["client.WithDestService(", "client.WithHostPorts(", "client.WithTransportProtocol(transport.GRPC)"]),
	("dubbo-js.mjs", "dubbo-js/client.mjs", ["createGrpcTransport", 'httpVersion: "2"', "nodeOptions: { createConnection: () => net.connect("]),
	("dubbo-go.go", "dubbo-go/consumer/main.go", ["client.WithClientURL(", "client.WithClientProtocolTriple()"]),
	("DubboJava.java", "dubbo-java/src/thinmesh/interop/Consumer.java", ['new RegistryConfig("N/A")', "config.setUrl("]),
]


@cases("the snippet %s does what its interop client does", SNIPPETS)
def snippet(t, name, client, words):
	def without_blanks(path):
		with open(os.path.join(ROOT, path)) as f:
			return re.sub(r"\s+", "", f.read())
	for path in ("examples/sdk/" + name, "tests/interop/" + client):
		text = without_blanks(path)
		same([w for w in words if re.sub(r"\s+", "", w) not in text], [], path + " lacks")


@case
def the_python_snippet_runs_as_it_stands(t):
	from providers import Provider
	p = Provider(t)
	d = t.daemon({"demo.default.svc.cluster.local:50051": [p.address]})
	done = subprocess.run([PYTHON, os.path.join(ROOT, "examples/sdk/grpc_python.py"), d.sock], capture_output=True, timeout=60)
	check(done.returncode == 0 and b"OK" in done.stdout, done.returncode, done.stdout, done.stderr)
