// The caller of the mesh scenarios: grpc-go, either through the sidecar's Unix socket, or with its own xDS client straight to the
// providers, which is what the sidecar's choices are compared with.
//
//	-socket PATH   through the sidecar; the name is the authority
//	-xds           grpc-go's xDS client; GRPC_XDS_BOOTSTRAP says where the control plane is; the name is the target
//
// It reads commands from its input, a line each, and answers each with one line of JSON:
//
//	call NAME [MS]          one call with a deadline (10000 ms): {"code", "message", "who", "ms"}
//	calls NAME COUNT AT     COUNT calls, AT of them at once: {"codes", "who", "first"}
//	load NAME A_SECOND      begins calls at that rate, on their way while other commands are answered
//	seen                    the load since the last `seen`: {"codes", "who", "first"}
//	stop                    ends the load and waits for its calls: totals, in the same form
//
// "who" counts the answers of each provider, "codes" the grpc-status of every call, "first" is the first failure's text.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
)

// A call of a load or of a series that takes longer than this has failed: the sidecar parks a call for five seconds.
const callTime = 30 * time.Second

type tally struct {
	Codes map[string]int `json:"codes"`
	Who   map[string]int `json:"who"`
	First string         `json:"first,omitempty"`
}

func newTally() *tally { return &tally{Codes: map[string]int{}, Who: map[string]int{}} }

func (t *tally) add(who string, err error) {
	code := strconv.Itoa(int(status.Code(err)))
	t.Codes[code]++
	if err == nil {
		t.Who[who]++
	} else if t.First == "" {
		t.First = err.Error()
	}
}

// caller owns the connections, one a name, and the load that runs.
type caller struct {
	socket string
	xds    bool
	conns  map[string]*grpc.ClientConn

	lock        sync.Mutex // of the two tallies
	total, last *tally
	end         chan struct{} // closed by `stop`; nil: no load
	calls       sync.WaitGroup
}

func (c *caller) client(name string) (testgrpc.TestServiceClient, error) {
	conn := c.conns[name]
	if conn == nil {
		target, options := "xds:///"+name, []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
		if strings.HasPrefix(name, "xds:") {
			target = name
		}
		if !c.xds {
			target, options = "unix:"+c.socket, append(options, grpc.WithAuthority(name))
		}
		var err error
		if conn, err = grpc.NewClient(target, options...); err != nil {
			return nil, err
		}
		c.conns[name] = conn
	}
	return testgrpc.NewTestServiceClient(conn), nil
}

func once(to testgrpc.TestServiceClient, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	answer, err := to.UnaryCall(ctx, &testgrpc.SimpleRequest{})
	return answer.GetHostname(), err
}

func call(to testgrpc.TestServiceClient, limit time.Duration) any {
	began := time.Now()
	who, err := once(to, limit)
	return struct {
		Code    int     `json:"code"`
		Message string  `json:"message"`
		Who     string  `json:"who"`
		Ms      float64 `json:"ms"`
	}{int(status.Code(err)), status.Convert(err).Message(), who, float64(time.Since(began).Microseconds()) / 1000}
}

func series(to testgrpc.TestServiceClient, count, at int) any {
	sum, turns := newTally(), make(chan struct{}, count)
	for range count {
		turns <- struct{}{}
	}
	close(turns)
	var lock sync.Mutex
	var all sync.WaitGroup
	for range at {
		all.Go(func() {
			for range turns {
				who, err := once(to, callTime)
				lock.Lock()
				sum.add(who, err)
				lock.Unlock()
			}
		})
	}
	all.Wait()
	return sum
}

// load sends by the clock, not by the answers: a sidecar that stops answering makes calls wait and then fail, it does not make them fewer.
func (c *caller) load(to testgrpc.TestServiceClient, aSecond int) {
	c.total, c.last, c.end = newTally(), newTally(), make(chan struct{})
	end, tick := c.end, time.NewTicker(time.Second/time.Duration(aSecond))
	c.calls.Go(func() {
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			c.calls.Go(func() {
				who, err := once(to, callTime)
				c.lock.Lock()
				defer c.lock.Unlock()
				c.total.add(who, err)
				c.last.add(who, err)
			})
		}
	})
}

func (c *caller) obey(line string) (any, error) {
	words := strings.Fields(line)
	number := func(i, otherwise int) int {
		if i < len(words) {
			if n, err := strconv.Atoi(words[i]); err == nil && n > 0 {
				return n
			}
		}
		return otherwise
	}
	var to testgrpc.TestServiceClient
	if len(words) > 1 {
		var err error
		if to, err = c.client(words[1]); err != nil {
			return nil, err
		}
	}
	switch {
	case len(words) > 1 && words[0] == "call":
		return call(to, time.Duration(number(2, 10000))*time.Millisecond), nil
	case len(words) > 1 && words[0] == "calls":
		return series(to, number(2, 100), number(3, 10)), nil
	case len(words) > 1 && words[0] == "load" && c.end == nil:
		c.load(to, number(2, 100))
		return "started", nil
	case len(words) == 1 && words[0] == "seen" && c.end != nil:
		c.lock.Lock()
		defer c.lock.Unlock()
		last := c.last
		c.last = newTally()
		return last, nil
	case len(words) == 1 && words[0] == "stop" && c.end != nil:
		close(c.end)
		c.end = nil
		c.calls.Wait()
		return c.total, nil
	}
	return nil, fmt.Errorf("not understood, or not now: %q", line)
}

func main() {
	c := &caller{conns: map[string]*grpc.ClientConn{}}
	flag.StringVar(&c.socket, "socket", "", "Unix socket of the sidecar")
	flag.BoolVar(&c.xds, "xds", false, "by grpc-go's own xDS client")
	flag.Parse()
	lines, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for lines.Scan() {
		answer, err := c.obey(lines.Text())
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		if err := out.Encode(answer); err != nil {
			os.Exit(1)
		}
	}
}
