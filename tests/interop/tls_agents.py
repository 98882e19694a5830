# Who hands out identities over SDS in a TLS scenario: istio-agent, and SPIRE's server and agent, both without Kubernetes.

import json
import os
import subprocess

import hop as hops
import tls_parts as tls
from mesh_parts import Part, must, within
from tls_parts import certs


def said(command):
    """What it printed; "" where it failed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return (done.stdout or "done") if done.returncode == 0 else ""


class IstioAgent:
    """istio-agent without Kubernetes: certificates from files, an SDS server on a Unix socket. It wants a proxy to look after: a script that sleeps."""

    def __init__(self, world, leaf, roots):
        self.world, self.home = world, os.path.join(world.folder, "agent")
        for name in ("var/run/secrets/workload-spiffe-credentials", "var/run/secrets/workload-spiffe-uds", "etc/istio/proxy", "var/lib/istio/envoy"):
            os.makedirs(os.path.join(self.home, name))
        self.files = tls.Files(os.path.join(self.home, "var/run/secrets/workload-spiffe-credentials"), leaf, roots)
        self.socket = os.path.join(self.home, "var/run/secrets/workload-spiffe-uds/socket")
        with open(os.path.join(self.home, "var/lib/istio/envoy/envoy_bootstrap_tmpl.json"), "w") as f:
            f.write("{}\n")
        script = os.path.join(self.home, "proxy")
        with open(script, "w") as f:
            f.write("#!/bin/sh\nexec sleep 600\n")
        os.chmod(script, 0o755)
        self.env = {"POD_NAME": "shop-1", "POD_NAMESPACE": "default", "INSTANCE_IP": world.block + "9", "SERVICE_ACCOUNT": "shop",
                    "PROXY_CONFIG": json.dumps({"binaryPath": script, "configPath": "./etc/istio/proxy", "discoveryAddress": world.block + "1:1",
                                                "controlPlaneAuthPolicy": "NONE", "statusPort": hops.free_port()}),
                    "ENVOY_STATUS_PORT": str(hops.free_port()), "ENVOY_PROMETHEUS_PORT": str(hops.free_port())}
        self.part = None

    def start(self):
        # The agent's paths are relative to where it stands.
        self.part = Part(self.world, "istio-agent", ["env", "-C", self.home, self.world.box.path("bin", "pilot-agent"), "proxy", "sidecar",
                         "--meshConfig=/dev/null", "--domain=default.svc.cluster.local"], env=self.env)

        def listens():
            must(not self.part.ended(), "istio-agent ended at once:\n%s", self.part.tail())
            try:
                hops.connect_unix(self.socket)()
                return True
            except OSError:
                return False
        within(tls.START_S, lambda: "istio-agent listens:\n%s" % self.part.tail(), listens)
        return self


class Spire:
    """SPIRE's server and agent: a trust domain of its own, and one entry for whoever runs as our user."""
    TRUST_DOMAIN = "spire.test"

    def __init__(self, world, ttl_s):
        self.world, self.home, self.ttl_s = world, os.path.join(world.folder, "spire"), ttl_s
        os.makedirs(self.home)
        self.socket, self.control = os.path.join(self.home, "agent.sock"), os.path.join(self.home, "server.sock")
        self.port = hops.free_port()
        self.server = self.agent = None

    def _write(self, name, text):
        path = os.path.join(self.home, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def _tell(self, *words):
        return said([self.world.box.path("bin", "spire-server"), *words, "-socketPath", self.control])

    def start(self):
        conf = self._write("server.conf", """server {
  bind_address = "127.0.0.1"
  bind_port = "%d"
  socket_path = "%s"
  trust_domain = "%s"
  data_dir = "%s"
  log_level = "INFO"
  ca_ttl = "24h"
  default_x509_svid_ttl = "%ds"
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "%s/data.sqlite3" } }
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
}
""" % (self.port, self.control, self.TRUST_DOMAIN, self.home, self.ttl_s, self.home))
        self.server = Part(self.world, "spire-server", [self.world.box.path("bin", "spire-server"), "run", "-config", conf])
        within(tls.START_S, lambda: "SPIRE's server listens:\n" + self.server.tail(), lambda: self._tell("healthcheck"))
        token = self._tell("token", "generate", "-spiffeID", "spiffe://%s/node" % self.TRUST_DOMAIN).split()[-1]
        bundle = self._write("bundle.pem", self._tell("bundle", "show"))
        must(self._tell("entry", "create", "-parentID", "spiffe://%s/node" % self.TRUST_DOMAIN, "-spiffeID", self.id("shop"), "-selector",
                        "unix:uid:%d" % os.getuid()), "SPIRE takes no entry")
        conf = self._write("agent.conf", """agent {
  data_dir = "%s/agent"
  log_level = "INFO"
  server_address = "127.0.0.1"
  server_port = "%d"
  socket_path = "%s"
  trust_bundle_path = "%s"
  trust_domain = "%s"
  join_token = "%s"
}
plugins {
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
  WorkloadAttestor "unix" { plugin_data {} }
}
""" % (self.home, self.port, self.socket, bundle, self.TRUST_DOMAIN, token))
        self.agent = Part(self.world, "spire-agent", [self.world.box.path("bin", "spire-agent"), "run", "-config", conf])
        within(tls.START_S, lambda: "SPIRE's agent listens:\n" + self.agent.tail(), lambda: os.path.exists(self.socket) or self.agent.ended())
        must(not self.agent.ended(), "SPIRE's agent ended at once:\n%s", self.agent.tail())
        return self

    def id(self, account):
        return tls.spiffe_id(account, self.TRUST_DOMAIN)

    def leaf(self, account, ttl_s=3600):
        """A pair for somebody else, made by hand: for a provider that reads files."""
        folder = os.path.join(self.home, account)
        os.makedirs(folder, exist_ok=True)
        must(self._tell("x509", "mint", "-spiffeID", self.id(account), "-ttl", "%ds" % ttl_s, "-write", folder), "SPIRE mints nothing")
        return certs.Leaf(os.path.join(folder, "svid.pem"), os.path.join(folder, "key.pem"), 0)

    @property
    def roots(self):
        return os.path.join(self.home, "bundle.pem")
