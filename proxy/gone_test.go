package proxy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
)

// A route that is gone tells why its agent's last session ended, in the log's own words.
func TestGoneRouteTellsWhy(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	target := testenv.Metrics(t)
	ended := func(path, want string) {
		t.Helper()
		testenv.Eventually(t, func() error {
			r := one(t, w, path)
			if r.State != "gone" || !strings.HasPrefix(r.GoneReason, want) {
				return fmt.Errorf("%s: %+v", path, r)
			}
			if !strings.Contains(w.Logs.String(), fmt.Sprintf("reason=%q", r.GoneReason)) {
				return fmt.Errorf("%q is not what the log says", r.GoneReason)
			}
			return nil
		})
	}
	w.Agent("team-a/left", testenv.Route("/team-a/left", target.URL)).Stop()
	ended("/team-a/left", "the agent left")
	w.Agent("team-a/broke", testenv.Route("/team-a/broke", target.URL)).Link.Close()
	ended("/team-a/broke", "the connection broke")

	// Nobody renews this one.
	leaf := w.Leaf(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/expired"), NotAfter: time.Now().Add(3 * time.Second)})
	w.StartAgent("team-a/expired", testenv.AgentConfig{Source: w.Keep(w.Files(leaf, w.CA), authn.Client)}, testenv.Route("/team-a/expired", target.URL)).WaitReady()
	if r := one(t, w, "/team-a/expired"); r.GoneReason != "" || r.State != "served" {
		t.Errorf("while it is there: %+v", r)
	}
	ended("/team-a/expired", "the certificate ended at "+leaf.Certificate().NotAfter.UTC().Format(time.RFC3339))
}
