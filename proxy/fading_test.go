package proxy_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
)

// rotating is a scraper whose certificate can be changed, as Prometheus reads it
// from its files for each new connection.
func rotating(w *testenv.World, first *pki.Leaf) (*testenv.Scraper, func(*pki.Leaf)) {
	var current atomic.Pointer[pki.Leaf]
	current.Store(first)
	scraper := w.ScraperWithCertificate(func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair := current.Load().TLS()
		return &pair, nil
	})
	return scraper, current.Store
}

// A scraper whose certificate is renewed in time loses no scrape when the old one
// ends: its connections move before that, or its requests are sent once more.
func TestRenewedScraperLosesNothing(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	w.Agent("team-a/node", testenv.Route(path, testenv.Metrics(t).URL))
	leaf := func(life time.Duration) *pki.Leaf {
		return w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus"), NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(life)})
	}
	first := leaf(5 * time.Second)
	scraper, renew := rotating(w, first)
	if err := scrapeFor(scraper, 8); err != nil {
		t.Fatal(err)
	}
	renew(leaf(time.Hour))
	stop := load(scraper, 8, path)
	ended := time.NewTimer(time.Until(first.Certificate().NotAfter))
	defer ended.Stop()
	<-ended.C
	if err := scrapeFor(scraper, 50); err != nil {
		t.Error(err)
	}
	if scrapes, failures := stop(); len(failures) > 0 || scrapes == 0 {
		t.Errorf("%d of %d scrapes failed: %.10q", len(failures), scrapes, failures)
	}
}

func scrapeFor(scraper *testenv.Scraper, n int) error {
	for range n {
		if answer := scraper.Get(path); answer.Status != 200 || answer.Err != nil {
			return fmt.Errorf("%d %s %w", answer.Status, answer.Outcome, answer.Err)
		}
	}
	return nil
}

// An idle connection whose authority has left is ended, and the scraper comes
// again with the certificate that it has by then: it notices nothing.
func TestScraperMovesToAnotherAuthority(t *testing.T) {
	t.Parallel()
	other := testenv.NewCA(t, testenv.TrustDomain)
	w := testenv.Start(t, testenv.Config{WorkloadAPI: true})
	w.Agent("team-a/node", testenv.Route(path, testenv.Metrics(t).URL))
	w.Trust.Believe(testenv.TrustDomain, w.CA, other)
	req := pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")}
	testenv.EventuallyWithin(t, 5*time.Second, func() error {
		if answer := w.ScraperWith(issue(t, other, req)).Get(path); answer.Status != 200 {
			return errors.Join(errors.New("not believed yet"), answer.Err)
		}
		return nil
	})
	scraper, renew := rotating(w, issue(t, other, req))
	if err := scrapeFor(scraper, 3); err != nil {
		t.Fatal(err)
	}
	renew(issue(t, w.CA, req))
	w.Trust.Believe(testenv.TrustDomain, w.CA)
	testenv.EventuallyWithin(t, 5*time.Second, func() error {
		if answer := scraper.Get(path); answer.Status != 200 || answer.Err != nil {
			t.Fatalf("%d %s %v", answer.Status, answer.Outcome, answer.Err)
		}
		if n := w.Proxy.Metric("sallyport_proxy_scraper_connections_ended_total", "reason", "unknown_authority"); n != 1 {
			return fmt.Errorf("%v connections ended", n)
		}
		return nil
	})
}

// A scrape in flight ends with the scraper's certificate.
func TestScraperExpiresInFlight(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	gate := testenv.NewGate(t, true)
	w.Agent("team-a/node", testenv.Route(path, gate.URL))
	leaf := w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus"), NotAfter: time.Now().Add(3 * time.Second)})
	flying := make(chan testenv.Answer, 1)
	go func() { flying <- w.ScraperWith(leaf).Get(path) }()
	<-gate.Arrived()
	answer := <-flying
	if late := time.Since(leaf.Certificate().NotAfter); answer.Err == nil || late < 0 || late > time.Second {
		t.Errorf("%d %v, %s after the end", answer.Status, answer.Err, late)
	}
}

// An answer ends its connection where the scraper's certificate ends soon: no
// scrape is then under way on it when that happens.
func TestConnectionOfAFadingCertificate(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	w.Agent("team-a/node", testenv.Route(path, testenv.Metrics(t).URL))
	for _, tt := range []struct {
		past, left time.Duration
		close      bool
	}{{time.Hour, time.Minute, true}, {time.Hour, 3 * time.Minute, false}, {time.Minute, time.Minute, false}} {
		now := time.Now()
		scraper := w.ScraperWith(w.Leaf(pki.Request{
			Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus"), NotBefore: now.Add(-tt.past), NotAfter: now.Add(tt.left),
		}))
		response, err := scraper.Client.Get(scraper.URL(path))
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != 200 || response.Close != tt.close {
			t.Errorf("%s left of %s: status %d, closed %v, %v", tt.left, tt.past+tt.left, response.StatusCode, response.Close, err)
		}
	}
}
