#!/usr/bin/env python3
"""Scenarios of TLS: providers and callers on other TLS stacks, Envoy as a mesh's sidecar on either side, identities from agents, and the daemon between them.

    tests/interop/tls.py [--case WORD] SUITE DAEMON ROOT FOLDER      (tests/interop/run calls it; --list tells the suites)

As health.py, which runs them: TAP, a folder of its own for each scenario, kept where it failed.
"""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import health  # noqa: E402
import mesh_parts as parts  # noqa: E402
import tls_cases as cases  # noqa: E402
import tls_mesh as mesh  # noqa: E402
import tls_parts as tls  # noqa: E402


class Suite:
    """profile, protocol: of those whose names come from istiod. full: too slow to build for every run."""

    def __init__(self, name, peers, run, profile=None, protocol="sotw", full=False):
        self.name, self.peers, self.cases, self.profile, self.protocol, self.full = name, peers, run, profile, protocol, full


GO, ENVOY = "grpc-go", "envoy"
SUITES = [
    Suite("Go's stack", [GO], [cases.stacks, cases.names, cases.demanded, cases.plain, cases.no_alpn, cases.renewed, cases.strict, cases.permissive, cases.allowed]),
    Suite("Java's stack", [GO, "grpc-java"], [cases.stacks, cases.names, cases.demanded]),
    Suite("Envoy, istio sotw", [GO, ENVOY, "istiod"], [mesh.strict, mesh.permissive, mesh.both_kinds, mesh.other_domain, mesh.other_account, mesh.nobody, mesh.renewed,
          mesh.roots_renewed, mesh.accounts_change], "istio"),
    Suite("Envoy, istio delta", [GO, ENVOY, "istiod"], [mesh.strict, mesh.permissive, mesh.nobody, mesh.accounts_change], "istio", "delta"),
    Suite("Envoy, istio-grpc sotw", [GO, ENVOY, "istiod"], [mesh.strict, mesh.permissive, mesh.other_domain, mesh.nobody, mesh.renewed], "istio-grpc"),
    Suite("Envoy, services[].tls and doors", [GO, ENVOY, "istiod"], [mesh.by_directory, cases.client_sidecar]),
    Suite("istiod's CA, istio sotw", [GO, "istiod"], [mesh.issued, mesh.ads_by_certificate, mesh.two_workloads, mesh.token_refused, mesh.ca_renewed, mesh.ca_absent], "istio"),
    Suite("istiod's CA, istio-grpc sotw", [GO, "istiod"], [mesh.issued, mesh.two_workloads], "istio-grpc"),
    Suite("istio-agent", [GO, "istio-agent"], [cases.sds, cases.sds_absent]),
    Suite("SPIRE", [GO, "spire"], [cases.spire], full=True),
]


class Setup:
    """What a scenario is given: its world, the stack of its providers, and what its names come from."""

    def __init__(self, suite, world):
        self.world, self.java, self.profile, self.protocol = world, suite.name.startswith("Java"), suite.profile, suite.protocol

    def plane(self, *texts, **how):
        plane = parts.Istiod(self.world)
        plane.start(**how)
        for text in texts:
            plane.apply(text)
        return plane


if __name__ == "__main__":
    health.main(__doc__, SUITES, Setup, tls.World)
