# What a mesh is told: the services of a scenario, as istiod reads them (Kubernetes-like YAML) and as go-control-plane does (xDS as JSON).
#
# Service: a name, its endpoints with the version each runs, and, for a canary, how many of a hundred calls each version gets.
# The functions below have no state: text out of services.

import json

DOMAIN = ".default.svc.cluster.local"
PORT = 50051


class Service:
    """endpoints: [(ip, port, version)]; split: {version: percent} or None."""

    def __init__(self, short, endpoints, split=None):
        self.short = short
        self.host = short + DOMAIN
        self.authority = "%s:%d" % (self.host, PORT)
        self.endpoints = list(endpoints)
        self.split = split

    def versions(self):
        return sorted(self.split) if self.split else [None]


# ---- istiod

def istio_documents(service):
    """[(kind, text)]; a service without a split has no rule and no virtual service."""
    head = "apiVersion: networking.istio.io/v1\nkind: %s\nmetadata: {name: %s, namespace: default}\nspec:\n"
    entry = head % ("ServiceEntry", service.short) + \
        "  hosts: [%s]\n  location: MESH_INTERNAL\n  resolution: STATIC\n" % service.host + \
        "  ports: [{number: %d, name: grpc, protocol: GRPC}]\n  endpoints:\n" % PORT + \
        "".join("  - {address: %s, ports: {grpc: %d}, labels: {app: %s, version: %s}}\n" % (ip, port, service.short, version)
                for ip, port, version in service.endpoints)
    documents = [("ServiceEntry", entry)]
    if service.split:
        rule = head % ("DestinationRule", service.short) + "  host: %s\n  subsets:\n" % service.host + \
            "".join("  - {name: %s, labels: {version: %s}}\n" % (v, v) for v in service.versions())
        route = head % ("VirtualService", service.short) + "  hosts: [%s]\n  http:\n  - route:\n" % service.host + \
            "".join("    - {destination: {host: %s, subset: %s}, weight: %d}\n" % (service.host, v, service.split[v])
                    for v in service.versions())
        documents += [("DestinationRule", rule), ("VirtualService", route)]
    return documents


def istio_text(documents):
    return "---\n".join(text for _, text in documents)


# ---- go-control-plane

TYPES = "type.googleapis.com/"
LISTENER = TYPES + "envoy.config.listener.v3.Listener"
ROUTE = TYPES + "envoy.config.route.v3.RouteConfiguration"
CLUSTER = TYPES + "envoy.config.cluster.v3.Cluster"
ENDPOINT = TYPES + "envoy.config.endpoint.v3.ClusterLoadAssignment"
MANAGER = TYPES + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = TYPES + "envoy.extensions.filters.http.router.v3.Router"
XDSTP_AUTHORITY = "mesh.test"


def xdstp(url, name):
    return "xdstp://%s/%s/%s" % (XDSTP_AUTHORITY, url[len(TYPES):], name)


def xds_resources(service, inline=False, new_names=False):
    """The gRPC dialect (gRFC A27): an API listener under the authority, its route inline or by name, a cluster and an assignment a version.
    new_names: everything that a resource names in another is an xdstp: name."""
    def name(url, short):
        return xdstp(url, short) if new_names else short

    ads = {"ads": {}, "resource_api_version": "V3"}
    clusters, assignments, weighted = [], [], []
    for version in service.versions():
        short = service.short + ("-" + version if version else "")
        cluster, assignment = name(CLUSTER, "cluster-" + short), name(ENDPOINT, "endpoints-" + short)
        clusters.append({"@type": CLUSTER, "name": cluster, "type": "EDS", "lb_policy": "ROUND_ROBIN",
                         "eds_cluster_config": {"eds_config": ads, "service_name": assignment}})
        assignments.append({"@type": ENDPOINT, "cluster_name": assignment, "endpoints": [{
            "locality": {"region": "r", "zone": "z"}, "load_balancing_weight": 1,
            "lb_endpoints": [{"health_status": "HEALTHY", "endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}}}
                             for ip, port, v in service.endpoints if version in (None, v)]}]})
        weighted.append({"name": cluster, "weight": service.split[version] if version else 100})
    action = {"cluster": weighted[0]["name"]} if len(weighted) == 1 else {"weighted_clusters": {"clusters": weighted}}
    route = {"name": name(ROUTE, "route-" + service.short), "virtual_hosts": [
        {"name": service.short, "domains": [service.authority, service.host], "routes": [{"match": {"prefix": ""}, "route": action}]}]}
    manager = {"@type": MANAGER, "stat_prefix": service.short,
               "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}]}
    if inline:
        manager["route_config"] = route
    else:
        manager["rds"] = {"config_source": ads, "route_config_name": route["name"]}
    resources = [{"@type": LISTENER, "name": service.authority, "api_listener": {"api_listener": manager}}] + clusters + assignments
    return resources if inline else resources + [dict({"@type": ROUTE}, **route)]


def xds_text(services, **how):
    return json.dumps({"resources": [r for s in services for r in xds_resources(s, **how)]})
