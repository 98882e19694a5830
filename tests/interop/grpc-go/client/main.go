// The official gRPC interop cases of grpc-go, sent through a Unix socket.
//
// The cases live in the package interop of grpc-go itself; they end the process when something is wrong. So this program has two
// roles: without -case it is the parent, that starts itself once for each case and writes one TAP line for it; with -case it runs
// that one case on a connection of its own and is expected to leave with 0.
//
// The ways to name the provider are what users of grpc-go have with a Unix socket:
//
//	authority    target unix:PATH and grpc.WithAuthority(NAME)
//	passthrough  target passthrough:///NAME and a dialer that opens the socket
//	none         target unix:PATH alone: the authority is `localhost`, the sidecar goes by the path
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

var (
	socket    = flag.String("socket", "", "Unix socket of the sidecar")
	authority = flag.String("authority", "", "name of the provider")
	way       = flag.String("way", "authority", "authority, passthrough or none")
	gzipped   = flag.Bool("gzip", false, "also the compressed cases: the provider knows gzip (grpc-go's interop server does not)")
	only      = flag.String("case", "", "run this case in this process")
)

// One case must be over by then: a hang is a failure, not a stuck run.
const caseTime = 30 * time.Second

type interopCase struct {
	name string
	run  func(context.Context, *grpc.ClientConn, testgrpc.TestServiceClient)
}

// plain makes a case of a function of the package interop.
func plain(name string, do func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption), opts ...grpc.CallOption) interopCase {
	return interopCase{name, func(ctx context.Context, _ *grpc.ClientConn, client testgrpc.TestServiceClient) {
		do(ctx, client, opts...)
	}}
}

func cases() []interopCase {
	all := []interopCase{
		plain("empty_unary", interop.DoEmptyUnaryCall),
		plain("large_unary", interop.DoLargeUnaryCall),
		plain("client_streaming", interop.DoClientStreaming),
		plain("server_streaming", interop.DoServerStreaming),
		plain("ping_pong", interop.DoPingPong),
		plain("empty_stream", interop.DoEmptyStream),
		plain("timeout_on_sleeping_server", interop.DoTimeoutOnSleepingServer),
		plain("cancel_after_begin", interop.DoCancelAfterBegin),
		plain("cancel_after_first_response", interop.DoCancelAfterFirstResponse),
		plain("custom_metadata", interop.DoCustomMetadata),
		plain("status_code_and_message", interop.DoStatusCodeAndMessage),
		plain("special_status_message", interop.DoSpecialStatusMessage),
		{"unimplemented_method", func(ctx context.Context, conn *grpc.ClientConn, _ testgrpc.TestServiceClient) {
			interop.DoUnimplementedMethod(ctx, conn)
		}},
		{"unimplemented_service", func(ctx context.Context, conn *grpc.ClientConn, _ testgrpc.TestServiceClient) {
			interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
		}},
		{"many_streams_at_once", manyStreams},
	}
	if *gzipped {
		all = append(all,
			plain("large_unary_gzip", interop.DoLargeUnaryCall, grpc.UseCompressor(gzip.Name)),
			plain("client_streaming_gzip", interop.DoClientStreaming, grpc.UseCompressor(gzip.Name)),
			plain("ping_pong_gzip", interop.DoPingPong, grpc.UseCompressor(gzip.Name)))
	}
	return all
}

// manyStreams keeps 100 full-duplex calls open at once on the one connection, then ends them all: streams must not block each other.
func manyStreams(ctx context.Context, _ *grpc.ClientConn, client testgrpc.TestServiceClient) {
	streams := make([]testgrpc.TestService_FullDuplexCallClient, 100)
	for i := range streams {
		stream, err := client.FullDuplexCall(ctx)
		if err == nil {
			err = stream.Send(&testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: int32(i + 1)}}})
		}
		must(err)
		streams[i] = stream
	}
	for i, stream := range streams {
		answer, err := stream.Recv()
		must(err)
		if got := len(answer.GetPayload().GetBody()); got != i+1 {
			must(fmt.Errorf("stream %d: a payload of %d bytes, wanted %d", i, got, i+1))
		}
		must(stream.CloseSend())
	}
	for _, stream := range streams {
		if _, err := stream.Recv(); err == nil || err.Error() != "EOF" {
			must(fmt.Errorf("end of stream: %v", err))
		}
	}
}

// unknownName asks for a provider that no configuration names: the sidecar's own answer must be a gRPC status that tells what was asked.
func unknownName(ctx context.Context, _ *grpc.ClientConn, client testgrpc.TestServiceClient) {
	_, err := client.EmptyCall(ctx, &testgrpc.Empty{})
	if status.Code(err) != codes.Unimplemented || !strings.Contains(status.Convert(err).Message(), "nobody") {
		must(fmt.Errorf("got %v, wanted Unimplemented and the name", err))
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func connect(name string) *grpc.ClientConn {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	target := "unix:" + *socket
	switch *way {
	case "authority":
		options = append(options, grpc.WithAuthority(name))
	case "passthrough":
		target = "passthrough:///" + name
		options = append(options, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", *socket)
		}))
	}
	conn, err := grpc.NewClient(target, options...)
	must(err)
	return conn
}

func runOne(c interopCase) {
	name := *authority
	if c.name == "unknown_name" {
		name = "nobody.default.svc.cluster.local:50051"
	}
	conn := connect(name)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), caseTime)
	defer cancel()
	c.run(ctx, conn, testgrpc.NewTestServiceClient(conn))
}

func main() {
	flag.Parse()
	all := cases()
	switch *way {
	case "authority":
		all = append(all, interopCase{"unknown_name", unknownName})
	case "none":
		// The path leads to the provider, so only calls of the service that the path map names can get there.
		all = without(all, "unimplemented_service")
	}
	if *only != "" {
		for _, c := range all {
			if c.name == *only {
				runOne(c)
				return
			}
		}
		must(fmt.Errorf("no case %q", *only))
	}
	fmt.Printf("1..%d\n", len(all))
	for i, c := range all {
		ctx, cancel := context.WithTimeout(context.Background(), caseTime+5*time.Second)
		child := exec.CommandContext(ctx, os.Args[0], append(os.Args[1:], "-case", c.name)...)
		var said bytes.Buffer
		child.Stdout, child.Stderr = &said, &said
		if err := child.Run(); err != nil {
			fmt.Printf("not ok %d - %s # %v: %s\n", i+1, c.name, err, strings.ReplaceAll(strings.TrimSpace(said.String()), "\n", " | "))
		} else {
			fmt.Printf("ok %d - %s\n", i+1, c.name)
		}
		cancel()
	}
}

func without(all []interopCase, name string) []interopCase {
	var rest []interopCase
	for _, c := range all {
		if c.name != name {
			rest = append(rest, c)
		}
	}
	return rest
}
