# Envoy as a sidecar of a TLS scenario: with the very inbound listener that istiod makes, Istio's own filters left out and its secrets read from files, before a
# provider in plain text; or on the caller's side, before a door of the daemon.

import json
import os
import socket

import tls_parts as tls
from mesh_parts import Part, http, must, within
from tls_parts import certs

# The longest that a connection lives where a scenario wants new ones all the time.
SHORT_S = 0.5


def h2_cluster(name, address, transport=None, short=False):
    host, port = address.split(":")
    options = {"explicit_http_config": {"http2_protocol_options": {}}}
    if short:
        options["common_http_protocol_options"] = {"max_connection_duration": "%gs" % SHORT_S}
    cluster = {"name": name, "type": "STATIC", "connect_timeout": "5s",
               "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                   "socket_address": {"address": host, "port_value": int(port)}}}}]}]},
               "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": dict(
                   {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"}, **options)}}
    return dict(cluster, transport_socket=transport) if transport else cluster


class Envoy:
    """Envoy with secrets from files, which it watches. `listeners` and `clusters` are given; it reads the mesh's names of secrets: default and ROOTCA."""

    def __init__(self, world, name, leaf, roots):
        self.world, self.folder, self.part = world, os.path.join(world.folder, "envoy-" + name), None
        self.admin = os.path.join(self.folder, "admin.sock")
        os.makedirs(self.folder)
        self.show(leaf)
        self.trust(roots)

    def _secret(self, name, secret):
        resource = dict({"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name": name}, **secret)
        certs.write(os.path.join(self.folder, name + ".json"), json.dumps({"resources": [resource]}))

    def show(self, leaf):
        self.leaf = leaf
        self._secret("default", {"tls_certificate": {"certificate_chain": {"inline_string": leaf.pem}, "private_key": {"inline_string": leaf.key_pem}}})

    def trust(self, *roots):
        self._secret("ROOTCA", {"validation_context": {"trusted_ca": {"inline_string": "".join(certs.read(r) for r in roots)}}})

    def secret_source(self, name):
        return {"path_config_source": {"path": os.path.join(self.folder, name + ".json")}, "resource_api_version": "V3"}

    def start(self, listeners, clusters):
        config = {"node": {"id": "provider", "cluster": "mesh"}, "admin": {"address": {"pipe": {"path": self.admin}}},
                  "static_resources": {"listeners": listeners, "clusters": clusters}}
        path = os.path.join(self.folder, "envoy.json")
        with open(path, "w") as f:
            json.dump(config, f)
        self.part = Part(self.world, "envoy", [self.world.box.path("bin", "envoy"), "-c", path, "--concurrency", "1", "--disable-hot-restart",
                         "--log-level", "info", "--use-dynamic-base-id"])

        def ready():
            must(not self.part.ended(), "Envoy ended at once:\n%s", self.part.tail())
            return "LIVE" in self.ask("/ready")
        within(tls.START_S, lambda: "Envoy is ready:\n%s" % self.part.tail(), ready)
        return self

    def ask(self, path):
        """A page of its admin socket; "" where it does not answer yet."""
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(self.admin)
                s.sendall(("GET %s HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n" % path).encode())
                text = b""
                while True:
                    some = s.recv(65536)
                    if not some:
                        return text.decode(errors="replace")
                    text += some
        except OSError:
            return ""

    def _tells(self, cert):
        serial = certs.openssl("x509", "-in", cert, "-noout", "-serial").strip().split("=")[1].lower().lstrip("0")
        return serial in self.ask("/certs").lower()

    def shows(self, leaf):
        """It has taken this certificate over."""
        return self._tells(leaf.cert)

    def trusts(self, roots):
        """The first of its roots is this one."""
        return self._tells(roots)


def as_envoy_reads_it(node, envoy):
    """What is sent to Istio's proxy, for an Envoy without Istio's own extensions: those left out, and secrets from files."""
    if isinstance(node, list):
        return [as_envoy_reads_it(n, envoy) for n in node if not (isinstance(n, dict) and str(n.get("name", "")).startswith("istio."))]
    if not isinstance(node, dict):
        return node
    out = {}
    for key, value in node.items():
        if key in ("tracing", "access_log"):
            continue
        if key in ("tls_certificate_sds_secret_configs", "validation_context_sds_secret_config"):
            one = value[0] if isinstance(value, list) else value
            value = {"name": one["name"], "sds_config": envoy.secret_source(one["name"])}
            value = [value] if key.startswith("tls_certificate") else value
        else:
            value = as_envoy_reads_it(value, envoy)
        out[key] = value
    return out


def inbound_listener(plane, at, envoy, labels, short=False):
    """istiod's own: the chains of its virtualInbound that serve this address, bound to it, for nobody redirects connections here."""
    host, port = at.split(":")
    node = {"id": "sidecar~%s~demo-1.default~default.svc.cluster.local" % host,
            "metadata": {"NAMESPACE": "default", "LABELS": labels, "INTERCEPTION_MODE": "REDIRECT", "ISTIO_VERSION": "1.31.0"}}
    found = [one for one in json.loads(http("POST", plane.ctl, "/listeners", json.dumps(node))) if one["name"] == "virtualInbound"]
    must(len(found) == 1, "istiod sent no virtualInbound")
    chains = [c for c in found[0]["filter_chains"] if c.get("filter_chain_match", {}).get("destination_port") == int(port)]
    must(chains, "no filter chain for port %s: %s", port, found[0])
    chains = as_envoy_reads_it(chains, envoy)
    for chain in chains:
        for f in chain["filters"]:
            if short and f["name"].endswith("http_connection_manager"):
                f["typed_config"]["common_http_protocol_options"] = {"max_connection_duration": "%gs" % SHORT_S}
                f["typed_config"]["drain_timeout"] = "1s"
    filters = [f for f in found[0]["listener_filters"] if "original_dst" not in f["name"]]
    return {"name": "inbound", "address": {"socket_address": {"address": host, "port_value": int(port)}}, "filter_chains": chains,
            "listener_filters": filters, "listener_filters_timeout": found[0].get("listener_filters_timeout", "0s")}


def outbound_listener(at):
    """A client's sidecar: plain text here, one cluster there."""
    host, port = at.split(":")
    route = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "0s"}}]}]}
    manager = {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "out",
               "codec_type": "HTTP2", "route_config": route, "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                   "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}
    return {"name": "outbound", "address": {"socket_address": {"address": host, "port_value": int(port)}},
            "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}


def mesh_transport(envoy, peer):
    """As Istio's clusters have it, for what Istio's own filter says of gRPC's ALPN."""
    return {"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "outbound_.50051_._.demo.default.svc.cluster.local",
        "common_tls_context": {
            "alpn_protocols": ["istio-h2", "istio", "h2"], "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": envoy.secret_source("default")}],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}]},
                "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": envoy.secret_source("ROOTCA")}}}}}
