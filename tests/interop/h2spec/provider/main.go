// What h2spec's requests are answered with: 200 and some bytes, over HTTP/2 without TLS, after the request has ended. The body is larger
// than the windows that h2spec opens, as its flow control cases need.
package main

import (
	"bytes"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
)

func main() {
	port := flag.Int("port", 0, "on 127.0.0.1")
	flag.Parse()
	body := bytes.Repeat([]byte("x"), 2000)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Addr:      net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)),
		Protocols: protocols,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("content-length", strconv.Itoa(len(body)))
			_, _ = w.Write(body)
		}),
	}
	log.Fatal(server.ListenAndServe())
}
