// Kitex (CloudWeGo), speaking gRPC, through thinmesh's Unix socket: the destination service is the authority.
package sidecar

import (
	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/transport"
)

// For the NewClient of generated code: greeter.NewClient(name, options("demo.default.svc.cluster.local:50051")...). Give its first argument the same name.
func options(name string) []client.Option {
	return []client.Option{
		client.WithDestService(name),
		client.WithHostPorts("/run/thinmesh/shop.sock"),
		client.WithTransportProtocol(transport.GRPC),
	}
}
