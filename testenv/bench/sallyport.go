package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// build builds the two daemons as make build does.
func build(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags=-s", "-o", dir+string(filepath.Separator),
		"github.com/seed-951114d4/sallyport/cmd/sallyport-proxy", "github.com/seed-951114d4/sallyport/cmd/sallyport-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the daemons: %w\n%s", err, out)
	}
	return nil
}

// sallyport starts the daemons of a folder, with everything on that a site has:
// mutual TLS on both sides, the default policy for each scrape, metrics, the
// audit log, the admin listeners.
func (b *bench) sallyport(bin, name string) starter {
	return func(ctx context.Context, between between) (*subject, error) {
		s := &subject{name: name}
		proxy, err := start("sallyport-proxy", append(b.daemon("proxy"),
			"SALLYPORT_TUNNEL_ADDR=127.0.0.1:0", "SALLYPORT_SCRAPE_ADDR=127.0.0.1:0",
			"SALLYPORT_POLICY=builtin:default", "SALLYPORT_AUDIT_LOG="+filepath.Join(b.dir, "audit.jsonl"),
		), filepath.Join(bin, "sallyport-proxy"))
		if err != nil {
			return nil, err
		}
		s.outer = proxy
		if err := b.join(ctx, s, bin, between); err != nil {
			return nil, errors.Join(err, s.stop())
		}
		return s, nil
	}
}

// join waits for the proxy and starts the agent, until that serves its routes.
func (b *bench) join(ctx context.Context, s *subject, bin string, between between) error {
	tunnel, err := s.outer.await(ctx, `"tunnel":"([^"]+)"`)
	if err != nil {
		return err
	}
	if s.addr, err = s.outer.await(ctx, `"scrape":"([^"]+)"`); err != nil {
		return err
	}
	addr, err := between(tunnel)
	if err != nil {
		return err
	}
	var targets []string
	for _, body := range bodies {
		targets = append(targets, body.path()+"=http://"+b.target.addr+body.path())
	}
	s.inner, err = start("sallyport-agent", append(b.daemon("agent"),
		"SALLYPORT_PROXY_ADDRS="+addr, "SALLYPORT_PROXY_ID="+spiffeID("proxy"),
		"SALLYPORT_TARGETS="+strings.Join(targets, ","),
	), filepath.Join(bin, "sallyport-agent"))
	if err != nil {
		return err
	}
	_, err = s.inner.await(ctx, `"routes registered"`)
	return err
}

// daemon is what the environments of both daemons have in common.
func (b *bench) daemon(name string) []string {
	return []string{
		"SALLYPORT_TLS_CERT_FILE=" + b.certs.file(name+".pem"), "SALLYPORT_TLS_KEY_FILE=" + b.certs.file(name+"-key.pem"),
		"SALLYPORT_TLS_CA_FILE=" + b.certs.file("ca.pem"), "SALLYPORT_ADMIN_ADDR=127.0.0.1:0",
	}
}
