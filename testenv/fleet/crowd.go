package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
)

// counts are what the agents have told in their logs since they began.
type counts struct {
	Welcomed int64 // sessions that began
	Failed   int64 // attempts that did not come to a session
	Ended    int64 // sessions that ended
}

// crowd is the process of the agents, as the one that measures sees it.
type crowd struct {
	cmd *exec.Cmd
	in  *json.Encoder
	out *bufio.Scanner
}

// startCrowd starts the process and waits until each agent has its certificate.
// None has dialled yet.
func startCrowd(s *site, o options, tunnel string) (*crowd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-crowd", "-dir", s.dir, "-sessions", fmt.Sprint(o.sessions), "-routes", fmt.Sprint(o.routes))
	// Real agents have a process and a heap each: to mark those of all of them in one
	// is work that a fleet does not have.
	cmd.Env = append(os.Environ(), "FLEET_TUNNEL="+tunnel, "GOGC=400")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the agents' process: %w", err)
	}
	c := &crowd{cmd: cmd, in: json.NewEncoder(in), out: bufio.NewScanner(out)}
	_, err = c.ask("prepare")
	return c, err
}

// ask gives a command and waits for the counts after it.
func (c *crowd) ask(command string) (counts, error) {
	var n counts
	if err := c.in.Encode(command); err != nil {
		return n, fmt.Errorf("asking the agents' process: %w", err)
	}
	if !c.out.Scan() {
		return n, fmt.Errorf("the agents' process ended at %q", command)
	}
	return n, json.Unmarshal(c.out.Bytes(), &n)
}

// kill ends the process, and with it every connection.
func (c *crowd) kill() {
	if c == nil || c.cmd.Process == nil {
		return
	}
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// runCrowd is that process: it obeys commands on its standard input.
func runCrowd(ctx context.Context, o options) error {
	log := new(countingHandler)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", testenv.Text)
		_, _ = w.Write(testenv.Exposition(2 << 10))
	}))
	defer target.Close()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var agents []*agent.Agent
	answer := json.NewEncoder(os.Stdout)
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		switch strings.Trim(commands.Text(), `"`) {
		case "prepare":
			var err error
			if agents, err = newAgents(o, os.Getenv("FLEET_TUNNEL"), target.URL, slog.New(log)); err != nil {
				return err
			}
		case "start": // all at once: the worst herd there is
			for _, a := range agents {
				running.Go(func() { _ = a.Run(ctx) })
			}
		}
		if err := answer.Encode(log.counts()); err != nil {
			return err
		}
	}
	return nil
}

// newAgents makes agents with an identity each.
func newAgents(o options, tunnel, target string, log *slog.Logger) ([]*agent.Agent, error) {
	ca, err := pki.Load(o.dir)
	if err != nil {
		return nil, err
	}
	agents := make([]*agent.Agent, o.sessions)
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range agents {
		group.Go(func() (err error) {
			agents[i], err = newAgent(ca, o, i, tunnel, target, log)
			return err
		})
	}
	return agents, group.Wait()
}

func newAgent(ca *pki.CA, o options, number int, tunnel, target string, log *slog.Logger) (*agent.Agent, error) {
	identity, err := identify(ca, o.dir, agentPath(number))
	if err != nil {
		return nil, err
	}
	cfg := agent.Config{
		ProxyAddrs: []string{tunnel}, Name: fmt.Sprint("node-", number), Software: "fleet",
		MaxConcurrentScrapes: agent.DefaultMaxConcurrentScrapes, MaxResponseBytes: agent.DefaultMaxResponseBytes,
	}
	for route := range o.routes {
		cfg.Targets = append(cfg.Targets, agent.Target{Path: routePath(number, route), URL: target})
	}
	return agent.New(cfg, agent.Parts{
		Identity: identity, ProxyID: spiffeid.RequireFromString(testenv.ID("proxy")), Log: log,
	})
}

// identify has files read once that are then removed: what the agent is for as
// long as the process lives. Nothing polls, which ten thousand sources would.
func identify(ca *pki.CA, dir, path string) (agent.Identity, error) {
	leaf, err := ca.Issue(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID(path)})
	if err != nil {
		return nil, err
	}
	key, err := leaf.KeyPEM()
	if err != nil {
		return nil, err
	}
	own, err := os.MkdirTemp(dir, "agent-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(own)
	cfg := authn.Config{CertFile: filepath.Join(own, "cert.pem"), KeyFile: filepath.Join(own, "key.pem"), CAFile: filepath.Join(dir, pki.CACertFile)}
	if err := os.WriteFile(cfg.CertFile, leaf.CertPEM(), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(cfg.KeyFile, key, 0o600); err != nil {
		return nil, err
	}
	return authn.NewFiles(cfg, authn.Client, slog.New(slog.DiscardHandler))
}

// countingHandler counts what agents log and writes nothing.
type countingHandler struct{ welcomed, failed, ended atomic.Int64 }

func (h *countingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *countingHandler) Handle(_ context.Context, r slog.Record) error {
	switch r.Message {
	case "session established":
		h.welcomed.Add(1)
	case "session ended, connecting again":
		h.ended.Add(1)
	case "no session, trying again until there is one", "still no session":
		h.failed.Add(1)
	}
	return nil
}

func (h *countingHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *countingHandler) WithGroup(string) slog.Handler      { return h }

func (h *countingHandler) counts() counts {
	return counts{Welcomed: h.welcomed.Load(), Failed: h.failed.Load(), Ended: h.ended.Load()}
}
