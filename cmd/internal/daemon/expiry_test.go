package daemon_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/pki"
)

// aging is a source whose certificate is what it was set to, until that ends.
type aging struct {
	mu       sync.Mutex
	material *authn.Material
	changed  chan struct{}
}

func (s *aging) set(leaf *pki.Leaf) {
	s.mu.Lock()
	defer s.mu.Unlock()
	certificate := leaf.TLS()
	s.material = &authn.Material{Certificate: &certificate}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *aging) Material() (*authn.Material, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !time.Now().Before(s.material.NotAfter()) {
		return nil, errors.New("expired")
	}
	return s.material, nil
}

func (s *aging) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// taken is a log that is read in parts.
type taken struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *taken) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *taken) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// Who forgets to renew a certificate is told before it is too late, and once.
func TestExpiryIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca, err := pki.NewCA(pki.CAConfig{TrustDomain: "example.org"})
		if err != nil {
			t.Fatal(err)
		}
		leaf := func() *pki.Leaf {
			leaf, err := ca.Issue(pki.Request{Role: pki.Agent, SPIFFEID: "spiffe://example.org/a", NotAfter: time.Now().Add(12 * time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			return leaf
		}
		source := &aging{changed: make(chan struct{})}
		source.set(leaf())
		var out taken
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { daemon.WatchExpiry(ctx, source, slog.New(slog.NewTextHandler(&out, nil))) })
		told := func(after time.Duration) string {
			<-time.After(after)
			synctest.Wait()
			return out.take()
		}
		if got := told(9 * time.Hour); got != "" {
			t.Errorf("told in good time: %s", got)
		}
		if got := told(2 * time.Hour); strings.Count(got, "\n") != 1 || !strings.Contains(got, "ends soon") {
			t.Errorf("an hour before: %s", got)
		}
		source.set(leaf())
		if got := told(9 * time.Hour); got != "" {
			t.Errorf("after it was renewed: %s", got)
		}
		if got := told(24 * time.Hour); strings.Count(got, "\n") != 2 || !strings.Contains(got, "has ended") {
			t.Errorf("when it has ended: %s", got)
		}
		stop()
		running.Wait()
	})
}
