package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

// The base is two reverse proxies, as anybody would write them with the standard
// library: the outer one stands where our proxy does, the inner one where our
// agent does. It decides nothing, counts nothing and writes nothing down.

// runOuter is the role of the outer hop: HTTPS with a client certificate to the
// scraper, HTTP/2 over mutual TLS to the inner hop.
func runOuter(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("want the folder of certificates and the inner hop's address")
	}
	own := folder(args[0])
	pool, err := own.anchors()
	if err != nil {
		return err
	}
	client, err := own.pair("outer-client")
	if err != nil {
		return err
	}
	return serveHop(ctx, own, "outer", "https://"+args[1], &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: serverName,
			Certificates: []tls.Certificate{client},
		},
	})
}

// runInner is the role of the inner hop: HTTP/2 over mutual TLS to the outer
// one, plain HTTP to the target, with as many connections as there are scrapes.
func runInner(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("want the folder of certificates and the target's address")
	}
	return serveHop(ctx, folder(args[0]), "inner", "http://"+args[1], &http.Transport{MaxIdleConnsPerHost: 1024})
}

// serveHop passes every request on.
func serveHop(ctx context.Context, own folder, name, next string, transport *http.Transport) error {
	pair, err := own.pair(name)
	if err != nil {
		return err
	}
	pool, err := own.anchors()
	if err != nil {
		return err
	}
	to, err := url.Parse(next)
	if err != nil {
		return fmt.Errorf("parsing URL of the next hop: %w", err)
	}
	listener, err := listen(ctx)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
			Transport: transport,
		},
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
			ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		},
		// Scrapers that hang up are part of some measurements.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	return server.ServeTLS(listener, "", "")
}

// startBase starts both hops in front of the target. between is asked for the
// address under which the outer hop reaches the inner one.
func (b *bench) startBase(ctx context.Context, between between) (*subject, error) {
	s := &subject{name: "base"}
	inner, err := b.startRole(ctx, "inner", string(b.certs), b.target.addr)
	if err != nil {
		return nil, err
	}
	s.inner = inner
	addr, err := between(inner.addr)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	outer, err := b.startRole(ctx, "outer", string(b.certs), addr)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.outer, s.addr = outer, outer.addr
	return s, nil
}

// startRole starts this program again, in one of its roles.
func (b *bench) startRole(ctx context.Context, role string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding own program: %w", err)
	}
	p, err := start(role, nil, self, append([]string{role}, args...)...)
	if err != nil {
		return nil, err
	}
	if p.addr, err = p.await(ctx, `listening on (\S+)`); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// anchors reads the authority's certificate.
func (f folder) anchors() (*x509.CertPool, error) {
	pem, err := os.ReadFile(f.file("ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("reading anchors: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("reading anchors: no certificate in ca.pem")
	}
	return pool, nil
}

func (f folder) pair(name string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.file(name+".pem"), f.file(name+"-key.pem"))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading key pair of %s: %w", name, err)
	}
	return pair, nil
}
