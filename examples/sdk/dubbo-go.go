// dubbo-go through thinmesh's loopback listener: it cannot dial a Unix socket, and its URL is the address that it dials.
//
//	apps:
//	  - name: shop
//	    listen:
//	      - tcp: 127.0.0.1:15051
//	        default: demo.default.svc.cluster.local:50051      # one listener a service, or `paths` of the app for several on one
package sidecar

import (
	"time"

	"dubbo.apache.org/dubbo-go/v3/client"
	_ "dubbo.apache.org/dubbo-go/v3/imports"
)

// Retries are the sidecar's business. Generated code: greet.NewGreeterService(c).
func dial() (*client.Client, error) {
	return client.NewClient(client.WithClientURL("tri://127.0.0.1:15051"), client.WithClientProtocolTriple(), client.WithClientRetries(0),
		client.WithClientRequestTimeout(5*time.Second))
}
