// A grpc-go provider of the health scenarios: the Greeter, and grpc.health.v1 unless it is told to leave it out.
//
//	-port 6001 [-bare]
//
// A line on its input sets what it says of itself: SERVING or NOT_SERVING, answered with the same word on its output. It prints "ready" when
// it listens. SIGTERM lets the calls that run end first, as a provider that is taken out with grace does.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"thinmesh/interop/grpc-go/greeter"
)

type provider struct{ port string }

func (p provider) Greet(_ context.Context, name string) (string, error) {
	if name == "who" {
		return p.port, nil
	}
	if ms, found := strings.CutPrefix(name, "sleep "); found {
		n, err := strconv.Atoi(ms)
		if err != nil {
			return "", err
		}
		time.Sleep(time.Duration(n) * time.Millisecond)
	}
	return "hello " + name, nil
}

func obey(h *health.Server) {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		word := lines.Text()
		status := healthgrpc.HealthCheckResponse_ServingStatus(healthgrpc.HealthCheckResponse_ServingStatus_value[word])
		h.SetServingStatus("", status)
		h.SetServingStatus("thinmesh.interop.Greeter", status)
		fmt.Println(word)
	}
}

func main() {
	port := flag.Int("port", 0, "loopback port")
	bare := flag.Bool("bare", false, "without grpc.health.v1")
	flag.Parse()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	server, h := grpc.NewServer(), health.NewServer()
	greeter.Register(server, provider{strconv.Itoa(*port)})
	if !*bare {
		h.SetServingStatus("thinmesh.interop.Greeter", healthgrpc.HealthCheckResponse_SERVING)
		healthgrpc.RegisterHealthServer(server, h)
		go obey(h)
	}
	asked, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(asked, syscall.SIGTERM)
	go func() {
		<-asked
		h.Shutdown()
		server.GracefulStop()
		close(done)
	}()
	fmt.Println("ready")
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
	<-done
}
