package tracing

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// tls is how the collector is verified, and what it is shown.
func (c Config) tls() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	var faults []error
	if c.Certificate != "" {
		text, err := os.ReadFile(c.Certificate)
		if err != nil {
			faults = append(faults, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err))
		} else if cfg.RootCAs = x509.NewCertPool(); !cfg.RootCAs.AppendCertsFromPEM(text) {
			faults = append(faults, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %s: holds no certificate", c.Certificate))
		}
	}
	switch {
	case (c.ClientCertificate == "") != (c.ClientKey == ""):
		faults = append(faults, errors.New("OTEL_EXPORTER_OTLP_CLIENT_KEY: goes together with OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"))
	case c.ClientKey != "":
		if _, err := c.clientPair(nil); err != nil {
			faults = append(faults, err)
		}
		cfg.GetClientCertificate = c.clientPair
	}
	return cfg, errors.Join(faults...)
}

// clientPair reads the pair, which may have been renewed.
func (c Config) clientPair(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	info, err := os.Stat(c.ClientKey)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_KEY: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_KEY: %s is open to everybody (mode %#o): use 0600", c.ClientKey, mode)
	}
	pair, err := tls.LoadX509KeyPair(c.ClientCertificate, c.ClientKey)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: %w", err)
	}
	return &pair, nil
}
