#!/usr/bin/env python3
"""Scenarios of a mesh: real control planes, real providers, a real client, and the daemon between them.

    tests/interop/mesh.py [--case WORD] SUITE DAEMON BINARIES FOLDER      (tests/interop/run calls it; --list tells the suites)

Prints TAP: one case a scenario, named `function: what is promised`. Each scenario has a control plane, providers, daemon and caller of
its own, in a folder of its own below FOLDER, which is kept where the scenario failed; all are ended by pid. A scenario that takes longer
than four minutes has failed.

THINMESH_INTEROP_HOP=grpc-go puts grpc-go's own xDS client where the daemon stands: that proves the peers and this runner, not thinmesh.
"""
import argparse
import os
import shutil
import signal
import sys
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mesh_cases as cases  # noqa: E402
import mesh_identity as identity  # noqa: E402
import mesh_life as life  # noqa: E402
import mesh_parts as parts  # noqa: E402

CASE_S = 240

COMMON = [cases.first_call, cases.unknown, cases.created_after_refusal, cases.deleted, cases.endpoints_at_once, cases.endpoints_held,
          cases.canary, cases.plane_killed, cases.plane_ages, cases.snapshot_start, cases.down_at_start,
          cases.prefetched, cases.idle]
ISTIO = [cases.readiness, cases.two_apps, cases.second_server]
TOKENS = [identity.token, identity.token_refused, identity.token_corrected]
GENERIC = [cases.second_server, cases.unix_server, identity.client_certificate, identity.certificate_missing, identity.server_of_another_name]

# What an app says, and its end, over each form and dialect; what is the same in all of them, once.
LIFE = [life.ok_and_fail, life.own_entry, life.app_killed, life.sidecar_asked_to_end, life.plane_restarted, life.upgraded]
LIFE_MTLS = [life.ok_and_fail, life.own_entry, life.app_killed, life.sidecar_asked_to_end, life.upgraded]


class Suite:
    """absent_s: how long this control plane may leave us in doubt whether a name exists: istiod says so at once, go-control-plane says
    nothing to whoever has other names already, or in delta, and the daemon concludes after 15 s."""

    def __init__(self, plane, profile, protocol, run, cache=None, how=None):
        self.plane_kind, self.profile, self.protocol, self.cases, self.cache, self.how = plane, profile, protocol, run, cache, how or {}
        self.absent_s = 14 if plane == "istiod" and profile != "generic" else 40
        self.name = "%s, %s %s" % (plane + (" (%s)" % cache if cache else ""), profile, protocol) + \
            ("".join(", " + k.replace("_", " ") for k in self.how))
        self.peers = ["istiod" if plane == "istiod" else "control-plane", "xds-client"]


SUITES = [
    Suite("istiod", "istio", "sotw", [cases.reference] + COMMON + [cases.many] + ISTIO + TOKENS + [cases.agrees]),
    Suite("istiod", "istio", "delta", COMMON + [cases.many, identity.token, identity.token_refused, cases.agrees] + ISTIO),
    Suite("istiod", "istio-grpc", "sotw", COMMON + [cases.many, identity.token, identity.token_refused, cases.agrees] + ISTIO),
    Suite("istiod", "istio", "sotw", LIFE + [life.last_word, life.sidecar_killed, life.stream_ages, life.group_late, life.identity_missing, life.entry_deleted,
          life.unready], how={"life": True}),
    Suite("istiod", "istio", "delta", LIFE + [life.last_word, life.stream_ages, life.entry_deleted, life.unready], how={"life": True}),
    Suite("istiod", "istio-grpc", "sotw", LIFE + [life.unready], how={"life": True}),
    # The same over certificates of istiod's CA. Without its restarts: each start of it makes a CA of its own here.
    Suite("istiod", "istio", "sotw", LIFE_MTLS + [life.last_word, life.entry_deleted], how={"life": True, "mtls": True}),
    Suite("istiod", "istio", "delta", LIFE_MTLS, how={"life": True, "mtls": True}),
    Suite("istiod", "istio-grpc", "sotw", LIFE_MTLS, how={"life": True, "mtls": True}),
    # istiod as any other server of gRPC's dialect: which it speaks to a node that says so.
    Suite("istiod", "generic", "sotw", [cases.first_call, cases.unknown, cases.endpoints_at_once, cases.canary, cases.plane_killed, cases.snapshot_start]),
    Suite("go-control-plane", "generic", "sotw", [cases.reference] + COMMON + [cases.many] + GENERIC + [cases.agrees], "snapshot"),
    Suite("go-control-plane", "generic", "delta", COMMON + [cases.many, identity.client_certificate, cases.agrees], "snapshot"),
    # What differs in the library's other cache, and in how resources name each other.
    Suite("go-control-plane", "generic", "sotw", [cases.first_call, cases.endpoints_at_once, cases.created_after_refusal, cases.canary,
          cases.plane_killed], "linear"),
    Suite("go-control-plane", "generic", "delta", [cases.first_call, cases.endpoints_at_once, cases.created_after_refusal, cases.canary,
          cases.plane_killed], "linear"),
    Suite("go-control-plane", "generic", "sotw", [cases.first_call, cases.canary, cases.deleted], "snapshot", {"inline": True}),
    Suite("go-control-plane", "generic", "delta", [cases.first_call, cases.canary], "snapshot", {"inline": True}),
    Suite("go-control-plane", "generic", "sotw", [cases.first_call, cases.canary, cases.endpoints_at_once], "snapshot", {"new_names": True}),
    Suite("go-control-plane", "generic", "delta", [cases.first_call, cases.canary], "linear", {"new_names": True}),
]


class Setup:
    """What a scenario is given: the suite's way of making a control plane and a daemon, in the scenario's world."""

    def __init__(self, suite, world):
        self.suite, self.world = suite, world
        self.absent_s = suite.absent_s
        self.mtls = bool(suite.how.get("mtls"))
        self.by_name = suite.plane_kind != "istiod"  # the server tells what it was asked for

    def plane(self, *services, start=True, more=(), **how):
        """more: options of the peer's program; istiod's may have an environment too."""
        plane = parts.Istiod(self.world) if self.suite.plane_kind == "istiod" else \
            parts.GoControlPlane(self.world, self.suite.cache, **self.suite.how)
        plane.declare(*services)
        if start:
            plane.start(*more, **how)
        return plane

    def sidecar(self, plane, **how):
        if self.suite.profile == "generic" and self.suite.plane_kind == "istiod":
            how["more"] = ["node: {metadata: {GENERATOR: grpc}}"] + list(how.get("more", ()))
        return self.world.sidecar(plane, self.suite.profile, self.suite.protocol, **how)


def too_long(*_):
    raise parts.Failed("it took more than %d s" % CASE_S)


def asked_to_end(*_):
    raise KeyboardInterrupt


def run_case(case, suite, daemon, binaries, folder):
    """Returns (what is wrong or None, what else is to be told)."""
    notes = []
    os.makedirs(folder)
    world, wrong = parts.World(folder, daemon, binaries, notes), None
    signal.alarm(CASE_S)
    try:
        case(Setup(suite, world))
        world.finish()
    except parts.Failed as e:
        wrong = str(e)
    except parts.Skipped as e:
        notes.append("SKIP " + str(e))
    except Exception:  # noqa: BLE001: a scenario that breaks is a scenario that failed
        wrong = "the runner: " + traceback.format_exc(limit=-3)
    finally:
        signal.alarm(0)
        if wrong:
            wrong += world.evidence()
        world.stop()
    if wrong is None:
        shutil.rmtree(folder)
    return wrong, notes


def main():
    if "--list" in sys.argv:
        print("\n".join("%s\n%s" % (s.name, "".join("    %s: %s\n" % (c.__name__, c.__doc__) for c in s.cases)) for s in SUITES))
        return
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--case", default="")
    p.add_argument("suite")
    p.add_argument("daemon")
    p.add_argument("binaries")
    p.add_argument("folder")
    a = p.parse_args()
    suite = [s for s in SUITES if s.name == a.suite]
    if not suite:
        sys.exit("mesh: no suite '%s'; --list tells them" % a.suite)
    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, asked_to_end)
    parts.die_with_parent(signal.SIGTERM)
    chosen = [c for c in suite[0].cases if a.case in c.__name__]
    print("1..%d" % len(chosen), flush=True)
    for i, case in enumerate(chosen, 1):
        folder = os.path.join(os.path.abspath(a.folder), "%02d" % i)
        wrong, notes = run_case(case, suite[0], os.path.abspath(a.daemon), os.path.abspath(a.binaries), folder)
        name = "%s: %s" % (case.__name__, case.__doc__)
        # One line each: TAP has no others, and the logs are in the folder.
        tail = ["in %s" % folder] + wrong.splitlines() if wrong else notes
        print("%sok %d - %s # %s" % ("not " if wrong else "", i, name, " | ".join(tail)), flush=True)


if __name__ == "__main__":
    main()
