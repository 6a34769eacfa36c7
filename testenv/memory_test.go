package testenv_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
)

// peak is the most memory that a process has ever held, in bytes.
func peak(t *testing.T, p *testenv.Process) int64 {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// client scrapes the site's proxy as /prometheus.
func (s *site) client() *http.Client {
	ca, err := pki.Load(s.ca)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")})
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{
		RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{leaf.TLS()},
	}}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A body of 50 MB passes through both daemons without being held in either.
func TestMemoryIsFlat(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc, which only Linux has")
	}
	t.Parallel()
	const size = 50 << 20
	s := newSite(t)
	proxy := s.startProxy(s.files("proxy", proxyLeaf)...)
	agent := s.startAgent(append(s.files("agent", agentLeaf), "SALLYPORT_TARGETS=/team-a/node/small="+testenv.Metrics(t).URL+
		",/team-a/node/huge="+testenv.Stream(t, size).URL)...)
	client := s.client()
	scrape := func(path, encoding string) int64 {
		request, _ := http.NewRequest(http.MethodGet, "https://"+s.scrape+path, nil)
		request.Header.Set("Accept-Encoding", encoding)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		n, err := io.Copy(io.Discard, response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response.Status, err)
		}
		return n
	}
	for range 50 {
		scrape("/team-a/node/small", "gzip")
	}
	for _, encoding := range []string{"identity", "gzip"} {
		before := []int64{peak(t, proxy), peak(t, agent)}
		if n := scrape("/team-a/node/huge", encoding); encoding == "identity" && n != size {
			t.Errorf("%d bytes arrived", n)
		}
		for i, p := range []*testenv.Process{proxy, agent} {
			grown := peak(t, p) - before[i]
			t.Logf("%s, %s: %d KiB before, %d KiB more for 50 MiB", []string{"proxy", "agent"}[i], encoding, before[i]>>10, grown>>10)
			if grown > 8<<20 {
				t.Errorf("%s held %d KiB more for one body (%s)", []string{"proxy", "agent"}[i], grown>>10, encoding)
			}
		}
	}
}
