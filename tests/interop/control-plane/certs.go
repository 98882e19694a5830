// The certificates of one run, made when it starts: a CA, the ADS server's pair, a client's pair, and a client's pair of another CA.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(name string) (*authority, error) {
	a := &authority{}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	a.cert, err = x509.ParseCertificate(der)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a, err
}

// issue gives a pair for a host name, or, where it is empty, for a client with a SPIFFE identity.
func (a *authority) issue(host string) (certPem, keyPem []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(12 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if host != "" {
		template.DNSNames = []string{host}
	} else {
		template.URIs = []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/default/sa/shop"}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), err
}

func makeCertificates(folder string) (tls.Certificate, *x509.CertPool, error) {
	var none tls.Certificate
	ours, err := newAuthority("ours")
	if err != nil {
		return none, nil, err
	}
	theirs, err := newAuthority("theirs")
	if err != nil {
		return none, nil, err
	}
	serverCert, serverKey, err := ours.issue("ads.thinmesh.test")
	if err != nil {
		return none, nil, err
	}
	files := map[string][]byte{"ca.pem": ours.pem}
	for name, by := range map[string]*authority{"client": ours, "other": theirs} {
		cert, key, err := by.issue("")
		if err != nil {
			return none, nil, err
		}
		files[name+".pem"], files[name+".key"] = cert, key
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			return none, nil, err
		}
	}
	pair, err := tls.X509KeyPair(serverCert, serverKey)
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	return pair, pool, err
}
