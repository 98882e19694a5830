// go-control-plane as a test peer: the ADS server that most control planes outside of Istio are built on, with its resources set by hand.
//
//	-ads   127.0.0.1:18000   plaintext ADS, both protocol forms
//	-unix  ""                the same on a Unix socket, as an agent serves it; "" = off
//	-tls   ""                ADS over TLS with client certificates demanded; "" = off
//	-certs FOLDER            with -tls: where the CA, the server's pair and a client's pair are written (ca.pem, client.pem, client.key; and
//	                         other.pem, other.key of another CA)
//	-ctl   127.0.0.1:18080   PUT /resources: {"resources": [Any as JSON, ..]}, all there is from then on; GET /seen: what clients sent
//	-cache snapshot          or linear: the two caches of the library, whose answers differ (a snapshot sends all that is watched at each
//	                         change, the linear one only what changed)
//	-f     FILE              the same JSON, set before it serves
//	-age   0                 how old a connection may get before GOAWAY, and 2 s more until it is closed; 0 = as old as it likes
//
// The name of the server in its certificate is ads.thinmesh.test. It prints "ready" when it serves.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	// What a resource may hold as an Any: without their registration the JSON cannot be read.
	_ "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

var watched = []resource.Type{resource.ListenerType, resource.RouteType, resource.ClusterType, resource.EndpointType}

// everyone is the one group that all nodes are in.
type everyone struct{}

func (everyone) ID(*core.Node) string { return "everyone" }

// store is one of the library's two caches behind one call.
type store struct {
	all     cache.Cache
	version int
	set     func(version string, by map[resource.Type][]types.Resource) error
}

func newSnapshotStore() *store {
	// Not in its ADS mode: there it waits until a client has named every resource there is, which nobody who asks on demand does.
	c := cache.NewSnapshotCache(false, everyone{}, nil)
	return &store{all: c, set: func(version string, by map[resource.Type][]types.Resource) error {
		snapshot, err := cache.NewSnapshot(version, by)
		if err != nil {
			return err
		}
		return c.SetSnapshot(context.Background(), "everyone", snapshot)
	}}
}

func newLinearStore() *store {
	linear, caches := map[string]*cache.LinearCache{}, map[string]cache.Cache{}
	for _, t := range watched {
		linear[t] = cache.NewLinearCache(t)
		caches[t] = linear[t]
	}
	mux := &cache.MuxCache{Caches: caches}
	mux.Classify = func(r *cache.Request) string { return r.GetTypeUrl() }
	mux.ClassifyDelta = func(r *cache.DeltaRequest) string { return r.GetTypeUrl() }
	return &store{all: mux, set: func(_ string, by map[resource.Type][]types.Resource) error {
		for _, t := range watched {
			named := map[string]types.Resource{}
			for _, r := range by[t] {
				named[cache.GetResourceName(r)] = r
			}
			linear[t].SetResources(named)
		}
		return nil
	}}
}

func (s *store) read(text []byte) error {
	var body struct{ Resources []json.RawMessage }
	if err := json.Unmarshal(text, &body); err != nil {
		return err
	}
	by := map[resource.Type][]types.Resource{}
	for i, raw := range body.Resources {
		any := &anypb.Any{}
		if err := protojson.Unmarshal(raw, any); err != nil {
			return fmt.Errorf("resource %d: %w", i, err)
		}
		message, err := any.UnmarshalNew()
		if err != nil {
			return fmt.Errorf("resource %d: %w", i, err)
		}
		by[any.GetTypeUrl()] = append(by[any.GetTypeUrl()], proto.Message(message))
	}
	s.version++
	return s.set(strconv.Itoa(s.version), by)
}

// seen is what clients did since the start, for the scenarios to look at.
type seen struct {
	lock    sync.Mutex
	Open    int                 `json:"open"`    // streams
	Streams map[string]int      `json:"streams"` // how many were opened in each protocol form
	Names   map[string][]string `json:"names"`   // what is asked for of each type, by the newest request or by all of them (delta)
	Nacks   []string            `json:"nacks"`
	Nodes   map[string]int      `json:"nodes"` // ids
}

func (s *seen) opened(form string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.Open == 0 {
		s.Names = map[string][]string{}
	}
	s.Open++
	s.Streams[form]++
}

func (s *seen) closed(int64, *core.Node) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.Open--
}

func (s *seen) asked(node *core.Node, url string, names []string, refused string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.Names[url] = append([]string{}, names...)
	s.note(node, url, refused)
}

func (s *seen) changed(r *discovery.DeltaDiscoveryRequest) {
	s.lock.Lock()
	defer s.lock.Unlock()
	names := append([]string{}, s.Names[r.GetTypeUrl()]...)
	for _, n := range r.GetResourceNamesSubscribe() {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	s.Names[r.GetTypeUrl()] = slices.DeleteFunc(names, func(n string) bool { return slices.Contains(r.GetResourceNamesUnsubscribe(), n) })
	s.note(r.GetNode(), r.GetTypeUrl(), r.GetErrorDetail().GetMessage())
}

func (s *seen) note(node *core.Node, url, refused string) {
	if id := node.GetId(); id != "" {
		s.Nodes[id]++
	}
	if refused != "" {
		s.Nacks = append(s.Nacks, url+": "+refused)
	}
}

func (s *seen) callbacks() server.Callbacks {
	return server.CallbackFuncs{
		StreamOpenFunc:        func(context.Context, int64, string) error { s.opened("sotw"); return nil },
		DeltaStreamOpenFunc:   func(context.Context, int64, string) error { s.opened("delta"); return nil },
		StreamClosedFunc:      s.closed,
		DeltaStreamClosedFunc: s.closed,
		StreamRequestFunc: func(_ int64, r *discovery.DiscoveryRequest) error {
			s.asked(r.GetNode(), r.GetTypeUrl(), r.GetResourceNames(), r.GetErrorDetail().GetMessage())
			return nil
		},
		StreamDeltaRequestFunc: func(_ int64, r *discovery.DeltaDiscoveryRequest) error {
			s.changed(r)
			return nil
		},
	}
}

func serve(network, address string, ads server.Server, age time.Duration, options ...grpc.ServerOption) {
	socket, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	// As istiod has it: who pings more often than every 15 seconds is sent away.
	options = append(options, grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 15 * time.Second, PermitWithoutStream: true}))
	if age > 0 {
		options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: age, MaxConnectionAgeGrace: 2 * time.Second}))
	}
	s := grpc.NewServer(options...)
	discovery.RegisterAggregatedDiscoveryServiceServer(s, ads)
	go func() { log.Fatal(s.Serve(socket)) }()
}

func main() {
	address := flag.String("ads", "127.0.0.1:18000", "")
	local := flag.String("unix", "", "")
	secure := flag.String("tls", "", "")
	certs := flag.String("certs", "", "")
	ctl := flag.String("ctl", "127.0.0.1:18080", "")
	kind := flag.String("cache", "snapshot", "")
	first := flag.String("f", "", "")
	age := flag.Duration("age", 0, "")
	flag.Parse()

	s := newSnapshotStore()
	if *kind == "linear" {
		s = newLinearStore()
	}
	if *first != "" {
		text, err := os.ReadFile(*first)
		if err == nil {
			err = s.read(text)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	saw := &seen{Streams: map[string]int{}, Names: map[string][]string{}, Nodes: map[string]int{}, Nacks: []string{}}
	ads := server.NewServer(context.Background(), s.all, saw.callbacks())
	serve("tcp", *address, ads, *age)
	if *local != "" {
		serve("unix", *local, ads, *age)
	}
	if *secure != "" {
		pair, clients, err := makeCertificates(*certs)
		if err != nil {
			log.Fatal(err)
		}
		serve("tcp", *secure, ads, *age, grpc.Creds(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
		})))
	}

	var one sync.Mutex // one change at a time
	http.HandleFunc("PUT /resources", func(w http.ResponseWriter, q *http.Request) {
		one.Lock()
		defer one.Unlock()
		text, err := io.ReadAll(q.Body)
		if err == nil {
			err = s.read(text)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	http.HandleFunc("GET /seen", func(w http.ResponseWriter, _ *http.Request) {
		saw.lock.Lock()
		defer saw.lock.Unlock()
		_ = json.NewEncoder(w).Encode(saw)
	})
	socket, err := net.Listen("tcp", *ctl)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	log.Fatal(http.Serve(socket, nil))
}
