// grpc-node (@grpc/grpc-js) through thinmesh's Unix socket.
//
//   node grpc-node.mjs [SOCKET]

import grpc from "@grpc/grpc-js";

const socket = process.argv[2] ?? "/run/thinmesh/shop.sock";
const name = "demo.default.svc.cluster.local:50051";

// A generated client takes the same three arguments. Without the option the authority would be `localhost`.
const client = new grpc.Client(`unix:${socket}`, grpc.credentials.createInsecure(), { "grpc.default_authority": name });

const bytes = (b) => b;
const path = "/org.apache.dubbo.demo.GreeterService/sayHello";
client.makeUnaryRequest(path, bytes, bytes, Buffer.from("\x0a\x05world"), (error, reply) => {
	console.log(error ? `${error.code}: ${error.details}` : `OK ${reply}`);
	client.close();
});
