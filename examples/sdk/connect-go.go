// connect-go through thinmesh's Unix socket: HTTP/2 with prior knowledge, the host of the URL is the authority.
package sidecar

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"golang.org/x/net/http2"
)

// For the constructor of generated code, for all services: greetconnect.NewGreeterClient(httpClient(),
// "http://demo.default.svc.cluster.local:50051", connect.WithGRPC()).
func httpClient() *http.Client {
	return &http.Client{Transport: &http2.Transport{
		AllowHTTP: true, // no TLS: that is what DialTLSContext then means
		DialTLSContext: func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", "/run/thinmesh/shop.sock")
		},
	}}
}
