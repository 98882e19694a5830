// The caller of the health scenarios: grpc-go, with the client of grpc.health.v1 and with health checking of its own.
//
//	-target unix:PATH or HOST:PORT     where it dials; several, separated by commas: round_robin over them
//	-authority NAME                    the provider's
//	-checked                           healthCheckConfig in the service config: round_robin opens a Watch, and is READY while that says SERVING
//	-patient                           calls wait for a channel that is READY instead of failing with it
//	-roots FILE                        TLS, and whom it trusts; read once
//	-uri SPIFFE_ID                     which URI the other side's certificate must have; without: the authority's name
//	-cert FILE -key FILE               its own certificate, read again for each handshake
//	-max 1.3                           the newest version of TLS that it speaks
//
// It reads commands from its input, a line each, and answers each with one line of JSON:
//
//	greet WORD...           one call of the Greeter: {"code", "message", "answer"}
//	burst COUNT WORD...     so many at once, in the background; `stop` waits for them
//	load A_SECOND           begins greets of "who" at that rate, on their way while other commands are answered
//	seen                    the load since the last `seen`: {"codes", "who", "first", "said"}; said: how many calls failed with which text
//	stop                    ends the load, waits for its calls: totals, in the same form
//	state                   the channel's, after asking it to connect
//	check [SERVICE]         Health/Check: {"code", "message", "answer"}
//	list                    Health/List: the same, the answer in the order of the names
//	watch NAME [SERVICE]    opens Health/Watch; `watched NAME` gives {"told": [...], "ended": ""}
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // what healthCheckConfig needs
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"thinmesh/interop/grpc-go/greeter"
)

// A call that takes longer than this has failed.
const callTime = 30 * time.Second

type tally struct {
	Codes map[string]int `json:"codes"`
	Who   map[string]int `json:"who"`
	First string         `json:"first,omitempty"`
	Said  map[string]int `json:"said,omitempty"`
}

// Texts beyond these are counted by their codes only.
const maxTexts = 16

func newTally() *tally {
	return &tally{Codes: map[string]int{}, Who: map[string]int{}, Said: map[string]int{}}
}

func (t *tally) add(who string, err error) {
	t.Codes[strconv.Itoa(int(status.Code(err)))]++
	if err == nil {
		t.Who[who]++
		return
	}
	text := err.Error()
	if t.First == "" {
		t.First = text
	}
	if _, known := t.Said[text]; known || len(t.Said) < maxTexts {
		t.Said[text]++
	}
}

type told struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Answer  string `json:"answer"`
}

func tell(answer string, err error) any {
	return told{int(status.Code(err)), status.Convert(err).Message(), answer}
}

type watch struct {
	Told  []string `json:"told"`
	Ended string   `json:"ended"`
}

// caller owns the channel, the load that runs and the watches that are open.
type caller struct {
	conn    *grpc.ClientConn
	health  healthgrpc.HealthClient
	options []grpc.CallOption

	lock        sync.Mutex // of the two tallies and of watches
	total, last *tally
	watches     map[string]*watch
	end         chan struct{} // closed by `stop`; nil: no load
	calls       sync.WaitGroup
}

func (c *caller) greet(word string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	return greeter.Call(ctx, c.conn, word, c.options...)
}

func (c *caller) counted(word string) {
	who, err := c.greet(word)
	c.lock.Lock()
	defer c.lock.Unlock()
	c.total.add(who, err)
	c.last.add(who, err)
}

func (c *caller) begin() {
	c.total, c.last, c.end = newTally(), newTally(), make(chan struct{})
}

// load sends by the clock, not by the answers: a sidecar that stops answering makes calls wait and then fail, it does not make them fewer.
func (c *caller) load(aSecond int) {
	c.begin()
	end, tick := c.end, time.NewTicker(time.Second/time.Duration(aSecond))
	c.calls.Go(func() {
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			c.calls.Go(func() { c.counted("who") })
		}
	})
}

func (c *caller) follow(w *watch, service string) {
	stream, err := c.health.Watch(context.Background(), &healthgrpc.HealthCheckRequest{Service: service})
	for err == nil {
		var answer *healthgrpc.HealthCheckResponse
		if answer, err = stream.Recv(); err == nil {
			c.lock.Lock()
			w.Told = append(w.Told, answer.GetStatus().String())
			c.lock.Unlock()
		}
	}
	c.lock.Lock()
	w.Ended = err.Error()
	c.lock.Unlock()
}

func (c *caller) list(ctx context.Context) (string, error) {
	answer, err := c.health.List(ctx, &healthgrpc.HealthListRequest{})
	var all []string
	for name, one := range answer.GetStatuses() {
		all = append(all, name+"="+one.GetStatus().String())
	}
	slices.Sort(all)
	return strings.Join(all, " "), err
}

func (c *caller) obey(line string) (any, error) {
	name, rest, _ := strings.Cut(line, " ")
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	switch name {
	case "greet":
		return tell(c.greet(rest)), nil
	case "burst":
		count, word, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(count)
		if err != nil || n > 10000 {
			break
		}
		c.begin()
		for range n {
			c.calls.Go(func() { c.counted(word) })
		}
		return "started", nil
	case "load":
		n, err := strconv.Atoi(rest)
		if err != nil || n < 1 || c.end != nil {
			break
		}
		c.load(n)
		return "started", nil
	case "seen":
		if c.end == nil {
			break
		}
		c.lock.Lock()
		defer c.lock.Unlock()
		last := c.last
		c.last = newTally()
		return last, nil
	case "stop":
		if c.end == nil {
			break
		}
		close(c.end)
		c.end = nil
		c.calls.Wait()
		return c.total, nil
	case "state":
		c.conn.Connect()
		return c.conn.GetState().String(), nil
	case "check":
		answer, err := c.health.Check(ctx, &healthgrpc.HealthCheckRequest{Service: rest})
		if err != nil {
			return tell("", err), nil
		}
		return tell(answer.GetStatus().String(), nil), nil
	case "list":
		return tell(c.list(ctx)), nil
	case "watch":
		label, service, _ := strings.Cut(rest, " ")
		w := &watch{Told: []string{}}
		c.lock.Lock()
		c.watches[label] = w
		c.lock.Unlock()
		go c.follow(w, service)
		return "started", nil
	case "watched":
		c.lock.Lock()
		defer c.lock.Unlock()
		if w := c.watches[rest]; w != nil {
			return watch{slices.Clone(w.Told), w.Ended}, nil
		}
	}
	return nil, fmt.Errorf("not understood, or not now: %q", line)
}

// transport is TLS where roots are named. A mesh's certificates have no host name but one URI: the chain is verified by hand then.
func transport(roots, uri, cert, key, newest string) (credentials.TransportCredentials, error) {
	if roots == "" {
		return insecure.NewCredentials(), nil
	}
	text, err := os.ReadFile(roots)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(text)
	c := &tls.Config{RootCAs: trusted}
	if newest == "1.2" {
		c.MaxVersion = tls.VersionTLS12
	}
	if cert != "" {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			return &pair, err
		}
	}
	if uri != "" {
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(s tls.ConnectionState) error {
			leaf, between := s.PeerCertificates[0], x509.NewCertPool()
			for _, one := range s.PeerCertificates[1:] {
				between.AddCert(one)
			}
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: trusted, Intermediates: between}); err != nil {
				return err
			}
			if len(leaf.URIs) != 1 || leaf.URIs[0].String() != uri {
				return errors.New("the server is another one")
			}
			return nil
		}
	}
	return credentials.NewTLS(c), nil
}

func main() {
	target := flag.String("target", "", "unix:PATH or HOST:PORT, or several")
	authority := flag.String("authority", "", "name of the provider")
	checked := flag.Bool("checked", false, "with health checking of the channel")
	patient := flag.Bool("patient", false, "calls wait for the channel")
	roots := flag.String("roots", "", "")
	uri := flag.String("uri", "", "")
	cert := flag.String("cert", "", "")
	key := flag.String("key", "", "")
	newest := flag.String("max", "1.3", "")
	flag.Parse()
	config := `{"loadBalancingConfig":[{"round_robin":{}}]}`
	if *checked {
		config = `{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"thinmesh.interop.Greeter"}}`
	}
	options := []grpc.DialOption{}
	if all := strings.Split(*target, ","); len(all) > 1 {
		at := manual.NewBuilderWithScheme("these")
		var state resolver.State
		for _, one := range all {
			state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: one}}})
		}
		at.InitialState(state)
		options, *target = append(options, grpc.WithResolvers(at)), "these:///"
	}
	secure, err := transport(*roots, *uri, *cert, *key, *newest)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	options = append(options, grpc.WithTransportCredentials(secure), grpc.WithAuthority(*authority), grpc.WithDefaultServiceConfig(config))
	conn, err := grpc.NewClient(*target, options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c := &caller{conn: conn, health: healthgrpc.NewHealthClient(conn), options: []grpc.CallOption{grpc.WaitForReady(*patient)},
		watches: map[string]*watch{}}
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
