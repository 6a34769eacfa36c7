package testenv_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

const (
	soakLife  = 8 * time.Second // of a certificate
	soakRenew = 2 * time.Second // between two certificates of a member
)

// member is a daemon's identity: a Workload API of its own, and what follows it.
type member struct {
	request pki.Request
	api     *workload.Server
	source  authn.Keeper
}

// authority is a trust domain whose CA is replaced while everything runs.
type authority struct {
	t *testing.T

	mu      sync.Mutex
	current *pki.CA
	anchors []*x509.Certificate // those that members are told of
	ever    *x509.CertPool
	members []*member
	// epoch counts what scrapers must learn of; scrapers counts them by the epoch in
	// which they last read their files.
	epoch    int
	scrapers map[int]int
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, ever: x509.NewCertPool(), scrapers: make(map[int]int)}
	a.current = a.newCA()
	a.anchors = []*x509.Certificate{a.current.Certificate()}
	return a
}

func (a *authority) newCA() *pki.CA {
	ca, err := pki.NewCA(pki.CAConfig{TrustDomain: testenv.TrustDomain})
	if err != nil {
		a.t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ever.AddCert(ca.Certificate())
	a.epoch++
	return ca
}

func (a *authority) issue(request pki.Request) tls.Certificate {
	request.NotAfter = time.Now().Add(soakLife)
	leaf, err := a.current.Issue(request)
	if err != nil {
		a.t.Fatal(err)
	}
	return leaf.TLS()
}

// join makes a member and waits until it has an identity.
func (a *authority) join(role authn.Role, request pki.Request) *member {
	m := &member{request: request, api: workload.Start(a.t)}
	a.mu.Lock()
	a.members = append(a.members, m)
	a.give(m)
	a.mu.Unlock()
	var err error
	if m.source, err = authn.NewSource(authn.Config{Socket: m.api.Address()}, role, slog.New(slog.DiscardHandler)); err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.source.Run(ctx) }()
	a.t.Cleanup(func() { cancel(); <-ended })
	testenv.Eventually(a.t, func() error { _, err := m.source.Material(); return err })
	return m
}

// give hands out a new certificate, and the anchors as they are.
func (a *authority) give(m *member) {
	err := m.api.Set(workload.State{
		SVIDs:   []tls.Certificate{a.issue(m.request)},
		Bundles: map[string][]*x509.Certificate{testenv.TrustDomain: a.anchors},
	})
	if err != nil {
		a.t.Error(err)
	}
}

func (a *authority) renew() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.members {
		a.give(m)
	}
}

// rotate replaces the CA as a careful operator does: the new one is made known,
// then used, and the old one goes once nobody needs it.
func (a *authority) rotate(w *testenv.World) {
	next := a.newCA()
	a.mu.Lock()
	a.anchors = append(a.anchors[:len(a.anchors):len(a.anchors)], next.Certificate())
	a.mu.Unlock()
	a.renew()
	testenv.Eventually(a.t, func() error { return a.each(knows(next)) })
	testenv.Eventually(a.t, a.scrapersKnow)
	a.mu.Lock()
	a.current = next
	a.epoch++
	a.mu.Unlock()
	a.renew()
	testenv.Eventually(a.t, func() error { return a.each(isOf(next)) })
	// A session rests on the proxy's certificate of its handshake too, which may have
	// been the old one: the next is of the new CA on both sides.
	since := time.Now()
	a.renew()
	testenv.Eventually(a.t, func() error { return begunSince(w, since) })
	testenv.Eventually(a.t, a.scrapersKnow)
	a.mu.Lock()
	a.anchors = []*x509.Certificate{next.Certificate()}
	a.mu.Unlock()
	a.renew()
}

func (a *authority) each(check func(*member) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.members {
		if err := check(m); err != nil {
			return err
		}
	}
	return nil
}

// knows checks that a member trusts a CA.
func knows(ca *pki.CA) func(*member) error {
	return func(m *member) error {
		anchors, err := m.source.Anchors()
		if err != nil {
			return err
		}
		leaf, err := ca.Issue(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("probe")})
		if err != nil {
			return err
		}
		_, err = anchors.Verify([]*x509.Certificate{leaf.Certificate()}, authn.Client)
		return err
	}
}

// isOf checks that a member's own certificate is of a CA.
func isOf(ca *pki.CA) func(*member) error {
	return func(m *member) error {
		material, err := m.source.Material()
		if err != nil {
			return err
		}
		return material.Certificate.Leaf.CheckSignatureFrom(ca.Certificate())
	}
}

// begunSince checks that every session was begun since a time.
func begunSince(w *testenv.World, since time.Time) error {
	for _, session := range w.Proxy.Sessions() {
		if session.Since.Before(since) {
			return fmt.Errorf("session %s of %s is an older one", session.ID, session.Agent.ID)
		}
	}
	return nil
}

// scrapersKnow checks that the scrapers have all read their files since the last
// change.
func (a *authority) scrapersKnow() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for epoch, n := range a.scrapers {
		if epoch != a.epoch && n > 0 {
			return fmt.Errorf("%d scrapers have old files", n)
		}
	}
	return nil
}

// disturb makes one Workload API fail for a moment, in one of the ways they do.
func (a *authority) disturb() {
	a.mu.Lock()
	m := a.members[rand.IntN(len(a.members))]
	a.mu.Unlock()
	moment := time.NewTimer(time.Duration(rand.IntN(1000)) * time.Millisecond)
	switch rand.IntN(3) {
	case 0:
		m.api.Stop()
		<-moment.C
		if err := m.api.Restart(); err != nil {
			a.t.Error(err)
		}
	case 1:
		m.api.Stall()
		<-moment.C
		m.api.Resume()
	default:
		m.api.Refuse(codes.PermissionDenied, "no identity issued")
		m.api.CloseStreams(codes.Unavailable, "restarting")
		<-moment.C
		m.api.Resume()
	}
}

// scrape scrapes until done is closed, with a new certificate every second, as
// Prometheus reads its files anew, and returns what went wrong.
func (a *authority) scrape(w *testenv.World, done <-chan struct{}, paths []string) (scrapes int, failures []string) {
	for n := rand.IntN(len(paths)); ; {
		a.mu.Lock()
		epoch, roots := a.epoch, a.ever.Clone()
		certificate := a.issue(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")})
		a.scrapers[epoch]++
		a.mu.Unlock()
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{certificate},
		}}}
		for renew := time.Now().Add(time.Second); time.Now().Before(renew); n++ {
			select {
			case <-done:
				return scrapes, failures
			default:
			}
			scrapes++
			if err := get(client, "https://"+w.Proxy.ScrapeAddr+paths[n%len(paths)]); err != nil {
				failures = append(failures, fmt.Sprintf("%s %s: %v", time.Now().Format("05.000"), paths[n%len(paths)], err))
			}
		}
		client.CloseIdleConnections()
		a.mu.Lock()
		a.scrapers[epoch]--
		a.mu.Unlock()
	}
}

func get(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s", response.Status, response.Header.Get("Sallyport-Outcome"))
	}
	return nil
}

// Certificates of seconds, a CA that is replaced over and over, Workload APIs that
// restart, stall and refuse: not one scrape fails, and nothing is left behind.
// SOAK=10m makes it long.
func TestSoak(t *testing.T) {
	length, agents := 15*time.Second, 8
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		agents = 30
	}
	a := newAuthority(t)
	proxy := a.join(authn.Server, pki.Request{
		Role: pki.Proxy, SPIFFEID: testenv.ID("proxy"), DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	w := testenv.Start(t, testenv.Config{Source: proxy.source})
	target := testenv.Metrics(t)
	var paths []string
	for i := range agents {
		name := fmt.Sprintf("team-%d", i)
		m := a.join(authn.Client, pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID(name)})
		paths = append(paths, "/"+name+"/app")
		w.StartAgent(name, testenv.AgentConfig{Source: m.source}, testenv.Route(paths[i], target.URL)).WaitReady()
	}
	before := heap()

	done := make(chan struct{})
	var wg sync.WaitGroup
	background := func(run func()) {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					run()
				}
			}
		})
	}
	type result struct {
		scrapes  int
		failures []string
	}
	results := make(chan result, 4)
	for range cap(results) {
		go func() {
			scrapes, failures := a.scrape(w, done, paths)
			results <- result{scrapes, failures}
		}()
	}
	ticker := time.NewTicker(soakRenew)
	defer ticker.Stop()
	background(func() {
		select {
		case <-ticker.C:
			a.renew()
		case <-done:
		}
	})
	background(a.disturb)
	rotations := 0
	for end := time.Now().Add(length); time.Now().Before(end); rotations++ {
		a.rotate(w)
	}
	close(done)
	wg.Wait()
	total := 0
	for range cap(results) {
		r := <-results
		total += r.scrapes
		for _, failure := range r.failures {
			t.Error(failure)
		}
	}
	// What the world remembers for its tests is held in memory.
	w.Audit.Forget()
	grown := heap() - before - 2*int64(len(w.Logs.String()))
	t.Logf("%d scrapes, %d CA rotations, %d KiB more on the heap", total, rotations, grown>>10)
	if total == 0 || rotations == 0 {
		t.Error("nothing happened")
	}
	if grown > 16<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
