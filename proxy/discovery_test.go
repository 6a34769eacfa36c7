package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/proxy"
)

// lateTrust has no anchors until it is told.
type lateTrust struct{ come chan struct{} }

func (l *lateTrust) Changed() <-chan struct{} { return l.come }

func (l *lateTrust) Anchors() (*authn.Anchors, error) {
	select {
	case <-l.come:
		return new(authn.Anchors), nil
	default:
		return nil, errors.New("not yet")
	}
}

// While the proxy has no identity no agent can have come back: the warm-up begins when
// one can.
func TestDiscoveryWarmsUpOnceAgentsCanConnect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		trust := &lateTrust{come: make(chan struct{})}
		run, left := proxy.WarmUp(trust, 30*time.Second)
		go run(t.Context())
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := left(); got != 30*time.Second {
			t.Errorf("%s are left without anchors", got)
		}
		close(trust.come)
		synctest.Wait()
		for _, want := range []time.Duration{30 * time.Second, 1, 0} {
			time.Sleep(left() - want)
			if got := left(); got != want {
				t.Errorf("%s are left, want %s", got, want)
			}
		}

		// Even where there is none to wait for.
		trust = &lateTrust{come: make(chan struct{})}
		run, left = proxy.WarmUp(trust, 0)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		run(ctx)
		if got := left(); got <= 0 {
			t.Errorf("%s are left without anchors", got)
		}
	})
}

func TestDiscoveryTarget(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://proxy.example.org":       "proxy.example.org:443",
		"https://proxy.example.org/":      "proxy.example.org:443",
		"https://proxy.example.org:8443":  "proxy.example.org:8443",
		"https://[2001:db8::1]":           "[2001:db8::1]:443",
		"https://[2001:db8::1]:8443":      "[2001:db8::1]:8443",
		"https://proxy.example.org:8443/": "proxy.example.org:8443",
	} {
		if got := proxy.Target(proxy.Config{ScrapeURL: url}); got != want {
			t.Errorf("%s is reached at %s, want %s", url, got, want)
		}
	}
	if got := proxy.Target(proxy.Config{ScrapeAddr: "192.0.2.1:8443"}); got != "192.0.2.1:8443" {
		t.Errorf("reached at %s", got)
	}
}

// Nothing that an agent or a policy says, whatever it is, is more than the value of a
// label, or stands in the place of what the proxy says.
func FuzzDiscoveryGroup(f *testing.F) {
	f.Add("zone", "eu-1", "agent", false)
	f.Add("instance", "evil", "agent", true)
	f.Add("__metrics_path__", "/other", "agent", false)
	f.Add("__meta_sallyport_up", "1", "agent", true)
	f.Add("targets", "\"]}},{\"targets\":[\"evil:1\"]", "\\\"\n\u2028\x00</script>", false)
	f.Add("a", "\xff\xfe", "\xc3\x28", true)
	f.Fuzz(func(t *testing.T, name, value, agent string, gone bool) {
		own := map[string]string{
			"__scheme__": "https", "__metrics_path__": "/x/app", "instance": "x/app",
			"__meta_sallyport_agent_id": authn.AnonymousIdentity().String(), "__meta_sallyport_agent_name": text(agent),
			"__meta_sallyport_up": "1",
		}
		if gone {
			own["__meta_sallyport_up"] = "0"
		}
		want := map[string]string{text(name): text(value)}
		maps.Copy(want, own)
		body, err := proxy.Group("/x/app", "proxy:8443", map[string]string{name: value}, agent, gone)
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(strings.NewReader(string(body)))
		decoder.DisallowUnknownFields()
		var have struct {
			Targets []string          `json:"targets"`
			Labels  map[string]string `json:"labels"`
		}
		if err := decoder.Decode(&have); err != nil || decoder.More() {
			t.Fatalf("%q: %v", body, err)
		}
		if len(have.Targets) != 1 || have.Targets[0] != "proxy:8443" || !maps.Equal(have.Labels, want) {
			t.Errorf("got %q, want %q", have, want)
		}
	})
}

// text is s as JSON can say it: one mark for each byte that is no UTF-8.
func text(s string) string { return string([]rune(s)) }
