package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// A certificate that Prometheus would refuse under the URL that discovery tells it is
// told when the proxy starts, and when it comes later.
func TestScrapeNameIsWatched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := pki.Init(dir, pki.InitOptions{TrustDomain: "example.org"}); err != nil {
		t.Fatal(err)
	}
	issue := func(name string) {
		request := pki.Request{Role: pki.Proxy, SPIFFEID: "spiffe://example.org/proxy", DNSNames: []string{name}}
		if _, err := pki.Issue(dir, pki.IssueOptions{Request: request, Name: name}); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"-key.pem", ".pem"} {
			if err := os.Rename(filepath.Join(dir, name+suffix), filepath.Join(dir, "current"+suffix)); err != nil {
				t.Fatal(err)
			}
		}
	}
	issue("old.example.org")
	var log testenv.Logs
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	own, err := authn.NewSource(authn.Config{
		CertFile: filepath.Join(dir, "current.pem"), KeyFile: filepath.Join(dir, "current-key.pem"), CAFile: filepath.Join(dir, "ca.pem"),
	}, authn.Server, logger)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{settings: &settings{Proxy: proxy.Config{ScrapeURL: "https://proxy.example.org:8443"}}, log: logger, own: own}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = own.Run(ctx) })
	running.Go(func() { _ = s.watchScrapeName(ctx) })

	told := func(names string) func() bool {
		return func() bool {
			return strings.Contains(log.String(), `"scrape_url":"https://proxy.example.org:8443","certificate_for":"`+names+`"`)
		}
	}
	until(t, "the first certificate's names", told("old.example.org"))
	issue("new.example.org")
	until(t, "the second certificate's names", told("new.example.org"))
	issue("proxy.example.org")
	issue("last.example.org")
	until(t, "the last certificate's names", told("last.example.org"))
	if strings.Count(log.String(), "prometheus will refuse") != 3 {
		t.Errorf("a certificate that fits was told of, or one twice:\n%s", log.String())
	}
}
