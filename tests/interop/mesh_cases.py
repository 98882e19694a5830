# The scenarios of the mesh: each is a function of a setup that returns where the promise was kept and raises Failed where it was not.
#
# A setup (mesh.py) gives `world`, makes the control plane of the suite, and knows the suite's profile and protocol. Times are limits, never
# expectations: a machine that is slow makes a scenario longer, not red.

import os
import time

from mesh_words import PORT, istio_documents
from mesh_parts import PROVIDER_PORT, STAND_IN, Skipped, must, within

OK, UNIMPLEMENTED, UNAVAILABLE = 0, 12, 14
CHANGE_S = 25     # for a change at the control plane to be seen by calls: below removal_hold's 30 s, so that one that only the hold's end brought is late
RECONNECT_S = 60  # the daemon's longest back-off is 30 s


def refused(caller, service, limit_s):
    """Calls until the answer is UNIMPLEMENTED; nothing but 'not known yet' may come before."""
    def once():
        answer = caller.call(service, 25000)  # grpc-go's own client waits 15 s for the control plane's word
        must(answer["code"] in (UNIMPLEMENTED, UNAVAILABLE), "an unknown name was answered with %s", answer)
        # grpc-go's own client says UNAVAILABLE for a name that does not exist.
        return answer if answer["code"] == UNIMPLEMENTED or STAND_IN else None
    return within(limit_s, "the name is refused", once)


def answers(caller, service, hosts, what="a call"):
    answer = caller.call(service)
    must(answer["code"] == OK, "%s: %s %s", what, answer["code"], answer["message"])
    must(answer["who"] in hosts, "%s was answered by %s, which is none of %s", what, answer["who"], hosts)
    return answer


def shares(caller, service, count):
    """host -> share of the calls, all of which must succeed."""
    said = caller.calls(service, count, 20)
    must(set(said["codes"]) == {"0"}, "calls failed: %s, the first: %s", said["codes"], said.get("first"))
    return {who: n / count for who, n in said["who"].items()}


# ---- names

def first_call(s):
    """the first call to a name that was never asked for is answered, by all of its providers in turn"""
    w = s.world
    w.provide(2, 3)
    demo = w.service("demo", 2, 3)
    plane = s.plane(demo, w.service("other", 2))
    daemon, caller = s.sidecar(plane)
    hosts = [w.who(2), w.who(3)]
    w.note("the first call took %.1f ms, the next %.1f ms", answers(caller, demo, hosts, "the first call")["ms"],
           answers(caller, demo, hosts)["ms"])
    got = shares(caller, demo, 200)
    must(sorted(got) == hosts, "200 calls were answered by %s alone", got)
    if daemon and s.by_name:
        seen = plane.seen()
        must(not seen["nacks"], "it refused: %s", seen["nacks"])
        must(not any("other" in n for names in seen["names"].values() for n in names), "it asked for what nobody called: %s", seen["names"])


def unknown(s):
    """a name that nobody provides is UNIMPLEMENTED, and the text names what was asked"""
    w = s.world
    w.provide(2)
    demo = w.service("demo", 2)
    _, caller = s.sidecar(s.plane(demo))
    answers(caller, demo, [w.who(2)])
    answer = refused(caller, w.service("nobody"), s.absent_s)
    must("nobody" in answer["message"], "the text does not name what was asked: %s", answer["message"])
    w.note("%s", answer["message"])
    answers(caller, demo, [w.who(2)], "a call to another name afterwards")


def created_after_refusal(s):
    """a service that is created after its first refusal becomes callable without a restart"""
    w = s.world
    w.provide(2)
    new = w.service("late", 2)
    plane = s.plane(w.service("demo", 2))
    _, caller = s.sidecar(plane)
    refused(caller, new, s.absent_s)
    plane.declare(new)
    within(CHANGE_S, lambda: "the new service answers: %s" % caller.call(new), lambda: caller.call(new)["code"] == OK)


def deleted(s):
    """a service that is deleted is refused again, and another one goes on"""
    w = s.world
    w.provide(2, 3)
    demo, other = w.service("demo", 2), w.service("other", 3)
    plane = s.plane(demo, other)
    _, caller = s.sidecar(plane, more=["removal_hold: 0s"])
    answers(caller, demo, [w.who(2)])
    answers(caller, other, [w.who(3)])
    caller.load(other, 100)
    plane.forget(demo)

    def gone():
        answer = caller.call(demo)
        return answer["code"] == UNIMPLEMENTED or STAND_IN and answer["code"] == UNAVAILABLE
    within(CHANGE_S, lambda: "the deleted service is refused: %s" % caller.call(demo), gone)
    within(CHANGE_S, "the other one is answered meanwhile", lambda: caller.seen()["codes"].get("0"))
    caller.stop_load()
    plane.declare(demo)
    within(CHANGE_S, "the service that is created again answers", lambda: caller.call(demo)["code"] == OK)


def second_server(s):
    """the first server of the list is down: the second one answers"""
    w = s.world
    w.provide(2)
    demo = w.service("demo", 2)
    plane = s.plane(demo)
    if STAND_IN:
        raise Skipped("has one server")
    daemon, caller = s.sidecar(plane, xds=["  servers: [\"127.0.0.1:1\", \"%s\"]" % plane.ads])
    w.note("the first call took %.1f ms", answers(caller, demo, [w.who(2)])["ms"])


def unix_server(s):
    """a control plane on a Unix socket, as an agent is"""
    w = s.world
    w.provide(2)
    demo = w.service("demo", 2)
    path = os.path.join(w.folder, "ads.sock")
    plane = s.plane(demo, more=["-unix", path])
    if STAND_IN:
        raise Skipped("goes by TCP")
    _, caller = s.sidecar(plane, xds=["  server: unix:" + path])
    answers(caller, demo, [w.who(2)])
    must(plane.seen()["open"] == 1, "one stream is one stream: %s", plane.seen())


def prefetched(s):
    """a name that is asked for at start needs no control plane at its first call"""
    w = s.world
    w.provide(2)
    demo = w.service("demo", 2)
    plane = s.plane(demo)
    if STAND_IN:
        raise Skipped("asks for nothing at start")
    daemon, caller = s.sidecar(plane, more=["prefetch: [%s]" % demo.authority])
    within(CHANGE_S, lambda: "the name is known: %s" % daemon.xds(), lambda: daemon.xds()["names"] == 1 and daemon.xds()["names_unknown"] == 0)
    plane.kill()
    answers(caller, demo, [w.who(2)])


def idle(s):
    """a name that nobody calls any more is forgotten, the others stay, and it is there again when it is called"""
    w = s.world
    w.provide(2, 3)
    demo, rare = w.service("demo", 2), w.service("rare", 3)
    plane = s.plane(demo, rare)
    if STAND_IN:
        raise Skipped("forgets nothing")
    daemon, caller = s.sidecar(plane, more=["idle: 4s"])  # longer than any machine needs from a call to the look below
    for _ in range(2):
        answers(caller, rare, [w.who(3)])
        must(rare.host in daemon.get("/config_dump"), "what is called is not in the configuration dump")
        caller.load(demo, 50)
        within(20, "the idle name is forgotten", lambda: rare.host not in daemon.get("/config_dump"))
        if s.by_name:
            within(CHANGE_S, lambda: "it is not asked for any more: %s" % plane.seen()["names"],
                   lambda: not any("rare" in n for names in plane.seen()["names"].values() for n in names))
        caller.stop_load()
    # Now nobody calls anything: the last name goes too, and comes back.
    within(20, "the last name is forgotten", lambda: demo.host not in daemon.get("/config_dump"))
    answers(caller, demo, [w.who(2)])


# ---- endpoints and routes

def until_only(caller, hosts, limit_s=CHANGE_S):
    """Until a third of a second of the load was answered by exactly these."""
    def quiet():
        caller.seen()
        time.sleep(0.3)
        quiet.last = sorted(caller.seen()["who"])
        return quiet.last == sorted(hosts)
    within(limit_s, lambda: "calls go to exactly %s: %s" % (sorted(hosts), quiet.last), quiet)


def until_among(caller, hosts, limit_s=CHANGE_S):
    """Until these answer too, whoever else does."""
    def there():
        caller.seen()
        time.sleep(0.2)
        there.last = sorted(caller.seen()["who"])
        return set(hosts) <= set(there.last)
    within(limit_s, lambda: "calls go to %s too: %s" % (sorted(hosts), there.last), there)


def endpoints_change(s, more, limit_s):
    w = s.world
    w.provide(2)
    w.provide(3)
    w.provide(4)
    plane = s.plane(w.service("demo", 2, 3))
    demo = plane.services["demo"]
    _, caller = s.sidecar(plane, more=more)
    answers(caller, demo, [w.who(2), w.who(3)])
    caller.load(demo, 300)
    plane.declare(w.service("demo", 2, 3, 4))
    until_only(caller, [w.who(2), w.who(3), w.who(4)])
    plane.declare(w.service("demo", 3, 4))
    if more:  # without a hold the order of the control plane is enough
        until_only(caller, [w.who(3), w.who(4)])
    w.providers[2].stop()
    until_only(caller, [w.who(3), w.who(4)], limit_s)
    # All of them are replaced in one push, then the old ones leave: once the push has come (istiod debounces it), or there would be a time without any provider.
    w.provide(5, 6)
    plane.declare(w.service("demo", 5, 6))
    until_among(caller, [w.who(5), w.who(6)])
    if more:
        until_only(caller, [w.who(5), w.who(6)])
    for host in (3, 4):
        w.providers[host].stop()
    until_only(caller, [w.who(5), w.who(6)], limit_s)
    w.note("%d calls, none failed", caller.stop_load())


def endpoints_at_once(s):
    """removal_hold 0: endpoints added and removed under load take effect at once, and no call fails"""
    endpoints_change(s, ["removal_hold: 0s"], CHANGE_S)


def endpoints_held(s):
    """removal_hold as it is: removed endpoints are left when they go, and no call fails"""
    endpoints_change(s, [], 40)


def canary(s):
    """a canary gets its share, and the other share after the weights were turned round"""
    w = s.world
    w.provide(2, 3, 4)
    versions = {2: "v1", 3: "v1", 4: "v2"}
    plane = s.plane(w.service("demo", 2, 3, 4, versions=versions, split={"v1": 80, "v2": 20}))
    demo = plane.services["demo"]
    _, caller = s.sidecar(plane)
    answers(caller, demo, [w.who(2), w.who(3), w.who(4)])
    # 5,000 calls at 20 %: six times the deviation of 0.57 %; at four times one run in 500 would fail, with all suites that draw.
    share = shares(caller, demo, 5000).get(w.who(4), 0)
    must(0.164 < share < 0.236, "v2 has 20 of 100, and got %.3f", share)
    caller.load(demo, 200)
    plane.declare(w.service("demo", 2, 3, 4, versions=versions, split={"v1": 20, "v2": 80}))
    within(CHANGE_S, "v2 gets most of the calls", lambda: shares(caller, demo, 100).get(w.who(4), 0) > 0.6)
    caller.stop_load()
    turned = shares(caller, demo, 5000).get(w.who(4), 0)
    must(0.764 < turned < 0.836, "v2 has 80 of 100, and got %.3f", turned)
    w.note("v2 got %.3f of 0.2, then %.3f of 0.8", share, turned)


# ---- the control plane goes

def plane_killed(s):
    """the control plane is killed and comes back under load: no call fails, and changes are followed again"""
    w = s.world
    w.provide(2, 3, 4)
    plane = s.plane(w.service("demo", 2, 3))
    demo = plane.services["demo"]
    _, caller = s.sidecar(plane)
    answers(caller, demo, [w.who(2), w.who(3)])
    caller.load(demo, 200)
    plane.kill()
    time.sleep(2)  # long enough for several attempts to connect, and for their back-off
    until_only(caller, [w.who(2), w.who(3)])
    plane.services["demo"] = w.service("demo", 2, 3, 4)  # what it says when it comes back
    plane.start()
    until_only(caller, [w.who(2), w.who(3), w.who(4)], RECONNECT_S)
    w.note("%d calls, none failed", caller.stop_load())


def plane_ages(s):
    """connections to the control plane that get old are left before they close: no call fails, and every change is followed"""
    w = s.world
    w.provide(2, 3)
    plane = s.plane(w.service("demo", 2), more=["-age", "1s"])
    demo = plane.services["demo"]
    _, caller = s.sidecar(plane, more=["removal_hold: 0s"])
    answers(caller, demo, [w.who(2)])
    caller.load(demo, 100)
    # Ten changes in about seven seconds, in which a connection gets old more than once.
    for i in range(10):
        host = 3 - i % 2
        plane.declare(w.service("demo", host))
        until_only(caller, [w.who(host)])
        time.sleep(0.3)
    w.note("%d calls, none failed", caller.stop_load())
    if s.by_name:
        seen = plane.seen()
        must(not seen["nacks"], "it refused: %s", seen["nacks"])
        must(sum(seen["streams"].values()) > 1, "the connections did not age: %s", seen["streams"])
        within(CHANGE_S, lambda: "old streams end: %s" % plane.seen(), lambda: plane.seen()["open"] <= 2)


def snapshot_start(s):
    """a daemon that starts while the control plane is down serves its snapshot, says so, and follows changes once it is back"""
    w = s.world
    w.provide(2, 3, 4)
    plane = s.plane(w.service("demo", 2, 3))
    demo = plane.services["demo"]
    daemon, caller = s.sidecar(plane)
    answers(caller, demo, [w.who(2), w.who(3)])
    if STAND_IN:
        raise Skipped("no daemon, no snapshot")
    # At once: what was accepted a moment ago is in the snapshot too when the daemon was asked to end.
    daemon.stop()
    plane.kill()
    again, caller = s.sidecar(plane, snapshot=daemon.snapshot)
    w.note("the first call of the second life took %.1f ms", answers(caller, demo, [w.who(2), w.who(3)], "a call with the control plane down")["ms"])
    said = again.xds()
    must(said["names_stale"] == 1 and not said["up"], "status does not say that the name is stale: %s", said)
    must("1 stale" in again.status(), "nor to people:\n%s", again.status())
    got = shares(caller, demo, 200)
    must(len(got) == 2, "calls go to %s", got)
    plane.services["demo"] = w.service("demo", 2, 3, 4)
    plane.start()
    within(RECONNECT_S, lambda: "the third provider is called: %s" % shares(caller, demo, 60), lambda: len(shares(caller, demo, 60)) == 3)
    within(CHANGE_S, lambda: "the name is not stale any more: %s" % again.xds(), lambda: again.xds()["names_stale"] == 0)


def down_at_start(s):
    """a daemon that starts with the control plane down and without a snapshot waits for it, and says why a call failed"""
    w = s.world
    w.provide(2)
    demo = w.service("demo", 2)
    plane = s.plane(demo, start=False)
    daemon, caller = s.sidecar(plane)
    answer = caller.call(demo, 20000)
    must(answer["code"] == UNAVAILABLE, "a call that nobody can resolve: %s", answer)
    w.note("%s", answer["message"])
    plane.start()
    within(RECONNECT_S, lambda: "the name is known: %s" % caller.call(demo), lambda: caller.call(demo)["code"] == OK)


# ---- size

def at_rest(daemon):
    """KiB once they stand still: what the daemon holds. What it needed to read a large answer goes back to the kernel half a second later."""
    was, now = -1, daemon.anonymous_kib()
    for _ in range(8):
        if was == now:
            break
        time.sleep(1)
        was, now = now, daemon.anonymous_kib()
    return now


def many(s):
    """2,000 services in scope, five of them called: the memory is that of five, and only they are kept"""
    w = s.world
    w.provide(2, 3)
    used = [w.service("used%d" % i, 2, 3) for i in range(5)]
    unused = [w.service("unused%d" % i, 2, 3) for i in range(1995)]

    def life(plane):
        daemon, caller = s.sidecar(plane)
        # A control plane that was just told of 2,000 services may need longer for its first answer than a call is parked.
        within(60, lambda: "a call is answered: %s" % caller.call(used[0]), lambda: caller.call(used[0])["code"] == OK)
        for service in used:
            answers(caller, service, [w.who(2), w.who(3)], "a call to " + service.short)
        return daemon, caller
    small = s.plane(*used)
    daemon, _ = life(small)
    if STAND_IN:
        raise Skipped("no daemon, no memory to measure")
    before = at_rest(daemon)
    daemon.stop()
    small.declare(*unused)
    daemon, caller = life(small)
    after = at_rest(daemon)
    w.note("%d KiB with 5 services in scope, %d KiB with 2,000", before, after)
    dump = daemon.get("/config_dump")
    must("used0" in dump, "the configuration dump does not hold what is used: %s", dump[:300])
    must("unused" not in dump, "the configuration dump holds what nobody called: ...%s", dump[max(0, dump.find("unused") - 200):][:300])
    must(after - before <= 1024, "2,000 services cost %d KiB, more than 1 MiB (%d with five, %d with all)", after - before, before, after)
    # One more service, while it runs: it costs a push, not a call.
    caller.load(used[0], 100)
    small.declare(w.service("more", 3))
    within(CHANGE_S, "the service that came last answers", lambda: caller.call(w.service("more"))["code"] == OK)
    caller.stop_load()


# ---- Kubernetes

def readiness(s):
    """pods as Kubernetes tells of them: ready ones are called, those that are not ready or terminate are not, and changes are followed"""
    w = s.world
    w.provide(2, 3, 4, 5)
    plane = s.plane()
    demo = w.service("pods")
    plane.apply(pods_text(w, demo, {2: "ready", 3: "ready", 4: "not ready", 5: "terminating"}))
    _, caller = s.sidecar(plane, more=["removal_hold: 0s"])
    got = within(CHANGE_S, "the pods answer", lambda: caller.call(demo)["code"] == OK and shares(caller, demo, 100))
    must(sorted(got) == [w.who(2), w.who(3)], "ready are 2 and 3, and the calls went to %s", got)
    caller.load(demo, 200)
    plane.apply(pods_text(w, demo, {2: "not ready", 3: "ready", 4: "ready", 5: "ready"}))
    until_only(caller, [w.who(3), w.who(4), w.who(5)])
    plane.apply(pods_text(w, demo, {3: "terminating", 4: "ready"}))
    until_only(caller, [w.who(4)])
    caller.stop_load()


def two_apps(s):
    """two apps of one daemon, each in its namespace: each sees what is exported to it, over a stream of its own"""
    w = s.world
    w.provide(2, 3)
    demo = w.service("demo", 2)
    plane = s.plane(demo)
    if STAND_IN:
        raise Skipped("is one app")
    secret = w.service("secret", 3)
    plane.apply(istio_documents(secret)[0][1].replace("namespace: default", "namespace: bank").replace("spec:", "spec:\n  exportTo: [.]"))
    daemon, caller = s.sidecar(plane, apps=("default", "bank"))
    bank = w.caller(daemon, "bank")
    for each in (caller, bank):
        answers(each, demo, [w.who(2)])
    answers(bank, secret, [w.who(3)])
    refused(caller, secret, s.absent_s)
    answers(bank, secret, [w.who(3)])


def pods_text(w, service, states):
    endpoints = "".join("- addresses: [\"%s%d\"]\n  conditions: {ready: %s, serving: %s, terminating: %s}\n" % (
        w.block, host, *("true" if truth else "false" for truth in (state == "ready", state == "ready", state == "terminating")))
        for host, state in sorted(states.items()))
    return """apiVersion: v1
kind: Service
metadata: {name: %s, namespace: default}
spec:
  clusterIP: 10.96.0.10
  selector: {app: %s}
  ports: [{name: grpc, port: %d, targetPort: %d, protocol: TCP, appProtocol: grpc}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s-1, namespace: default, labels: {kubernetes.io/service-name: %s}}
addressType: IPv4
ports: [{name: grpc, port: %d, protocol: TCP}]
endpoints:
%s""" % (service.short, service.short, PORT, PROVIDER_PORT, service.short, service.short, PROVIDER_PORT, endpoints)


# ---- the comparator

def agrees(s):
    """grpc-go's own xDS client at the same server: the same providers in the same shares, before and after a change"""
    w = s.world
    w.provide(2, 3, 4)
    versions = {2: "v1", 3: "v1", 4: "v2"}
    even, split = w.service("even", 2, 3, 4), w.service("split", 2, 3, 4, versions=versions, split={"v1": 75, "v2": 25})
    plane = s.plane(even, split)
    theirs = w.comparator(plane)
    _, ours = s.sidecar(plane)
    for round_ in ("at first", "after a change"):
        for service, expected in ((even, {h: 1 / len(even.endpoints) for h in range(2, 2 + len(even.endpoints))}),
                                  (split, {2: .375, 3: .375, 4: .25} if round_ == "at first" else {2: .125, 3: .125, 4: .75})):
            mine, other = shares(ours, service, 1200), shares(theirs, service, 1200)
            must(sorted(mine) == sorted(other), "%s, %s: ours goes to %s, grpc-go to %s", service.short, round_, mine, other)
            for host, share in expected.items():
                who = w.who(host)
                # Six deviations of a draw of 1,200: ours and theirs each.
                must(abs(other[who] - share) < 0.085, "%s, %s: grpc-go gave %s %.3f of %.3f", service.short, round_, who, other[who], share)
                must(abs(mine[who] - share) < 0.085, "%s, %s: ours gave %s %.3f of %.3f", service.short, round_, who, mine[who], share)
        if round_ == "at first":
            even, split = w.service("even", 2, 3), w.service("split", 2, 3, 4, versions=versions, split={"v1": 25, "v2": 75})
            plane.declare(even, split)
            for caller in (ours, theirs):
                within(40, "the removed provider is left", lambda: len(shares(caller, even, 60)) == 2)
                within(CHANGE_S, "the new weights are followed", lambda: shares(caller, split, 100).get(w.who(4), 0) > 0.5)


def reference(s):
    """grpc-go's own xDS client alone: the server, the providers and this runner are sound"""
    w = s.world
    w.provide(2, 3)
    demo = w.service("demo", 2, 3)
    plane = s.plane(demo)
    theirs = w.comparator(plane)
    got = shares(theirs, demo, 100)
    must(sorted(got) == [w.who(2), w.who(3)], "grpc-go goes to %s", got)
    plane.declare(w.service("demo", 2))
    within(CHANGE_S, "grpc-go leaves the removed provider", lambda: list(shares(theirs, demo, 40)) == [w.who(2)])
