// dubbo-js (@apachedubbo/dubbo-node) through thinmesh's Unix socket: the host of baseUrl is the authority.
//
// createGrpcTransport speaks gRPC and works with every Triple provider; createDubboTransport, with the same options, is the HTTP half of
// Triple, which Dubbo Java 3.3 answers with 415.

import { createPromiseClient } from "@apachedubbo/dubbo";
import { createGrpcTransport } from "@apachedubbo/dubbo-node";
import net from "node:net";

const socket = "/run/thinmesh/shop.sock";

/** service: what protoc-gen-apache-dubbo-es has made. */
export function dial(service, name = "demo.default.svc.cluster.local:50051") {
	return createPromiseClient(service, createGrpcTransport({
		baseUrl: `http://${name}`,
		httpVersion: "2",
		nodeOptions: { createConnection: () => net.connect(socket) },
	}));
}
