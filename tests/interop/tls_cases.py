# What is promised of TLS with a directory instead of a control plane: Go's and Java's stacks as providers (services[].tls), Go's and Envoy's as callers of the app's
# own doors (apps[].inbound[].tls), and identities that an agent hands out. A scenario takes the Setup of tls.py.
#
# Whatever changes while calls run, none of them may fail; and nothing may go out in plain text where TLS was asked for.

import time

import tls_agents as agents
import tls_envoy as envoys
import tls_parts as tls
from health_parts import Daemon
from mesh_parts import must, within
from tls_parts import Caller, Server, certs, spiffe_id

NAME = "demo.thinmesh.test"
LOAD = 100  # calls a second
REFUSED, DENIED = 14, 7
CHANGE_S = 30


def service(at, *more, sni=NAME):
    """Of the configuration: addresses, and what follows them."""
    return [at], ["tls: {%s}" % ", ".join(list(more) + (["sni: " + sni] if sni else []))]


def start(w, services, *app):
    """The daemon, and a caller for each service."""
    d = Daemon(w, services, app=list(app))
    return d, {name: Caller(w, "unix:" + d.socket, name) for name in services}


def server(s, host, sans="DNS:" + NAME, by=None, **how):
    """At an address of its own, with a certificate of its own."""
    w = s.world
    made = {k: how.pop(k) for k in ("rsa", "start_s", "end_s", "usage") if k in how}
    return Server(w, w.at(host), w.files("server%d" % host, sans, by, **made), java=s.java, **how)


# ---- providers on other stacks

def stacks(s):
    """P-256 and RSA, TLS 1.2 and 1.3, a chain with an authority between: called, and the provider says which it was"""
    w = s.world
    below = certs.Authority(w.folder + "/below", "below the root", above=w.ca)
    wanted = {"ecdsa12:1": ("1.2", {}), "ecdsa13:1": ("1.3", {}), "rsa12:1": ("1.2", {"rsa": True}), "rsa13:1": ("1.3", {"rsa": True}), "below:1": ("1.3", {"by": below})}
    servers = {name: server(s, 2 + i, versions=(version,), **how) for i, (name, (version, how)) in enumerate(wanted.items())}
    _, callers = start(w, {name: service(p.ready().address, "roots: " + w.ca.roots) for name, p in servers.items()})
    for name, (version, _) in wanted.items():
        got = callers[name].connection()
        must(got["version"] in ("TLS " + version, "TLSv" + version), "%s: wanted TLS %s, it is %s", name, version, got)
        must(got["uri"] == "", "%s: a certificate was shown, and none was asked for: %s", name, got)


def names(s):
    """another name, another SAN, an unknown CA, expired, not yet valid, for clients only: UNAVAILABLE with the reason and both values"""
    w = s.world
    other = certs.Authority(w.folder + "/other", "somebody else")
    right = server(s, 2, "DNS:%s,%s" % (NAME, certs.spiffe("demo")))
    cases = {
        "expired:1": (server(s, 4, start_s=-7200, end_s=-3600), "expired"), "early:1": (server(s, 5, start_s=3600), "not yet valid"),
        "usage:1": (server(s, 6, usage="clientAuth"), ""), "unknown:1": (server(s, 7, by=other), ""),
        "name:1": (server(s, 8, "DNS:elsewhere.thinmesh.test"), "elsewhere.thinmesh.test"),
    }
    roots = "roots: " + w.ca.roots
    services = {name: service(p.ready().address, roots) for name, (p, _) in cases.items()}
    at = right.ready().address
    services.update({
        "by-uri:1": service(at, roots, "san: [\"%s\"]" % spiffe_id("demo"), sni=None), "by-prefix:1": service(at, roots, "san: [{prefix: \"spiffe://cluster.local/\", on: uri}]"),
        "by-regex:1": service(at, roots, "san: [{regex: \"demo[.].*\", on: dns}]"), "one-of:1": service(at, roots, "san: [nobody.example, %s]" % NAME),
        "no-uri:1": service(at, roots, "san: [\"%s\"]" % spiffe_id("other")), "system:1": service(at),
    })
    _, callers = start(w, services)
    for name in ("by-uri:1", "by-prefix:1", "by-regex:1", "one-of:1"):
        callers[name].answer("who")
    told = [callers[name].refused(word) for name, (_, word) in cases.items()]
    must(NAME in told[-1], "the name that was looked for is not told: %s", told[-1])
    told.append(callers["no-uri:1"].refused(spiffe_id("demo"), spiffe_id("other")))
    callers["system:1"].refused()
    s.world.note("%s", told[0])


def demanded(s):
    """a provider that demands a client certificate is shown the app's; without one, or with one of another CA, UNAVAILABLE"""
    w = s.world
    other = certs.Authority(w.folder + "/other", "somebody else")
    at = {v: server(s, 2 + i, demand=w.ca.roots, versions=(v,)) for i, v in enumerate(("1.2", "1.3"))}
    shop, stranger = w.member("shop"), w.member("stranger", by=other, roots=w.ca.roots)
    for v, p in at.items():
        services = {name: service(p.ready().address, "roots: " + w.ca.roots, *more)
                    for name, more in (("shows:1", ["identity: shop"]), ("silent:1", []))}
        _, callers = start(w, services, shop.identity())
        got = callers["shows:1"].connection()
        must(got["uri"] == spiffe_id("shop"), "TLS %s: the provider was shown %s", v, got)
        callers["silent:1"].refused()
        _, callers = start(w, {"shows:1": services["shows:1"]}, stranger.identity())
        s.world.note("%s", callers["shows:1"].refused())


def plain(s):
    """never plain text where TLS was asked for: a provider without TLS is UNAVAILABLE; and one with TLS is, where none was asked for"""
    w = s.world
    bare, secure = Server(w, w.at(2)).ready(), server(s, 3).ready()
    _, callers = start(w, {"asked:1": service(bare.address, "roots: " + w.ca.roots), "not-asked:1": ([secure.address], [])})
    s.world.note("%s", callers["asked:1"].refused())
    callers["not-asked:1"].refused()
    must(bare.calls() == 0, "it was called")


def no_alpn(s):
    """a provider that chooses no ALPN is called all the same, and one is called that offers what is of Istio"""
    w = s.world
    silent, other = server(s, 2, more=["-no-alpn"]).ready(), server(s, 3).ready()
    roots = "roots: " + w.ca.roots
    _, callers = start(w, {"silent:1": service(silent.address, roots), "none:1": service(silent.address, roots, "alpn: \"\""),
                           "istio:1": service(other.address, roots, "alpn: \"istio-h2,istio,h2\"")})
    for c in (callers["silent:1"], callers["none:1"]):
        must(c.answer("who") == silent.who, "answered by somebody else")
    must(callers["istio:1"].connection()["alpn"] == "h2", "another protocol: %s", callers["istio:1"].connection())


def renewed(s):
    """the app's certificate, the provider's, and the roots change under load with connections that live 300 ms: no call fails, sessions are resumed"""
    w = s.world
    shop = w.member("shop")
    new = certs.Authority(w.folder + "/new", "the next root")
    both = w.folder + "/both.pem"
    certs.write(both, certs.read(w.ca.roots) + certs.read(new.roots))
    files = w.files("server", "DNS:" + NAME)
    p = Server(w, w.at(2), files, demand=both, more=["-age", "300ms"]).ready()
    d, callers = start(w, {"demo:1": service(p.address, "roots: identity", "identity: shop")}, shop.identity())
    looker, caller = Caller(w, "unix:" + d.socket, "demo:1"), callers["demo:1"]
    caller.answer("who")
    caller.load(LOAD)

    def until(what, truth):
        within(CHANGE_S, lambda: "%s: %s" % (what, looker.connection()), lambda: truth(looker.connection()))
    until("a session is resumed", lambda c: c["resumed"])
    for i in range(3):
        shop.show(w.ca.leaf("shop", certs.spiffe("shop-%d" % i)))
        until("the new certificate is shown", lambda c, i=i: c["uri"] == spiffe_id("shop-%d" % i))
        files.show(w.ca.leaf("server", "DNS:" + NAME))
    tls.roots_changed(d, lambda: shop.trust(w.ca.roots, new.roots))
    files.show(new.leaf("server", "DNS:" + NAME))
    shop.show(new.leaf("shop", certs.spiffe("moved")))
    until("a certificate of the next root is shown", lambda c: c["uri"] == spiffe_id("moved"))
    time.sleep(1)  # some connections more of the old root's certificate, or none
    shop.trust(new.roots)
    until("the old root is gone", lambda c: c["uri"] == spiffe_id("moved"))
    s.world.note("%d calls, none failed", caller.none_failed())


# ---- the app's own doors

class Door:
    """The app behind the daemon, which provides in plain text; the door is at `at`."""

    def __init__(self, s, *more, host=2):
        w = s.world
        self.app = Server(w, w.at(host, 7001)).ready()
        self.at, self.files = w.at(host), w.member("demo")
        door = "{tcp: \"%s\", to: \"%s\", %s}" % (self.at, self.app.address, ", ".join(more))
        self.daemon = Daemon(w, {}, app=["inbound: [%s]" % door, self.files.identity()])
        self.daemon.post("ok")


def caller_of(s, door, files, *options):
    return Caller(s.world, door.at, "demo.default", *options, files=files, peer=spiffe_id("demo"))


def strict(s):
    """grpc-go at a STRICT door: let in by a certificate of the trust domain over TLS 1.2 and 1.3, and the app is told who; others are refused"""
    w = s.world
    door = Door(s, "tls: strict")
    other = certs.Authority(w.folder + "/other", "somebody else")
    for newest in ("1.2", "1.3"):
        got = caller_of(s, door, w.member("caller"), "-max", newest).certificate_header()
        must("URI=" + spiffe_id("caller") in got and "By=" + spiffe_id("demo") in got and "Hash=" in got, "the app was told: %s", got)
    strangers = {"another trust domain": w.member("alien", domain="elsewhere.test"), "another CA": w.member("stranger", by=other, roots=w.ca.roots),
                 "no SPIFFE id": w.files("dns", "DNS:caller.example")}
    for who, files in strangers.items():
        must(caller_of(s, door, files).greet("who")["code"] == REFUSED, "let in: %s", who)
    nobody = Caller(w, door.at, "demo.default")
    must(nobody.greet("who")["code"] == REFUSED, "plain text was served")


def permissive(s):
    """at a PERMISSIVE door both are served, told apart by the first byte; a header of the caller's own making is not believed"""
    w = s.world
    door = Door(s, "tls: permissive")
    got = caller_of(s, door, w.member("caller")).certificate_header()
    must("URI=" + spiffe_id("caller") in got, "the app was told: %s", got)
    bare = Caller(w, door.at, "demo.default")
    must(bare.answer("who") == door.app.who, "answered by somebody else")
    must(bare.certificate_header() == "", "the app was told of nobody: %s", bare.certificate_header())


def allowed(s):
    """an allow list lets in by SPIFFE id and path: others get PERMISSION_DENIED, and the app nothing"""
    w = s.world
    door = Door(s, "tls: strict", "allow: [{ids: [\"%s\"], paths: [\"/thinmesh.interop.Greeter/*\"]}, {ids: [\"%s\"], paths: [\"/other.Service/*\"]}]" %
                (spiffe_id("caller"), spiffe_id("second")))
    caller_of(s, door, w.member("caller")).answer("who")
    for who in ("second", "third"):
        s.world.note("%s", caller_of(s, door, w.member(who)).refused(code=DENIED))


def client_sidecar(s):
    """Envoy as the caller's sidecar, as a mesh's clusters have it: let in at STRICT and PERMISSIVE doors, while the app's certificate and Envoy's change under load"""
    w = s.world
    for host, how in ((2, "strict"), (3, "permissive")):
        door = Door(s, "tls: " + how, host=host)
        e = envoys.Envoy(w, how, w.ca.leaf("caller", certs.spiffe("caller")), w.ca.roots)
        at = w.at(host + 10)
        e.start([envoys.outbound_listener(at)], [envoys.h2_cluster("provider", door.at, envoys.mesh_transport(e, spiffe_id("demo")), short=True)])
        caller = Caller(w, at, "demo.default")
        caller.until_answered()
        got = caller.certificate_header()
        must("URI=" + spiffe_id("caller") in got, "the app was told: %s", got)
        looker = Caller(w, at, "demo.default")
        caller.load(LOAD)
        e.show(w.ca.leaf("caller", certs.spiffe("renewed")))
        within(CHANGE_S, lambda: "the new one is told: %s" % looker.certificate_header(), lambda: "URI=" + spiffe_id("renewed") in looker.certificate_header())
        door.files.show(w.ca.leaf("demo", certs.spiffe("demo")))
        time.sleep(1.5)  # connections of 0.5 s
        w.note("%s: %d calls, none failed", how, caller.none_failed())


# ---- identities from an agent

def sds(s):
    """an agent's SDS server gives the app's certificate and roots; renewed while calls run, the agent killed and back: none fails"""
    w = s.world
    agent = agents.IstioAgent(w, w.ca.leaf("shop", certs.spiffe("shop")), w.ca.roots).start()
    p = server(s, 2, demand=w.ca.roots, more=["-age", "300ms"]).ready()
    d, callers = start(w, {"demo:1": service(p.address, "roots: identity", "identity: shop")}, "identity: {sds: \"unix:%s\"}" % agent.socket)
    caller, looker = callers["demo:1"], Caller(w, "unix:" + d.socket, "demo:1")
    caller.until_answered()
    must(looker.connection()["uri"] == spiffe_id("shop"), "the provider was shown %s", looker.connection())
    caller.load(LOAD)

    def until_shown(account):
        within(CHANGE_S, lambda: "%s is shown: %s" % (account, looker.connection()), lambda: looker.connection()["uri"] == spiffe_id(account))
    agent.files.show(w.ca.leaf("shop", certs.spiffe("second")))
    until_shown("second")
    agent.part.kill()
    looker.answer("who")
    agent.files.show(w.ca.leaf("shop", certs.spiffe("third")))
    agent.start()
    until_shown("third")
    w.note("%d calls, none failed", caller.none_failed())


def sds_absent(s):
    """no agent yet: calls wait or are UNAVAILABLE, never in plain text; when it comes they are answered"""
    w = s.world
    agent = agents.IstioAgent(w, w.ca.leaf("shop", certs.spiffe("shop")), w.ca.roots)
    p = server(s, 2, demand=w.ca.roots).ready()
    _, callers = start(w, {"demo:1": service(p.address, "roots: identity", "identity: shop")}, "identity: {sds: \"unix:%s\"}" % agent.socket)
    w.note("%s", callers["demo:1"].refused())
    agent.start()
    within(40, "the call is answered", lambda: callers["demo:1"].greet("who")["code"] == 0)


def spire(s):
    """SPIRE hands out the app's SVID and its trust domain's roots; renewed every few seconds while calls run: none fails"""
    w = s.world
    spire = agents.Spire(w, ttl_s=20).start()
    files = tls.Files(w.folder + "/provider", spire.leaf("demo"), spire.roots)
    p = Server(w, w.at(2), files, demand=spire.roots, more=["-age", "300ms"]).ready()
    d, callers = start(w, {"demo:1": service(p.address, "roots: identity", "identity: shop", "san: [\"%s\"]" % spire.id("demo"))},
                       "identity: {sds: \"unix:%s\"}" % spire.socket)
    caller, looker = callers["demo:1"], Caller(w, "unix:" + d.socket, "demo:1")
    caller.until_answered(40)
    must(looker.connection()["uri"] == spire.id("shop"), "the provider was shown %s", looker.connection())
    caller.load(LOAD)
    for _ in range(2):
        first = looker.connection()["serial"]
        within(40, "the SVID is renewed", lambda: looker.connection()["serial"] != first)
    w.note("%d calls, none failed", caller.none_failed())
