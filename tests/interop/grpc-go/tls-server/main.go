// A provider of the TLS scenarios: Go's TLS stack under grpc-go, or plain text behind somebody else's.
//
//	-listen 127.1.2.3:6001
//	-cert FILE -key FILE       its chain and key, read again for each handshake, which has the last pair that fits where one of the two is new already; without: plain text
//	-clients FILE              a client certificate of these roots is demanded; read once
//	-min 1.2 -max 1.3          versions of TLS
//	-no-alpn                   it chooses no protocol, whatever is offered
//	-age 0                     how old a connection gets before it is told to go
//
// The service is the Greeter: "who" is answered with the address, "header NAME" with what the call had of it, "tls" with what the connection is, as JSON:
// {"version", "resumed", "sni", "alpn", "uri", "serial"}, the last two of the caller's certificate. It prints "ready" when it listens, and "called" for each call. SIGTERM lets the calls that run end first.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"thinmesh/interop/grpc-go/greeter"
)

type provider struct{ address string }

type told struct {
	Version string `json:"version"`
	Resumed bool   `json:"resumed"`
	SNI     string `json:"sni"`
	ALPN    string `json:"alpn"`
	URI     string `json:"uri"`
	Serial  string `json:"serial"`
}

func connection(ctx context.Context) told {
	p, _ := peer.FromContext(ctx)
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return told{Version: "plain"}
	}
	t := told{tls.VersionName(info.State.Version), info.State.DidResume, info.State.ServerName, info.State.NegotiatedProtocol, "", ""}
	if chain := info.State.PeerCertificates; len(chain) > 0 {
		t.Serial = chain[0].SerialNumber.String()
		if len(chain[0].URIs) > 0 {
			t.URI = chain[0].URIs[0].String()
		}
	}
	return t
}

func (p provider) Greet(ctx context.Context, word string) (string, error) {
	fmt.Println("called")
	if name, found := strings.CutPrefix(word, "header "); found {
		return strings.Join(metadata.ValueFromIncomingContext(ctx, name), " ++ "), nil
	}
	switch word {
	case "who":
		return p.address, nil
	case "tls":
		text, err := json.Marshal(connection(ctx))
		return string(text), err
	}
	return "hello " + word, nil
}

func config(cert, key, clients, lowest, highest string) (*tls.Config, error) {
	versions := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	c := &tls.Config{MinVersion: versions[lowest], MaxVersion: versions[highest]}
	first, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	var last atomic.Pointer[tls.Certificate]
	last.Store(&first)
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if pair, err := tls.LoadX509KeyPair(cert, key); err == nil {
			last.Store(&pair)
		}
		return last.Load(), nil
	}
	if clients != "" {
		text, err := os.ReadFile(clients)
		if err != nil {
			return nil, err
		}
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		c.ClientCAs.AppendCertsFromPEM(text)
	}
	return c, nil
}

func main() {
	listen := flag.String("listen", "", "host:port")
	cert := flag.String("cert", "", "")
	key := flag.String("key", "", "")
	clients := flag.String("clients", "", "")
	lowest := flag.String("min", "1.2", "")
	highest := flag.String("max", "1.3", "")
	noALPN := flag.Bool("no-alpn", false, "")
	age := flag.Duration("age", 0, "")
	flag.Parse()
	socket, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	var options []grpc.ServerOption
	if *cert != "" {
		c, err := config(*cert, *key, *clients, *lowest, *highest)
		if err != nil {
			log.Fatal(err)
		}
		if *noALPN {
			socket = tls.NewListener(socket, c) // grpc-go's own credentials always choose h2
		} else {
			options = append(options, grpc.Creds(credentials.NewTLS(c)))
		}
	}
	if *age > 0 {
		options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: *age}))
	}
	server := grpc.NewServer(options...)
	greeter.Register(server, provider{*listen})
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	go func() {
		<-asked
		server.GracefulStop()
	}()
	fmt.Println("ready")
	if err := server.Serve(socket); err != nil {
		log.Fatal(err)
	}
}
