package agent_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"

	"github.com/seed-951114d4/sallyport/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logBuffer is a log that a test can read while others write it.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// rig is an agent with a proxy to itself.
type rig struct {
	realm  *realm
	proxy  *fakeProxy
	agent  *agent.Agent
	log    *logBuffer
	reg    *prometheus.Registry
	cancel context.CancelFunc
	ran    chan error
}

type rigOptions struct {
	targets   agent.Targets
	configure func(*agent.Config)
	proxy     func(*fakeProxy)
	realm     *realm         // the agent's and the proxy's, if not one of their own
	identity  agent.Identity // if not the realm's
	proxyID   *spiffeid.ID   // if not the usual one
	pipe      bool           // a network inside the process
	dial      func(inner func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error)
}

// startRig starts both. The agent is stopped at the end of the test, unless the
// test has done so.
func startRig(t testing.TB, opts rigOptions) *rig {
	t.Helper()
	r := &rig{realm: opts.realm, log: &logBuffer{}, reg: prometheus.NewRegistry(), ran: make(chan error, 1)}
	if r.realm == nil {
		r.realm = newRealm(t)
	}
	var inner net.Listener
	dial := (&net.Dialer{}).DialContext
	if opts.pipe {
		pipe := newPipeListener()
		inner, dial = pipe, pipe.dial
	} else {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		inner = tcp
	}
	r.proxy = startProxy(t, r.realm, inner, opts.proxy)
	cfg := agent.Config{
		ProxyAddrs:           []string{r.proxy.addr},
		Name:                 "test",
		Targets:              opts.targets,
		MaxConcurrentScrapes: 8,
		MaxResponseBytes:     agent.DefaultMaxResponseBytes,
	}
	if opts.configure != nil {
		opts.configure(&cfg)
	}
	parts := agent.Parts{Identity: opts.identity, ProxyID: usualProxy, Metrics: r.reg}
	if parts.Identity == nil {
		parts.Identity = r.realm.agent
	}
	if opts.proxyID != nil {
		parts.ProxyID = *opts.proxyID
	}
	parts.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if r.agent, err = agent.New(cfg, parts); err != nil {
		t.Fatal(err)
	}
	if opts.dial != nil {
		dial = opts.dial(dial)
	}
	agent.SetDial(r.agent, dial)
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.ran <- r.agent.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if t.Failed() {
			t.Logf("the agent's log:\n%s", r.log)
		}
	})
	return r
}

// session waits for the next session.
func (r *rig) session(t testing.TB) *fakeSession {
	t.Helper()
	return receive(t, r.proxy.sessions, "a session")
}

// lane waits for the next lane of the next session.
func (r *rig) lane(t testing.TB) *fakeLane {
	t.Helper()
	return receive(t, r.session(t).lanes, "a lane")
}

// metric is the value of a series of the agent's, which has at most one label.
func (r *rig) metric(t testing.TB, name, label string) float64 {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no series %s %s", name, label)
	return 0
}
