package proxy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// refusedOffer is what is remembered of the only offer that was refused.
func refusedOffer(w *testenv.World) (proxy.RefusalInfo, error) {
	for _, r := range w.Proxy.Refusals() {
		if r.Action == "register" {
			return r, nil
		}
	}
	return proxy.RefusalInfo{}, fmt.Errorf("no offer was refused: %+v", w.Proxy.Refusals())
}

// An agent whose operator has taken a refused target out of its file says so, and the
// refusal stands no longer: nobody is to look for what is mended.
func TestRefusedOfferIsTakenBack(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	good := "targets: [{path: /team-a/node, url: " + testenv.Metrics(t).URL + "}"
	file := filepath.Join(t.TempDir(), "targets.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(good + ", {path: /team-b/x, url: http://127.0.0.1:1/}]")
	a := w.StartAgent("team-a/node", testenv.AgentConfig{Change: func(c *agent.Config) { c.TargetsFile = file }})
	a.WaitReady()
	if r, err := refusedOffer(w); err != nil || !r.Standing || r.TakenBack != nil {
		t.Fatalf("refused: %+v, %v", r, err)
	}
	write(good + "]")
	testenv.Eventually(t, func() error {
		if r, err := refusedOffer(w); err != nil || r.Standing || r.TakenBack == nil || r.Settled != nil {
			return fmt.Errorf("taken back: %+v, %w", r, err)
		}
		return nil
	})
	write(good + ", {path: /team-b/x, url: http://127.0.0.1:1/}]")
	testenv.Eventually(t, func() error {
		if r, err := refusedOffer(w); err != nil || !r.Standing || r.TakenBack != nil || r.Count != 2 {
			return fmt.Errorf("offered again: %+v, %w", r, err)
		}
		return nil
	})
}

// An agent that was restarted without the target has not offered it: what was refused to
// the one before does not stand.
func TestRefusalEndsWithItsAgent(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	good, bad := testenv.Route("/team-a/node", testenv.Metrics(t).URL), testenv.Route("/team-b/x", "http://127.0.0.1:1/")
	first := w.Agent("team-a/node", good, bad)
	stands := func(when string, want bool) {
		t.Helper()
		testenv.Eventually(t, func() error {
			if r, err := refusedOffer(w); err != nil || r.Standing != want {
				return fmt.Errorf("%s: %+v, %w", when, r, err)
			}
			return nil
		})
	}
	stands("offered", true)
	second := w.Agent("team-a/node", good)
	stands("a replica is there that has not offered it", true)
	first.Kill()
	stands("who offered it is gone", false)
	second.Kill()
	w.Agent("team-a/node", good, bad)
	stands("offered by another", true)
}
