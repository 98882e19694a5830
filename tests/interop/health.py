#!/usr/bin/env python3
"""Scenarios of health: real providers that die, leave, return and say how they are, real SDKs that ask, and the daemon between them.

    tests/interop/health.py [--case WORD] SUITE DAEMON ROOT FOLDER      (tests/interop/run calls it; --list tells the suites)

Prints TAP: one case a scenario, named `function: what is promised`. ROOT is where the peers were built (build/interop). Each scenario has providers,
daemons and callers of its own, in a folder of its own below FOLDER, which is kept where the scenario failed; all are ended by pid. One
that takes longer than four minutes has failed.
"""
import argparse
import os
import shutil
import signal
import sys
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import health_cases as cases  # noqa: E402
import health_parts as health  # noqa: E402
import mesh  # noqa: E402
import mesh_parts as parts  # noqa: E402
import toolchains  # noqa: E402


class Suite:
    def __init__(self, name, kind, peers, run):
        self.name, self.kind, self.peers, self.cases = name, kind, peers, run


CALLER = "grpc-go"  # calls, whoever provides
SUITES = [
    Suite("Dubbo Java", "dubbo-java", ["dubbo-java", CALLER], [cases.told, cases.watched, cases.leaves]),
    Suite("dubbo-go", "dubbo-go", ["dubbo-go", CALLER], [cases.told, cases.watched, cases.leaves, cases.reference]),
    Suite("grpc-java", "grpc-go", ["grpc-java", CALLER], [cases.channel]),
    Suite("grpc-go", "grpc-go", [CALLER], [cases.told, cases.watched, cases.leaves, cases.channel, cases.asked, cases.inbound, cases.instances]),
]


class Setup:
    """What a scenario is given: the ecosystem of its providers, and its world."""

    def __init__(self, suite, world):
        self.kind, self.world, self.java = suite.kind, world, suite.name == "grpc-java"

    def channel(self, socket, authority, patient=False):
        """One that checks health by itself."""
        if self.java:
            return health.JavaChannel(self.world, socket, authority, *["patient"] * patient)
        return health.Caller(self.world, "unix:" + socket, authority, "-checked", *["-patient"] * patient)


def run_case(case, setup, world, notes):
    """Returns what is wrong, or None."""
    wrong = None
    signal.alarm(mesh.CASE_S)
    try:
        case(setup)
        world.finish()
    except parts.Failed as e:
        wrong = str(e)
    except Exception:  # noqa: BLE001: a scenario that breaks is a scenario that failed
        wrong = "the runner: " + traceback.format_exc(limit=-3)
    finally:
        signal.alarm(0)
        if wrong:
            wrong += world.evidence()
        world.stop()
    if wrong is None:
        shutil.rmtree(world.folder)
    return wrong


def main(doc, suites, setup, world_of):
    """Of tls.py too. setup: makes what a scenario is given, of the suite and its world; world_of: makes that."""
    if "--list" in sys.argv:
        print("\n".join("%s\n%s" % (s.name, "".join("    %s: %s\n" % (c.__name__, c.__doc__) for c in s.cases)) for s in suites))
        return
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--case", default="")
    p.add_argument("suite")
    p.add_argument("daemon")
    p.add_argument("root")
    p.add_argument("folder")
    a = p.parse_args()
    suite = [s for s in suites if s.name == a.suite]
    if not suite:
        sys.exit("no suite '%s'; --list tells them" % a.suite)
    signal.signal(signal.SIGALRM, mesh.too_long)
    signal.signal(signal.SIGTERM, mesh.asked_to_end)
    parts.die_with_parent(signal.SIGTERM)
    box = toolchains.Toolbox(os.path.abspath(a.root), print)
    chosen = [c for c in suite[0].cases if a.case in c.__name__]
    print("1..%d" % len(chosen), flush=True)
    for i, case in enumerate(chosen, 1):
        folder = os.path.join(os.path.abspath(a.folder), "%02d" % i)
        os.makedirs(folder)
        notes = []
        world = world_of(folder, os.path.abspath(a.daemon), box, notes)
        wrong = run_case(case, setup(suite[0], world), world, notes)
        # One line each: TAP has no others, and the logs are in the folder.
        tail = ["in %s" % folder] + wrong.splitlines() if wrong else notes
        print("%sok %d - %s: %s # %s" % ("not " if wrong else "", i, case.__name__, case.__doc__, " | ".join(tail)), flush=True)


if __name__ == "__main__":
    main(__doc__, SUITES, Setup, health.World)
