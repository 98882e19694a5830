// A dubbo-go consumer over the sidecar's loopback listener: unary, streams, attachments, deadlines and errors. One TAP line a case.
//
// dubbo-go cannot dial a Unix socket, and its URL is an address, so the listener's `default` says which provider is meant. For its
// reference it opens a Health/Watch stream beside the calls and keeps it open.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"dubbo.apache.org/dubbo-go/v3/client"
	_ "dubbo.apache.org/dubbo-go/v3/imports"
	tri "dubbo.apache.org/dubbo-go/v3/protocol/triple/triple_protocol"
	"github.com/dubbogo/gost/log/logger"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"thinmesh/interop/dubbo-go/greeter"
)

type consumer struct {
	conn *client.Connection
	// Dubbo Java answers an error with `:status` 500, and dubbo-go then looks no further; that it gets to see the 500 is the promise.
	sees500 bool
}

func connect(url, provider string) (consumer, error) {
	c, err := client.NewClient(client.WithClientURL(url), client.WithClientProtocolTriple(), client.WithClientRetries(0),
		client.WithClientRequestTimeout(20*time.Second))
	if err != nil {
		return consumer{}, err
	}
	conn, err := c.DialWithInfo(greeter.Interface, &client.ClientInfo{InterfaceName: greeter.Interface, MethodNames: greeter.Methods})
	return consumer{conn, provider == "dubbo-java"}, err
}

func text(s string) *wrapperspb.StringValue { return wrapperspb.String(s) }

func (c consumer) greet(ctx context.Context, name string, opts ...client.CallOption) (string, error) {
	answer := text("")
	err := c.conn.CallUnary(ctx, []any{text(name)}, answer, greeter.Greet, opts...)
	return answer.GetValue(), err
}

func want(got, wanted any, err error) error {
	if err == nil && got != wanted {
		err = fmt.Errorf("got %.80v, wanted %.80v", got, wanted)
	}
	return err
}

func (c consumer) unary(ctx context.Context) error {
	got, err := c.greet(ctx, "wörld")
	return want(got, "hello wörld", err)
}

func (c consumer) largeUnary(ctx context.Context) error {
	large := strings.Repeat("x", 1<<20)
	got, err := c.greet(ctx, large)
	return want(len(got), len(large)+6, err)
}

func (c consumer) manyUnary(ctx context.Context) error {
	failures := make([]error, 100)
	var all sync.WaitGroup
	for i := range failures {
		all.Add(1)
		go func() {
			defer all.Done()
			name := fmt.Sprint("n", i)
			got, err := c.greet(ctx, name)
			failures[i] = want(got, "hello "+name, err)
		}()
	}
	all.Wait()
	return errors.Join(failures...)
}

func (c consumer) attachments(ctx context.Context) error {
	var trailer http.Header
	ctx = tri.AppendToOutgoingContext(ctx, "x-asked", "Asked And Told")
	got, err := c.greet(ctx, "you", client.WithResponseTrailer(&trailer))
	err = want(got, "hello you", err)
	err = want(value(trailer, "x-told"), "Asked And Told", err)
	return want(len(value(trailer, "x-large")), 12*1024, err)
}

// value finds a trailer whatever case its name was kept in.
func value(header http.Header, name string) string {
	for key, values := range header {
		if strings.EqualFold(key, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

func (c consumer) serverStream(ctx context.Context) error {
	raw, err := c.conn.CallServerStream(ctx, text("100"), greeter.Count)
	if err != nil {
		return err
	}
	stream, last, n := raw.(*tri.ServerStreamForClient), "", 0
	defer stream.Close()
	for stream.Receive(text("")) {
		last, n = stream.Msg().(*wrapperspb.StringValue).GetValue(), n+1
	}
	return want(n, 100, want(last, "100", stream.Err()))
}

func (c consumer) clientStream(ctx context.Context) error {
	raw, err := c.conn.CallClientStream(ctx, greeter.Collect)
	if err != nil {
		return err
	}
	stream := raw.(*tri.ClientStreamForClient)
	for _, word := range []string{"a", "b", "c"} {
		if err := stream.Send(text(word)); err != nil {
			return err
		}
	}
	answer := tri.NewResponse(text(""))
	err = stream.CloseAndReceive(answer)
	return want(answer.Msg.(*wrapperspb.StringValue).GetValue(), "a,b,c", err)
}

func (c consumer) bidiStream(ctx context.Context) error {
	raw, err := c.conn.CallBidiStream(ctx, greeter.Chat)
	if err != nil {
		return err
	}
	stream := raw.(*tri.BidiStreamForClient)
	for i := range 10 {
		answer := text("")
		err = errors.Join(stream.Send(text(fmt.Sprint("m", i))), stream.Receive(answer))
		if err = want(answer.GetValue(), fmt.Sprint("echo m", i), err); err != nil {
			return err
		}
	}
	if err := stream.CloseRequest(); err != nil {
		return err
	}
	if err := stream.Receive(text("")); !tri.IsEnded(err) {
		return fmt.Errorf("the end is %v", err)
	}
	return stream.CloseResponse()
}

func (c consumer) deadline(ctx context.Context) error {
	hasty, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	_, err := c.greet(hasty, "sleep 3000")
	if code := tri.CodeOf(err); err == nil || code != tri.CodeDeadlineExceeded {
		return fmt.Errorf("got %v (%v), wanted DEADLINE_EXCEEDED", code, err)
	}
	return c.unary(ctx)
}

func (c consumer) fails(ctx context.Context, how string, wanted tri.Code, message string) error {
	if c.sees500 {
		wanted, message = tri.CodeUnknown, "HTTP status 500"
	}
	err := c.conn.CallUnary(ctx, []any{text(how)}, text(""), greeter.Fail)
	if err == nil || tri.CodeOf(err) != wanted || !strings.Contains(err.Error(), message) {
		return fmt.Errorf("got %v, wanted %v: %s", err, wanted, message)
	}
	return nil
}

func (c consumer) statusAndMessage(ctx context.Context) error {
	return c.fails(ctx, "status", tri.CodeAlreadyExists, "taken: ö")
}

func (c consumer) failure(ctx context.Context) error {
	return c.fails(ctx, "business", tri.CodeBizError, "refused by the service")
}

// cancel leaves ten streams half way; the connection must carry the next call.
func (c consumer) cancel(ctx context.Context) error {
	for range 10 {
		one, stop := context.WithCancel(ctx)
		raw, err := c.conn.CallBidiStream(one, greeter.Chat)
		if err == nil {
			stream, answer := raw.(*tri.BidiStreamForClient), text("")
			err = errors.Join(stream.Send(text("m")), stream.Receive(answer))
			err = want(answer.GetValue(), "echo m", err)
		}
		stop()
		if err != nil {
			return err
		}
	}
	return c.unary(ctx)
}

func main() {
	url := flag.String("url", "", "tri://127.0.0.1:PORT of the listener")
	provider := flag.String("provider", "", "who is behind it: dubbo-java or dubbo-go")
	asked := flag.Bool("told", false, "do what the input says instead of the cases (told.go)")
	flag.Parse()
	logger.SetLoggerLevel("error")
	// dubbo-go writes some of its errors to standard output; that is for TAP here.
	tap := os.Stdout
	os.Stdout = os.Stderr
	c, err := connect(*url, *provider)
	if *asked {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		obeyAll(c, os.Stdin, tap)
		return
	}
	cases := []struct {
		name string
		run  func(context.Context) error
	}{
		{"unary", c.unary},
		{"large_unary", c.largeUnary},
		{"many_unary_at_once", c.manyUnary},
		{"attachments", c.attachments},
		{"server_stream", c.serverStream},
		{"client_stream", c.clientStream},
		{"bidi_stream", c.bidiStream},
		{"deadline", c.deadline},
		{"status_and_message", c.statusAndMessage},
		{"failure_of_the_service", c.failure},
		{"cancel", c.cancel},
	}
	fmt.Fprintf(tap, "1..%d\n", len(cases))
	for i, one := range cases {
		failure := err
		if failure == nil {
			ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
			failure = one.run(ctx)
			stop()
		}
		if failure != nil {
			fmt.Fprintf(tap, "not ok %d - %s # %s\n", i+1, one.name, strings.ReplaceAll(failure.Error(), "\n", " | "))
		} else {
			fmt.Fprintf(tap, "ok %d - %s\n", i+1, one.name)
		}
	}
}
