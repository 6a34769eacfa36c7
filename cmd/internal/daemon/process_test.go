package daemon_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

// folder is a CA with a certificate for each program.
type folder struct {
	t   *testing.T
	dir string
}

func newFolder(t *testing.T) folder {
	f := folder{t, t.TempDir()}
	if _, err := pki.Init(f.dir, pki.InitOptions{TrustDomain: testenv.TrustDomain}); err != nil {
		t.Fatal(err)
	}
	return f
}

// files are the variables of a daemon with that certificate.
func (f folder) files(req pki.Request) []string {
	f.t.Helper()
	files, err := pki.Issue(f.dir, pki.IssueOptions{Request: req})
	if err != nil {
		f.t.Fatal(err)
	}
	return []string{"SALLYPORT_TLS_CERT_FILE=" + files.Cert, "SALLYPORT_TLS_KEY_FILE=" + files.Key, "SALLYPORT_TLS_CA_FILE=" + f.dir + "/" + pki.CACertFile}
}

func (f folder) startProxy() *testenv.Process {
	env := f.files(pki.Request{Role: pki.Proxy, SPIFFEID: testenv.ID("proxy"), IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	return testenv.Execute(f.t, append(env, "SALLYPORT_TUNNEL_ADDR=127.0.0.1:0", "SALLYPORT_SCRAPE_ADDR=127.0.0.1:0",
		"SALLYPORT_ADMIN_ADDR=127.0.0.1:0"), testenv.Build(f.t, "sallyport-proxy"))
}

func (f folder) startAgent(proxy, target string) *testenv.Process {
	env := f.files(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a")})
	return testenv.Execute(f.t, append(env, "SALLYPORT_PROXY_ADDRS="+proxy, "SALLYPORT_PROXY_ID="+testenv.ID("proxy"),
		"SALLYPORT_TARGETS=/team-a/slow="+target, "SALLYPORT_ADMIN_ADDR=127.0.0.1:0"), testenv.Build(f.t, "sallyport-agent"))
}

// scraper is an HTTP client with Prometheus's certificate.
func (f folder) scraper() *http.Client {
	f.t.Helper()
	ca, err := pki.Load(f.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")})
	if err != nil {
		f.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: ca.Pool(), Certificates: []tls.Certificate{leaf.TLS()}, MinVersion: tls.VersionTLS13,
	}}
	f.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func get(client *http.Client, url string) (status int, body string, err error) {
	response, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// becomes waits until a URL of an admin listener answers with the status.
func becomes(t *testing.T, url string, want int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	testenv.Eventually(t, func() error {
		status, body, err := get(client, url)
		if err == nil && status != want {
			err = fmt.Errorf("%s answers %d %s", url, status, body)
		}
		return err
	})
}

// stops asks for the exit status of a process that was told to stop.
func stops(t *testing.T, p *testenv.Process, want int) {
	t.Helper()
	if status, err := p.Exit(); err != nil || status != want {
		t.Errorf("exit status %d, %v, want %d:\n%s", status, err, want, p.Output())
	}
}

// TestSignalDrains: SIGTERM lets a scrape in flight finish, while health tells
// that no more are taken; then both daemons stop cleanly.
func TestSignalDrains(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"proxy", "agent"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			begun, finish := make(chan struct{}), make(chan struct{})
			target := testenv.NewTarget(t, func(w http.ResponseWriter, _ *http.Request) {
				close(begun)
				<-finish
				w.Header().Set("Content-Type", testenv.Text)
				io.WriteString(w, "slow 1\n")
			})
			proxy := f.startProxy()
			agent := f.startAgent(proxy.Await(`"tunnel":"([^"]+)"`), target.URL)
			processes := map[string]*testenv.Process{"proxy": proxy, "agent": agent}
			becomes(t, "http://"+agent.Await(`"admin":"([^"]+)"`)+"/-/ready", http.StatusOK)
			becomes(t, "http://"+proxy.Await(`"admin":"([^"]+)"`)+"/-/ready", http.StatusOK)

			type answer struct {
				status int
				body   string
				err    error
			}
			answered := make(chan answer, 1)
			client, url := f.scraper(), "https://"+proxy.Await(`"scrape":"([^"]+)"`)+"/team-a/slow"
			go func() {
				var a answer
				a.status, a.body, a.err = get(client, url)
				answered <- a
			}()
			select {
			case <-begun:
			case a := <-answered:
				t.Fatalf("the target was not asked: %+v", a)
			}
			processes[first].Signal(syscall.SIGTERM)
			becomes(t, "http://"+processes[first].Await(`"admin":"([^"]+)"`)+"/-/ready", http.StatusServiceUnavailable)
			close(finish)
			if a := <-answered; a.err != nil || a.status != http.StatusOK || a.body != "slow 1\n" {
				t.Errorf("the scrape in flight got %+v", a)
			}
			stops(t, processes[first], daemon.ExitStopped)
			for _, p := range processes {
				p.Signal(os.Interrupt)
				stops(t, p, daemon.ExitStopped)
				if !strings.Contains(p.Output(), `"stopped"`) {
					t.Errorf("no last word in:\n%s", p.Output())
				}
			}
		})
	}
}

// TestOccupiedPort: what is wrong with the machine and not with the
// configuration has its own exit status.
func TestOccupiedPort(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	f := newFolder(t)
	env := f.files(pki.Request{Role: pki.Proxy, SPIFFEID: testenv.ID("proxy")})
	p := testenv.Execute(t, append(env, "SALLYPORT_TUNNEL_ADDR=127.0.0.1:0", "SALLYPORT_SCRAPE_ADDR="+listener.Addr().String(),
		"SALLYPORT_ADMIN_ADDR=off"), testenv.Build(t, "sallyport-proxy"))
	stops(t, p, daemon.ExitFailed)
}

// TestAmbiguousSVID: where the Workload API gives several, the daemon does not
// start by picking one.
func TestAmbiguousSVID(t *testing.T) {
	t.Parallel()
	ca, err := pki.NewCA(pki.CAConfig{TrustDomain: testenv.TrustDomain})
	if err != nil {
		t.Fatal(err)
	}
	state := workload.State{Bundles: bundles(ca)}
	for _, path := range []string{"team-a", "team-b"} {
		leaf, err := ca.Issue(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID(path)})
		if err != nil {
			t.Fatal(err)
		}
		state.SVIDs = append(state.SVIDs, leaf.TLS())
	}
	api := workload.Start(t)
	if err := api.Set(state); err != nil {
		t.Fatal(err)
	}
	env := []string{"SPIFFE_ENDPOINT_SOCKET=" + api.Address(), "SALLYPORT_PROXY_ADDRS=127.0.0.1:1",
		"SALLYPORT_PROXY_ID=" + testenv.ID("proxy"), "SALLYPORT_TARGETS=/team-a/x=http://127.0.0.1:1/", "SALLYPORT_ADMIN_ADDR=off"}
	agent := testenv.Build(t, "sallyport-agent")
	for _, args := range [][]string{nil, {"check"}} {
		p := testenv.Execute(t, env, agent, args...)
		stops(t, p, daemon.ExitMisconfigured)
		if !strings.Contains(p.Output(), "SALLYPORT_SPIFFE_ID") || !strings.Contains(p.Output(), testenv.ID("team-b")) {
			t.Errorf("%v: the choice is not named in:\n%s", args, p.Output())
		}
	}
	chosen := testenv.Execute(t, append(env, "SALLYPORT_SPIFFE_ID="+testenv.ID("team-b")), agent, "check")
	stops(t, chosen, daemon.ExitStopped)
}

// TestSecondSignal: who cannot wait for the drain asks twice.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	defer close(finish)
	target := testenv.NewTarget(t, func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-finish
	})
	proxy := f.startProxy()
	agent := f.startAgent(proxy.Await(`"tunnel":"([^"]+)"`), target.URL)
	agent.Await(`"routes registered"`)
	ctx, hangUp := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+proxy.Await(`"scrape":"([^"]+)"`)+"/team-a/slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	client, ended := f.scraper(), make(chan struct{})
	go func() {
		defer close(ended)
		if response, err := client.Do(request); err == nil {
			response.Body.Close()
		}
	}()
	defer func() { hangUp(); <-ended }()
	<-begun
	asked := time.Now()
	proxy.Signal(syscall.SIGTERM)
	proxy.Await(`"draining"`)
	// Again and again, because nothing tells when the first signal has been dealt
	// with to the end.
	testenv.Eventually(t, func() error {
		if err := syscall.Kill(proxy.PID(), syscall.SIGTERM); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("still there: %v", err)
		}
		return nil
	})
	if _, err := proxy.Exit(); err != nil {
		t.Error(err)
	}
	if took := time.Since(asked); took > 10*time.Second {
		t.Errorf("stopped after %v", took)
	}
}

func bundles(ca *pki.CA) map[string][]*x509.Certificate {
	return map[string][]*x509.Certificate{testenv.TrustDomain: {ca.Certificate()}}
}
