package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// proxy is the process under test. It keeps its addresses over a restart.
type proxy struct {
	site                  *site
	options               options
	tunnel, scrape, admin string

	cmd   *exec.Cmd
	ended chan error
	usage time.Duration // of processes that have ended
}

func newProxy(s *site, o options) *proxy {
	return &proxy{site: s, options: o, tunnel: "127.0.0.1:0", scrape: "127.0.0.1:0", admin: "127.0.0.1:0"}
}

var listening = regexp.MustCompile(`"tunnel":"([^"]+)","scrape":"([^"]+)","admin":"([^"]+)"`)

// start starts the program and waits until it listens. Its log, with a line for
// each route and each decision, goes to a file as it does in real life.
func (p *proxy) start(ctx context.Context) error {
	log, err := os.Create(p.site.path("proxy.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.site.proxy)
	p.cmd.Env = append(os.Environ(),
		"SALLYPORT_TLS_CERT_FILE="+p.site.path("proxy.pem"), "SALLYPORT_TLS_KEY_FILE="+p.site.path("proxy-key.pem"),
		"SALLYPORT_TLS_CA_FILE="+p.site.path("ca.pem"), "SALLYPORT_TUNNEL_ADDR="+p.tunnel, "SALLYPORT_SCRAPE_ADDR="+p.scrape,
		"SALLYPORT_ADMIN_ADDR="+p.admin, "SALLYPORT_LOG_FORMAT=json",
		fmt.Sprintf("SALLYPORT_MAX_ROUTES_PER_SESSION=%d", max(p.options.routes, 5000)),
		fmt.Sprintf("SALLYPORT_MAX_SESSIONS=%d", 2*p.options.sessions))
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting the proxy: %w", err)
	}
	p.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan<- error) { ended <- cmd.Wait() }(p.cmd, p.ended)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			return err
		}
		if found := listening.FindSubmatch(text); found != nil {
			p.tunnel, p.scrape, p.admin = string(found[1]), string(found[2]), string(found[3])
			return nil
		}
		select {
		case <-ticker.C:
		case err := <-p.ended:
			return fmt.Errorf("the proxy did not start: %w\n%s", err, text)
		case <-ctx.Done():
			p.stop(syscall.SIGKILL)
			return context.Cause(ctx)
		}
	}
}

// stop ends the process by a signal and waits for its end.
func (p *proxy) stop(signal syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(signal)
	<-p.ended
	p.usage += p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	p.cmd = nil
}

// cpu is what all processes have used.
func (p *proxy) cpu() time.Duration { return p.usage + cpuOf(p.cmd.Process.Pid) }

// read reads the proxy's own metrics.
func (p *proxy) read(ctx context.Context) (metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	m := make(metrics)
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if at := strings.LastIndexByte(lines.Text(), ' '); at > 0 && lines.Text()[0] != '#' {
			if value, err := strconv.ParseFloat(lines.Text()[at+1:], 64); err == nil {
				m[lines.Text()[:at]] = value
			}
		}
	}
	return m, lines.Err()
}

// metrics are values by series, as the text format writes them.
type metrics map[string]float64

const (
	served   = `sallyport_proxy_routes{state="served"}`
	sessions = `sallyport_proxy_sessions`
	allowed  = `sallyport_proxy_decisions_total{action="session",result="allow"}`
)

// sum adds up all series of a name.
func (m metrics) sum(name string) float64 {
	total := 0.0
	for series, value := range m {
		if series == name || strings.HasPrefix(series, name+"{") {
			total += value
		}
	}
	return total
}
