package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	connectTimeout     = 10 * time.Second
	maxPEMBytes        = 1 << 20
	maxResponseHeaders = 64 << 10
	// Longer than any common scrape interval, so that a connection is reused.
	idleConnTimeout = 5 * time.Minute
)

// newTransport makes the way to targets: no proxy from the environment, no
// transparent decompression, HTTP/1.1 only. One connection per scrape under way
// is what Prometheus's own scrapes amount to, and HTTP/2 would add a second
// flow control to a leg that is mostly loopback. Redirects are not followed
// because nothing above the transport does.
func newTransport(idleConns int) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            aheadDial(dialer),
		TLSHandshakeTimeout:    connectTimeout,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxResponseHeaders,
		Protocols:              protocols,
	}
}

// newTLSTransport makes the way to one target with a TLS of its own. Its files
// are read for each connection, so that a rotated certificate needs no restart
// and no watching.
func newTLSTransport(t *TargetTLS, host string, idleConns int) *http.Transport {
	transport := newTransport(idleConns)
	dial := transport.DialContext
	transport.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		cfg, err := t.load(host)
		if err != nil {
			return nil, &filesError{err}
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		secured := tls.Client(conn, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secured, nil
	}
	return transport
}

// filesError is a target's TLS files gone bad since they were checked.
type filesError struct{ cause error }

func (e *filesError) Error() string { return "reading the target's TLS files: " + e.cause.Error() }

// load reads t's files into a client configuration for host. Nothing resumes a
// session: there is no session cache.
func (t *TargetTLS) load(host string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if t.ServerName != "" {
		cfg.ServerName = t.ServerName
	}
	var faults []error
	if t.CAFile != "" {
		pem, err := readRegular(t.CAFile, maxPEMBytes)
		if err != nil {
			faults = append(faults, fmt.Errorf("ca_file: %w", err))
		} else if cfg.RootCAs = x509.NewCertPool(); !cfg.RootCAs.AppendCertsFromPEM(pem) {
			faults = append(faults, fmt.Errorf("ca_file: %s: holds no certificate", t.CAFile))
		}
	}
	if t.KeyFile != "" && t.CertFile != "" {
		pair, err := t.keyPair()
		faults = append(faults, unjoin(err)...)
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, errors.Join(faults...)
}

func (t *TargetTLS) keyPair() (tls.Certificate, error) {
	var faults []error
	read := func(field, name string) []byte {
		text, err := readRegular(name, maxPEMBytes)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", field, err))
		}
		return text
	}
	chain, key := read("cert_file", t.CertFile), read("key_file", t.KeyFile)
	if len(faults) == 0 {
		if err := refuseOpenKey(t.KeyFile); err != nil {
			faults = append(faults, fmt.Errorf("key_file: %w", err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cert_file %s and key_file %s: %w", t.CertFile, t.KeyFile, err)
	}
	return pair, nil
}
