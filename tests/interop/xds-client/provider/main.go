// A provider of the mesh scenarios: one gRPC server at each of several loopback addresses, whose every answer says which address gave it.
//
//	-listen 127.1.2.3:6001,127.1.2.4:6001
//
// The service is gRPC's own grpc.testing.TestService: UnaryCall answers with the address as its hostname. It prints "ready" when all
// addresses listen. SIGTERM lets the calls that run end first, as a provider that is taken out with grace does; SIGKILL is the other way.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

type provider struct {
	testgrpc.UnimplementedTestServiceServer
	address string
}

func (p *provider) UnaryCall(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	return &testgrpc.SimpleResponse{Hostname: p.address}, nil
}

func main() {
	listen := flag.String("listen", "", "addresses, separated by commas")
	flag.Parse()
	var servers []*grpc.Server
	for _, address := range strings.Split(*listen, ",") {
		socket, err := net.Listen("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		server := grpc.NewServer()
		testgrpc.RegisterTestServiceServer(server, &provider{address: address})
		servers = append(servers, server)
		go func() { _ = server.Serve(socket) }()
	}
	fmt.Println("ready")
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	<-asked
	var all sync.WaitGroup
	for _, server := range servers {
		all.Go(server.GracefulStop)
	}
	all.Wait()
}
