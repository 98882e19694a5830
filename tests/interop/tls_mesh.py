# What is promised of TLS in a mesh of istiod: providers whose sidecar is Envoy with the inbound listener that istiod makes, and workloads that have their
# certificates from istiod's own CA. A scenario takes the Setup of tls.py.
#
# Names, SNI, whom to accept and which endpoints speak TLS come from istiod; certificates from files (the world's CA), or from istiod.

import json
import subprocess
import time

import tls_envoy as envoys
from health_cases import until_load_is_answered_by
from health_parts import Daemon as DirectoryDaemon
from mesh_parts import Daemon, Failed, must, within
from tls_parts import Caller, Server, certs, roots_changed, spiffe_id

HOST, PORT = "demo.default.svc.cluster.local", 50051
AUTHORITY = "%s:%d" % (HOST, PORT)
LOAD = 100
CHANGE_S, RECONNECT_S = 30, 60
ISTIOD = "istiod.istio-system.svc"

MESH = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: demo, namespace: default}
spec:
  hosts: [%s]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: %d, name: grpc, protocol: GRPC}]
  workloadSelector: {labels: {app: demo}}
""" % (HOST, PORT)
MODE = """apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: %s}}
"""
ENTRY = """apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: demo-%s, namespace: default}
spec: {address: %s, ports: {grpc: %s}, labels: {app: demo%s}%s}
"""


def entry(at, account="demo", speaks_tls=True):
    """account None: nobody says who it is."""
    host, port = at.split(":")
    return ENTRY % (host.split(".")[-1], host, port, ", security.istio.io/tlsMode: istio" if speaks_tls else "", ", serviceAccount: " + account if account else "")


class Mesh:
    """istiod, and one provider in plain text behind Envoy, which has the inbound listener that istiod makes for it."""

    def __init__(self, s, mode, account="demo", leaf=None, short=False):
        self.s, w = s, s.world
        self.at = w.at(2)
        self.plane = s.plane(MESH, MODE % mode, entry(self.at, account))
        self.app = Server(w, w.at(2, 7001)).ready()
        self.envoy = envoys.Envoy(w, "provider", leaf or w.ca.leaf("demo", certs.spiffe("demo")), w.ca.roots)
        listener = within(CHANGE_S, "istiod makes the listener", self.listener(short))
        self.envoy.start([listener], [envoys.h2_cluster("inbound|6001||", self.app.address)])

    def listener(self, short):
        def look():
            try:
                return envoys.inbound_listener(self.plane, self.at, self.envoy, {"app": "demo"}, short)
            except Failed:  # the entry is not known yet
                return None
        return look

    def sidecar(self, files, *app):
        """A daemon of the mesh, with this identity or none, and a caller through it."""
        w = self.s.world
        d = Daemon(w, self.plane, self.s.profile, self.s.protocol, app=([files.identity()] if files else []) + list(app))
        w.daemons.append(d)
        return d, Caller(w, "unix:" + d.socket, AUTHORITY)


def rows_of(d):
    """address -> its row on /status, of the one service that is called."""
    return {e["address"]: e for s in json.loads(d.get("/status"))["services"] for e in s["endpoints"]}


def is_mtls(caller, account="shop"):
    """The provider was told by its sidecar who calls."""
    got = caller.certificate_header()
    must("URI=" + spiffe_id(account) in got and "By=" + spiffe_id("demo") in got, "the provider was told: '%s'", got)
    return got


def strict(s):
    """a STRICT provider is called over mTLS: it is told our SPIFFE id by its sidecar, and people see it in the status"""
    m = Mesh(s, "STRICT")
    d, caller = m.sidecar(s.world.member("shop"))
    caller.until_answered()
    is_mtls(caller)
    row = rows_of(d)[m.at]
    must((row["tls"], row["peer"]) == ("mtls", spiffe_id("demo")) and row["tls_version"].startswith("TLSv1."), "the endpoint's row: %s", row)
    must("mtls" in d.status() and spiffe_id("demo") in d.status(), "people are not told of mtls and who the provider is:\n%s", d.status())
    me = json.loads(d.get("/status"))["apps"][0]["identity"]
    must((me["id"], me["kind"], me["state"], me["roots"]) == (spiffe_id("shop"), "files", "ready", "ready") and me["left_s"] > 0, "who the app is: %s", me)


def permissive(s):
    """a PERMISSIVE provider that would take plain text too is called over mTLS"""
    m = Mesh(s, "PERMISSIVE")
    must(Caller(s.world, m.at, AUTHORITY).answer("who") == m.app.who, "it takes no plain text")
    _, caller = m.sidecar(s.world.member("shop"))
    caller.until_answered()
    is_mtls(caller)


def both_kinds(s):
    """one service, one endpoint behind mTLS and one in plain text: both are called, each as its own metadata says"""
    w = s.world
    m = Mesh(s, "PERMISSIVE")
    bare = Server(w, w.at(3)).ready()
    m.plane.apply(entry(bare.address, account=None, speaks_tls=False))  # one with an account speaks TLS, says istiod
    d, caller = m.sidecar(w.member("shop"))
    caller.until_answered()
    within(CHANGE_S, "both answer", lambda: caller.who_answers() == {m.app.who, bare.who})
    rows = rows_of(d)
    must(rows[m.at]["tls"] == "mtls" and rows[bare.address]["tls"] == "plain" and "peer" not in rows[bare.address], "the status says: %s", rows)


def other_domain(s):
    """a provider of another trust domain is refused, with both values, whether istiod names its account or not"""
    w = s.world
    alien = spiffe_id("demo", "elsewhere.test")
    m = Mesh(s, "STRICT", leaf=w.ca.leaf("alien", "URI:" + alien))
    d, caller = m.sidecar(w.member("shop"))
    w.note("%s", caller.until_refused(alien, "cluster.local"))
    m.plane.apply(entry(m.at, account=None))
    time.sleep(0.5)
    caller.until_refused(alien, "cluster.local")
    within(CHANGE_S, lambda: "the log says it:\n" + d.part.tail(), lambda: alien in d.part.tail(1000))
    must(m.app.calls() == 0, "it was called")


def other_account(s):
    """a provider of the trust domain with another account than istiod names is refused, with both values"""
    w = s.world
    m = Mesh(s, "STRICT", leaf=w.ca.leaf("other", certs.spiffe("other")))
    _, caller = m.sidecar(w.member("shop"))
    w.note("%s", caller.until_refused(spiffe_id("other"), spiffe_id("demo")))


def nobody(s):
    """an app without an identity is not let out in plain text: UNAVAILABLE, though the provider would have taken it"""
    m = Mesh(s, "PERMISSIVE")
    d, caller = m.sidecar(None)
    s.world.note("%s", caller.until_refused("identity"))
    row = rows_of(d)[m.at]
    must((row["health"], row["by"]) == ("no TLS", "mesh") and "identity" in row.get("why", ""), "the endpoint's row: %s", row)
    must(m.app.calls() == 0, "the provider was called")


def renewed(s):
    """our certificate and Envoy's are renewed under load, with connections that live half a second: no call fails, the new ones are shown"""
    w = s.world
    m = Mesh(s, "STRICT", short=True)
    files = w.member("shop")
    d, caller = m.sidecar(files)
    looker = Caller(w, "unix:" + d.socket, AUTHORITY)
    caller.until_answered()
    caller.load(LOAD)
    seen = {is_mtls(looker)}
    for _ in range(2):
        files.show(w.ca.leaf("shop", certs.spiffe("shop")))
        within(CHANGE_S, "the new certificate is shown", lambda: is_mtls(looker) not in seen)
        seen.add(is_mtls(looker))
        theirs = w.ca.leaf("demo", certs.spiffe("demo"))
        m.envoy.show(theirs)
        within(CHANGE_S, "Envoy shows its new one", lambda: m.envoy.shows(theirs))
        time.sleep(2 * envoys.SHORT_S)
    w.note("%d calls, none failed", caller.none_failed())


def roots_renewed(s):
    """the mesh moves to another root under load: both are trusted, then all certificates are of the new one, then the old one goes; no call fails"""
    w = s.world
    m = Mesh(s, "STRICT", short=True)
    new = certs.Authority(w.folder + "/new", "the next root")
    files = w.member("shop")
    d, caller = m.sidecar(files)
    looker = Caller(w, "unix:" + d.socket, AUTHORITY)
    caller.until_answered()
    caller.load(LOAD)
    first = is_mtls(looker)
    roots_changed(d, lambda: files.trust(w.ca.roots, new.roots))
    # Envoy tells of the first of its roots.
    m.envoy.trust(new.roots, w.ca.roots)
    within(CHANGE_S, "Envoy trusts the next root", lambda: m.envoy.trusts(new.roots))
    theirs = new.leaf("demo", certs.spiffe("demo"))
    m.envoy.show(theirs)
    files.show(new.leaf("shop", certs.spiffe("shop")))
    within(CHANGE_S, "Envoy shows its new one", lambda: m.envoy.shows(theirs))
    within(CHANGE_S, "the new certificate is shown", lambda: is_mtls(looker) != first)
    time.sleep(4 * envoys.SHORT_S)
    files.trust(new.roots)
    m.envoy.trust(new.roots)
    time.sleep(4 * envoys.SHORT_S)
    is_mtls(looker)
    w.note("%d calls, none failed", caller.none_failed())


def accounts_change(s):
    """the accounts that istiod names change under load, with the right one always among them; without it new calls are refused"""
    w = s.world
    m = Mesh(s, "STRICT")
    d, caller = m.sidecar(w.member("shop"))
    looker = Caller(w, "unix:" + d.socket, AUTHORITY)
    caller.until_answered()
    caller.load(LOAD)
    for i in range(5):  # another entry beside it: its account comes to the list
        m.plane.apply(entry(w.at(9), account="account-%d" % i))
        time.sleep(0.3)
        if i == 0:
            Server(w, w.at(9), w.member("spare")).ready()
    total = caller.tell("stop")
    failed = {t: n for t, n in total.get("said", {}).items() if w.at(9) not in t and w.at(2) in t}
    must(not failed, "calls to the right one failed: %s", failed)
    m.plane.apply(entry(m.at, account="elsewhere"))
    m.plane.remove_entry("demo-9")
    looker.until_refused(spiffe_id("demo"), limit_s=CHANGE_S)
    m.plane.apply(entry(m.at))
    looker.until_answered(CHANGE_S)


def by_directory(s):
    """the same provider without a control plane: services[].tls says what istiod would have said"""
    w = s.world
    m = Mesh(s, "STRICT")
    at = {"right:1": "demo", "wrong:1": "other"}
    services = {name: ([m.at], ["tls: {roots: identity, identity: shop, alpn: \"istio-h2,istio,h2\", san: [\"%s\"]}" % spiffe_id(account)])
                for name, account in at.items()}
    services["plain:1"] = ([m.at], [])
    d = DirectoryDaemon(w, services, app=[w.member("shop").identity()])
    callers = {name: Caller(w, "unix:" + d.socket, name) for name in services}
    is_mtls(callers["right:1"])
    callers["wrong:1"].refused(spiffe_id("demo"), spiffe_id("other"))
    callers["plain:1"].refused()


# ---- istiod's CA

class Member:
    """A workload outside of Kubernetes with everything from istiod: its token, its certificate, its names; its app behind a STRICT door where it has one."""

    def __init__(self, s, plane, account, host=None, ttl="1h", token=None, by_token=True, node=()):
        w = s.world
        self.token = "%s/token-%s" % (w.folder, account)
        with open(self.token, "w") as f:
            f.write(token or "default/" + account)
        root = plane.write_root()
        ca = "ca: {server: \"%s\", roots: %s, server_name: %s, token_file: %s, ttl: %s}" % (plane.tls, root, ISTIOD, self.token, ttl)
        app = ["identity: {service_account: %s, %s}" % (account, ca)]
        ads = plane.tls_lines(self.token)
        if host:
            self.app, self.at = Server(w, w.at(host, 7001)).ready(), w.at(host)
            app += ["inbound: [{tcp: \"%s\", to: \"%s\", tls: strict}]" % (self.at, self.app.address)]
        self.daemon = Daemon(w, plane, s.profile, s.protocol, app=app, more=list(node),
                             xds=ads if by_token else [line for line in ads if "token_file" not in line],
                             env={"INSTANCE_IP": w.block + str(host or 99), "SERVICE_ACCOUNT": account})
        w.daemons.append(self.daemon)
        self.caller = Caller(w, "unix:" + self.daemon.socket, AUTHORITY)

    def certs(self):
        return self.daemon.get("/certs")

    def secret(self, kind):
        """The app's own of /certs, "certificate" or "roots"."""
        own = [s for s in json.loads(self.certs())["secrets"] if s["app"] == "shop-default" and s["kind"] == kind]
        must(len(own) == 1, "/certs has %d of kind %s: %s", len(own), kind, self.certs())
        return own[0]

    def serial(self):
        return self.secret("certificate")["serial"]


def issued(s):
    """istiod's CA signs our request, by a token: a STRICT provider is told the id that it gave; neither key nor token is told to anybody"""
    w = s.world
    plane = s.plane(MESH, MODE % "STRICT", entry(w.at(2)))
    provider = Member(s, plane, "demo", host=2)
    provider.daemon.post("/healthcheck/ok")
    shop = Member(s, plane, "shop")
    shop.caller.until_answered(CHANGE_S)
    is_mtls(shop.caller)
    mine, roots = shop.secret("certificate"), shop.secret("roots")
    must((mine["id"], mine["state"]) == (spiffe_id("shop"), "ready") and spiffe_id("shop") in json.dumps(mine["sans"]), "who we are: %s", mine)
    must(0 < mine["renews_s"] < mine["left_s"] <= 3600, "it is to be renewed before it ends: %s", mine)
    must(roots["state"] == "ready" and roots["left_s"] > 0, "whom we trust: %s", roots)
    shown = subprocess.run([w.daemon, "status", "--certs", "-s", shop.daemon.control], capture_output=True, text=True, timeout=10)
    must(shown.returncode == 0 and spiffe_id("shop") in shown.stdout, "people are not told who we are: %s%s", shown.stdout, shown.stderr)
    must("default/shop" not in shown.stdout + shop.certs() + shop.daemon.status() + shop.daemon.part.tail(10000), "the token is told to whoever reads")
    must("PRIVATE" not in shop.certs(), "/certs tells the key")


def ads_by_certificate(s):
    """ADS without a token waits for the certificate and shows it: istiod knows who it is"""
    w = s.world
    plane = s.plane(MESH, MODE % "STRICT", entry(w.at(2)))
    provider = Member(s, plane, "demo", host=2, by_token=False)
    provider.daemon.post("/healthcheck/ok")
    shop = Member(s, plane, "shop", by_token=False)
    shop.caller.until_answered(CHANGE_S)
    is_mtls(shop.caller)


def two_workloads(s):
    """two workloads enter themselves, which asks for mTLS of them: each calls the service of both over certificates of istiod's CA"""
    w = s.world
    group = """apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: demos, namespace: default}
spec:
  metadata: {labels: {app: demo}}
  template: {ports: {grpc: 6001}, serviceAccount: demo}
"""
    plane = s.plane(MESH, group, env={"ISTIO_WORKLOAD_ENTRY_VALIDATE_IDENTITY": "true"})
    pair = [Member(s, plane, "demo", host=h, node=["node: {metadata: {AUTO_REGISTER_GROUP: demos}}"]) for h in (2, 3)]
    for p in pair:
        p.daemon.post("/healthcheck/ok")
    both = {p.app.who for p in pair}
    for p in pair:
        p.caller.until_answered(CHANGE_S)
        within(CHANGE_S, "both answer", lambda p=p: p.caller.who_answers() == both)
        is_mtls(p.caller, "demo")
    caller, apps = pair[0].caller, [p.app for p in pair]
    caller.load(LOAD)
    until_load_is_answered_by(caller, *apps)
    pair[1].daemon.post("/healthcheck/fail")
    until_load_is_answered_by(caller, apps[0])
    time.sleep(0.5)
    pair[1].daemon.post("/healthcheck/ok")
    until_load_is_answered_by(caller, *apps)
    time.sleep(0.5)
    w.note("%d calls, none failed", caller.none_failed())


def token_refused(s):
    """a token that istiod does not take: no certificate, calls to STRICT providers are UNAVAILABLE, the status says why; put right, no restart"""
    w = s.world
    plane = s.plane(MESH, MODE % "STRICT", entry(w.at(2)))
    provider = Member(s, plane, "demo", host=2)
    provider.daemon.post("/healthcheck/ok")
    shop = Member(s, plane, "shop", token="nonsense")
    shop.caller.until_refused(limit_s=30)
    within(CHANGE_S, lambda: "/certs says it: " + shop.certs(), lambda: "authenticat" in shop.secret("certificate").get("why", ""))
    w.note("%s", shop.secret("certificate")["why"])
    certs.write(shop.token, "default/shop")
    shop.caller.until_answered(RECONNECT_S)
    is_mtls(shop.caller)


def ca_renewed(s):
    """certificates of thirty seconds, which CAs date back and we renew at half of what is left, are renewed under load on both sides: no call fails"""
    w = s.world
    plane = s.plane(MESH, MODE % "STRICT", entry(w.at(2)))
    provider = Member(s, plane, "demo", host=2, ttl="30s")
    provider.daemon.post("/healthcheck/ok")
    shop = Member(s, plane, "shop", ttl="30s")
    shop.caller.until_answered(CHANGE_S)
    shop.caller.load(LOAD)
    for _ in range(2):
        first = (shop.serial(), provider.serial())
        within(CHANGE_S, "both were renewed", lambda: shop.serial() != first[0] and provider.serial() != first[1])
    is_mtls(Caller(w, "unix:" + shop.daemon.socket, AUTHORITY))
    w.note("%d calls, none failed", shop.caller.none_failed())


def ca_absent(s):
    """istiod away when a certificate is to be renewed: it is asked again and again, the one that is there is used on, and no call fails"""
    w = s.world
    plane = s.plane(MESH, MODE % "STRICT", entry(w.at(2)))
    provider = Member(s, plane, "demo", host=2)
    provider.daemon.post("/healthcheck/ok")
    shop = Member(s, plane, "shop", ttl="30s")
    shop.caller.until_answered(CHANGE_S)
    shop.caller.load(LOAD)
    plane.kill()
    within(25, lambda: "the renewal failed: " + shop.daemon.part.tail(), lambda: "identity 'shop-default': CA" in shop.daemon.part.tail(1000))
    time.sleep(1)
    w.note("%d calls, none failed", shop.caller.none_failed())
