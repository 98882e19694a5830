// grpc-go through thinmesh's Unix socket: two ways to say whom the calls are for.
package sidecar

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const socket = "/run/thinmesh/shop.sock"

// One service on one connection. Without WithAuthority it would be `localhost`, and the app's `paths` would have to know the service.
func dial(name string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+socket, grpc.WithAuthority(name), grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// The same dialer for all services: the authority comes from the target, so a program that has its targets in a configuration changes nothing else.
func dialAny(name string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+name, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}))
}
