# The scenarios of an app's life in a real mesh: it enters itself, says ok and fail, dies, is upgraded; and what a second sidecar's endpoints make of it.
#
# The mesh is one service with two providers: `steady`, which is always there, and a shop: an app's server with a sidecar before it that enters it into
# the mesh. Another sidecar calls the service. Its view is looked at (without a hold, so that it is istiod's very endpoints), and a third one carries
# a load with everything as it is by default: of its calls none may fail, whatever the shop does.
# In the suites without `mtls` a PeerAuthentication turns mTLS off, which entries that register themselves ask for otherwise; in those with it, everybody has a certificate of
# istiod's own CA, the shop's door is STRICT, and `steady`, whose entry asks for nothing, is called in plain text beside it.
# How long something took is told beside the scenario's name, and never asserted but by the limit of the scenario itself.

import os
import signal
import subprocess
import sys
import threading
import time

from mesh_cases import CHANGE_S, OK, PROVIDER_PORT, RECONNECT_S, UNAVAILABLE, answers, pods_text, shares, until_among, until_only
from mesh_parts import STAND_IN, Daemon, Part, Skipped, must, within

STEADY, SHOP = 2, 10  # last bytes of addresses
DOOR_PORT = 6002      # the shop's server listens on PROVIDER_PORT beside it
GROUP = "shops"
# istiod's own grace for sidecars that are gone, ten seconds by default: so long here that what somebody said is never taken for its end, on the slowest machine.
GRACE_S, SAID_S = 90, 40
BY_GROUP = "{AUTO_REGISTER_GROUP: %s}" % GROUP

PLAIN = """apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: DISABLE}}
---
"""
MESH = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: demo, namespace: default}
spec:
  hosts: [demo.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 50051, name: grpc, protocol: GRPC}]
  workloadSelector: {labels: {app: demo}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: steady, namespace: default}
spec: {address: %s%d, ports: {grpc: %d}, labels: {app: demo}}
"""
WORKLOAD_GROUP = """apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: %s, namespace: default}
spec:
  metadata: {labels: {app: demo}}
  template: {ports: {grpc: %d}, serviceAccount: shop}
""" % (GROUP, DOOR_PORT)
OWN_ENTRY = """apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: shop-1, namespace: default, annotations: {proxy.istio.io/health-checks-enabled: "true"}}
spec: {address: %s%d, ports: {grpc: %d}, labels: {app: demo%s}, serviceAccount: shop}
"""
TLS_MODE = ", security.istio.io/tlsMode: istio"
# An app's process as far as its life goes: says ok for itself, and then only lives.
APP = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"POST /healthcheck/ok?watch=pid HTTP/1.1\\r\\nhost: app\\r\\ncontent-length: 0\\r\\n\\r\\n")
print("ready" if s.recv(4096).startswith(b"HTTP/1.1 200") else "refused", flush=True)
sys.stdin.close()
import signal
signal.pause()
"""


def identity(w, plane, account):
    """Of an app: a certificate of istiod's CA, by a token."""
    token = os.path.join(w.folder, "token-" + account)
    with open(token, "w") as f:
        f.write("default/" + account)
    return ["identity: {service_account: %s, ca: {server: \"%s\", roots: %s, server_name: istiod.istio-system.svc, token_file: %s}}" % (account, plane.tls,
                                                                                                                           plane.write_root(), token)]


class Shop:
    """The app's server on one port, the sidecar's door on another, and the entry of both."""

    def __init__(self, s, plane, metadata=BY_GROUP, xds=None, more=(), server=True):
        w = s.world
        if server:
            w.provide(SHOP)
        token = os.path.join(w.folder, "token")
        with open(token, "w") as f:
            f.write("default/shop")
        self.plane, self.at, self.who = plane, "%s%d:%d" % (w.block, SHOP, DOOR_PORT), w.who(SHOP)
        self.entry_name = "%s-%s%d" % (GROUP, w.block, SHOP)
        self.daemon = Daemon(w, plane, s.suite.profile, s.suite.protocol, xds=xds or plane.tls_lines(token),
                             more=["node: {metadata: %s}" % metadata] + list(more),
                             app=["inbound:", "  - {tcp: \"%s\", to: \"%s\"%s}" % (self.at, self.who, ", tls: strict" if s.mtls else "")] +
                             (identity(w, plane, "shop") if s.mtls else []),
                             env={"INSTANCE_IP": w.block + str(SHOP), "SERVICE_ACCOUNT": "shop"})
        w.daemons.append(self.daemon)

    def ok(self):
        return self.daemon.post("/healthcheck/ok")

    def fail(self):
        return self.daemon.post("/healthcheck/fail")

    def healthy(self):
        """What istiod has written down: "True", "False", or None; with the text."""
        entry = self.plane.entry(self.entry_name)
        for condition in (entry or {}).get("Status", {}).get("conditions", ()):
            if condition["type"] == "Healthy":
                return condition["status"], condition.get("message", "")
        return None, ""

    def registered(self):
        within(CHANGE_S, lambda: "the shop is entered:\n" + self.daemon.status(), lambda: self.plane.entry(self.entry_name))


class Mesh:
    """The control plane with a service of one steady provider, and two sidecars that call it: `view` without a hold, `caller` with a load."""

    def __init__(self, s, *objects, more=(), env=None):
        if STAND_IN:
            raise Skipped("tells nobody how an app is")
        self.s, w = s, s.world
        w.provide(STEADY)
        self.demo, self.steady = w.service("demo"), w.who(STEADY)
        self.plane = s.plane(more=more, env={"PILOT_WORKLOAD_ENTRY_GRACE_PERIOD": "%ds" % GRACE_S, **(env or {})})
        for text in (("" if s.mtls else PLAIN) + MESH % (w.block, STEADY, PROVIDER_PORT),) + objects:
            self.plane.apply(text)
        app = identity(w, self.plane, "caller") if s.mtls else []
        self.view, once = s.sidecar(self.plane, more=["removal_hold: 0s"], app=app)
        _, self.caller = s.sidecar(self.plane, app=app)
        for caller in (once, self.caller):
            within(CHANGE_S, lambda: "the steady provider answers: %s" % caller.call(self.demo), lambda: caller.call(self.demo)["code"] == OK)
        self.until_without(None)

    def load(self, a_second=200):
        self.caller.load(self.demo, a_second)

    def sees(self, shop):
        return shop.at in self.view.endpoints(self.demo)

    def _until(self, what, truth, limit_s):
        """Milliseconds until then."""
        began = time.monotonic()
        while not truth():
            must(time.monotonic() - began < limit_s, "not within %g s: %s, the endpoints are %s", limit_s, what, self.view.endpoints(self.demo))
            time.sleep(0.002)
        return (time.monotonic() - began) * 1000

    def until_with(self, shop, limit_s=CHANGE_S):
        return self._until("the shop is an endpoint", lambda: self.sees(shop), limit_s)

    def until_without(self, shop, limit_s=CHANGE_S):
        """And the steady one is there: an empty view says nothing."""
        def only():
            got = self.view.endpoints(self.demo)
            return self.steady in got and (shop is None or shop.at not in got)
        return self._until("the shop is none of the endpoints", only, limit_s)

    def calls_both(self, shop):
        until_among(self.caller, [self.steady, shop.who])

    def calls_steady(self, limit_s=CHANGE_S):
        until_only(self.caller, [self.steady], limit_s)


class Sampled:
    """Asks a question without a pause and keeps how often the answer was no, beside whatever happens meanwhile."""

    def __init__(self, question):
        self.question, self.asked, self.no, self.over = question, 0, 0, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.over.is_set():
            try:
                self.no += not self.question()
                self.asked += 1
            except OSError:
                return
            self.over.wait(0.005)

    def always(self, what):
        self.over.set()
        self.thread.join(10)
        must(self.asked > 10 and self.no == 0, "%s: not in %d of %d looks", what, self.no, self.asked)
        return self.asked


def of(numbers):
    """Told to people: the middle one, and the longest."""
    return "%.0f ms (longest of %d: %.0f)" % (sorted(numbers)[len(numbers) // 2], len(numbers), max(numbers))


# ---- words

def ok_and_fail(s):
    """an app that enters itself is called once it has said ok, and left when it says fail: other sidecars' endpoints follow, and no call fails"""
    m = Mesh(s, WORKLOAD_GROUP)
    shop = Shop(s, m.plane)
    shop.registered()
    # Entered before it is ready, as a FaaS container is: nobody may call it yet.
    must(shop.healthy()[0] is None, "it has said nothing, and istiod holds it for %s", shop.healthy())
    m.load()
    m.calls_steady()
    must(not m.sees(shop), "it is an endpoint before it has said ok: %s", m.view.endpoints(m.demo))
    gained, lost = [], []
    for i in range(5):
        shop.ok()
        gained.append(m.until_with(shop))
        if i % 2 == 0:
            m.calls_both(shop)
            must(shop.healthy() == ("True", ""), "istiod has written down: %s", shop.healthy())
        shop.fail()
        lost.append(m.until_without(shop))
        if i % 2 == 0:
            m.calls_steady()
            must(shop.healthy()[0] == "False" and "is failing" in shop.healthy()[1], "istiod has written down: %s", shop.healthy())
    s.world.note("from ok to the endpoint %s, from fail to without it %s, of which 10 ms are istiod's waiting", of(gained), of(lost))
    s.world.note("%d calls, none failed", m.caller.stop_load())


def own_entry(s):
    """an entry that was written by hand, with WORKLOAD_ENTRY: an endpoint from ok to fail; a name that no entry has is told in istiod's words"""
    w = s.world
    m = Mesh(s, OWN_ENTRY % (w.block, SHOP, DOOR_PORT, TLS_MODE if s.mtls else ""))
    shop = Shop(s, m.plane, "{WORKLOAD_ENTRY: shop-1}")
    shop.entry_name = "shop-1"
    within(CHANGE_S, lambda: "the stream is there:\n" + shop.daemon.status(), lambda: shop.daemon.xds()["up"])
    must(not m.sees(shop), "it is an endpoint before it has said ok")
    shop.ok()
    m.until_with(shop)
    must(set(shares(m.caller, m.demo, 200)) == {m.steady, shop.who}, "calls go to both")
    shop.fail()
    m.until_without(shop)
    shop.daemon.stop()
    lost = Shop(s, m.plane, "{WORKLOAD_ENTRY: shop-2}", server=False)
    within(CHANGE_S, lambda: "status says why:\n" + lost.daemon.status(), lambda: "default/shop-2 is not found" in lost.daemon.status())
    w.note("%s", lost.daemon.xds()["last_error"])


def group_late(s):
    """a group that does not exist is told in istiod's words, and once it is created the app is in the mesh without a restart, with what it said before"""
    m = Mesh(s)
    shop = Shop(s, m.plane)
    within(CHANGE_S, lambda: "status says why:\n" + shop.daemon.status(), lambda: GROUP in shop.daemon.xds()["last_error"])
    s.world.note("%s", shop.daemon.xds()["last_error"])
    told = shop.ok()
    must(told["state"] == "ok" and not told["told"], "nobody can have been told: %s", told)
    m.plane.apply(WORKLOAD_GROUP)
    s.world.note("%.0f ms after it was created", m.until_with(shop, RECONNECT_S))


def identity_missing(s):
    """an app that enters itself over a port where nobody knows who it is: refused, and status says why"""
    m = Mesh(s, WORKLOAD_GROUP)
    shop = Shop(s, m.plane, xds=m.plane.xds_lines())
    within(CHANGE_S, lambda: "status says why:\n" + shop.daemon.status(), lambda: "verified identity" in shop.daemon.status())
    must(m.plane.entry(shop.entry_name) is None, "it was entered without an identity")


# ---- ends

def app_killed(s):
    """an app that is killed with -9 is left at once: by the one who said ok, and by a process that was named; no call fails"""
    m = Mesh(s, WORKLOAD_GROUP)
    shop = Shop(s, m.plane)
    app = Part(s.world, "app", [sys.executable, "-c", APP, shop.daemon.socket], ready_word="ready")
    m.load()
    m.until_with(shop)
    m.calls_both(shop)
    app.kill()
    # Long before istiod's own grace, which is for sidecars that are gone: this one lives.
    took = m.until_without(shop, SAID_S)
    m.calls_steady()
    must(shop.healthy()[0] == "False", "istiod has written down: %s", shop.healthy())
    server = s.world.providers[SHOP]
    done = subprocess.run([s.world.daemon, "ok", "-s", shop.daemon.socket, "--pid", str(server.child.pid)], capture_output=True, text=True, timeout=20)
    must(done.returncode == 0, "thinmesh ok --pid: %s", done.stderr)
    m.until_with(shop)
    m.calls_both(shop)
    server.kill()
    again = m.until_without(shop, SAID_S)
    m.calls_steady()
    s.world.note("from the death of who said ok to the endpoints without it %.0f ms, of a named server %.0f ms; %d calls, none failed", took, again,
                 m.caller.stop_load())


def sidecar_killed(s):
    """a sidecar that is killed with -9 says nothing: istiod takes its entry away after the grace, and no call that begins later fails"""
    m = Mesh(s, WORKLOAD_GROUP, env={"PILOT_WORKLOAD_ENTRY_GRACE_PERIOD": "3s"})
    shop = Shop(s, m.plane)
    shop.ok()
    m.load()
    m.until_with(shop)
    m.calls_both(shop)
    m.caller.stop_load()
    # A call that is on its way through the dead one may have been served: nobody says it again.
    shop.daemon.gone = True
    shop.daemon.part.kill()
    m.load()
    m.calls_steady()
    s.world.note("gone after %.0f ms, the grace being 3 s", m.until_without(shop, SAID_S))
    within(CHANGE_S, "the entry is gone", lambda: m.plane.entry(shop.entry_name) is None)
    s.world.note("%d calls, none failed", m.caller.stop_load())


def sidecar_asked_to_end(s):
    """a sidecar that is asked to end says fail before it goes: no grace, and no call fails; started again, its app is called again"""
    m = Mesh(s, WORKLOAD_GROUP)
    shop = Shop(s, m.plane)
    shop.ok()
    m.load()
    m.until_with(shop)
    m.calls_both(shop)
    shop.daemon.part.child.terminate()
    took = m.until_without(shop, SAID_S)
    must(shop.healthy()[0] == "False", "istiod has written down: %s", shop.healthy())
    shop.daemon.leaves()
    m.calls_steady()
    again = Shop(s, m.plane, server=False)
    again.registered()
    again.ok()
    back = m.until_with(again)
    m.calls_both(again)
    s.world.note("gone after %.0f ms; the next one was there %.0f ms after its ok; %d calls, none failed", took, back, m.caller.stop_load())


def last_word(s):
    """an istiod that is busy just when a sidecar is asked to end hears its fail all the same: the sidecar lets it read to the end"""
    m = Mesh(s, WORKLOAD_GROUP)
    shop = Shop(s, m.plane)
    shop.ok()
    m.until_with(shop)
    # What lies unread when a connection closes is dropped with it: nobody would have heard, and the endpoint would stay for the grace.
    m.plane.part.child.send_signal(signal.SIGSTOP)
    shop.daemon.part.child.terminate()
    time.sleep(0.3)
    m.plane.part.child.send_signal(signal.SIGCONT)
    took = m.until_without(shop, SAID_S)
    must(shop.healthy()[0] == "False", "istiod has written down: %s", shop.healthy())
    shop.daemon.leaves()
    s.world.note("gone %.0f ms after istiod went on", took)


# ---- streams

def plane_restarted(s):
    """istiod is killed and comes back without its entries: the app enters itself again, its health is said again, and no call fails"""
    m = Mesh(s, WORKLOAD_GROUP)
    shop = Shop(s, m.plane)
    shop.ok()
    m.load()
    m.until_with(shop)
    m.calls_both(shop)
    m.plane.kill()
    m.calls_both(shop)
    m.plane.start()
    m.plane.write_root()
    began = time.monotonic()
    within(RECONNECT_S, lambda: "istiod knows again that it is well: %s" % (shop.healthy(),), lambda: shop.healthy()[0] == "True")
    m.until_with(shop, RECONNECT_S)
    m.calls_both(shop)
    s.world.note("there again %.1f s after istiod; %d calls, none failed", time.monotonic() - began, m.caller.stop_load())


def stream_ages(s):
    """istiod ends connections that are old, again and again: the endpoint never leaves"""
    m = Mesh(s, WORKLOAD_GROUP, more=["-age", "1s"])
    shop = Shop(s, m.plane)
    shop.ok()
    m.load()
    m.until_with(shop)
    m.calls_both(shop)
    connects = shop.daemon.xds()["connects"]
    stays = Sampled(lambda: m.sees(shop))
    within(RECONNECT_S, lambda: "three more connections: %s" % shop.daemon.xds(), lambda: shop.daemon.xds()["connects"] >= connects + 3)
    looks = stays.always("the shop is an endpoint")
    must(shop.healthy()[0] == "True", "istiod has written down: %s", shop.healthy())
    s.world.note("in each of %d looks; %d calls, none failed", looks, m.caller.stop_load())


def upgraded(s):
    """the sidecar that enters the app is upgraded under load, three times: the endpoint never leaves, no call fails, and the last one has the word"""
    m = Mesh(s, WORKLOAD_GROUP)
    shop = Shop(s, m.plane)
    shop.ok()
    m.load()
    m.until_with(shop)
    m.calls_both(shop)
    stays = Sampled(lambda: m.sees(shop))
    for _ in range(3):
        old = shop.daemon.upgrade()
        # Its end closes the older of two streams of one node.
        must(old.wait(30) == 0, "the old process left with %s", old.returncode)
        m.calls_both(shop)
        must(shop.healthy()[0] == "True", "istiod has written down: %s", shop.healthy())
    looks = stays.always("the shop is an endpoint")
    shop.fail()
    m.until_without(shop)
    m.calls_steady()
    s.world.note("an endpoint in each of %d looks; %d calls, none failed", looks, m.caller.stop_load())


def entry_deleted(s):
    """somebody deletes the entry of an app that is well: it enters itself again, and no call fails"""
    m = Mesh(s, WORKLOAD_GROUP)
    # What is missing shows only to who has the app's own service among his names.
    shop = Shop(s, m.plane)
    answers(s.world.caller(shop.daemon), m.demo, [m.steady])
    shop.ok()
    m.load()
    m.until_with(shop)
    m.calls_both(shop)
    within(CHANGE_S, "it sees itself", lambda: shop.at in shop.daemon.endpoints(m.demo))
    m.plane.remove_entry(shop.entry_name)
    m.until_without(shop)
    s.world.note("there again after %.1f s", m.until_with(shop, RECONNECT_S) / 1000)
    must(shop.healthy()[0] == "True", "istiod has written down: %s", shop.healthy())
    m.calls_both(shop)
    s.world.note("%d calls, none failed", m.caller.stop_load())


# ---- what Kubernetes says of others

def unready(s):
    """pods that are not ready are told of as UNHEALTHY and left at once, whatever hold there is, and called again when they are ready"""
    if STAND_IN:
        raise Skipped("has no page to look at")
    w = s.world
    w.provide(2, 3)
    plane, demo = s.plane(), w.service("pods")
    plane.apply(pods_text(w, demo, {2: "ready", 3: "ready"}))
    daemon, caller = s.sidecar(plane)
    within(CHANGE_S, "the pods answer", lambda: caller.call(demo)["code"] == OK and len(shares(caller, demo, 60)) == 2)
    caller.load(demo, 200)
    plane.apply(pods_text(w, demo, {2: "not ready", 3: "ready"}))
    began = time.monotonic()
    within(CHANGE_S, lambda: "it is unhealthy: %s" % daemon.endpoints(demo), lambda: daemon.endpoints(demo).get(w.who(2)) == "unhealthy")
    w.note("unhealthy within %.0f ms", (time.monotonic() - began) * 1000)
    until_only(caller, [w.who(3)])
    w.note("%d calls, none failed", caller.stop_load())
    plane.apply(pods_text(w, demo, {2: "not ready", 3: "not ready"}))
    if s.suite.profile == "istio":  # which says so by a panic threshold of 0; gRPC's dialect says nothing of it, and Envoy's own is a half
        within(CHANGE_S, lambda: "no call goes out: %s" % caller.call(demo), lambda: caller.call(demo)["code"] == UNAVAILABLE)
    plane.apply(pods_text(w, demo, {2: "ready", 3: "not ready"}))
    within(CHANGE_S, lambda: "the one that is ready answers: %s" % caller.call(demo), lambda: caller.call(demo)["who"] == w.who(2))
    must(list(shares(caller, demo, 40)) == [w.who(2)], "calls go to the one that is ready")
