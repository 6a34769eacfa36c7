package testenv_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/seed-951114d4/sallyport/testenv"
)

// migration is a guide that is followed, on one machine and in one folder.
type migration struct {
	*site
	guide string
	dir   string
}

// Who follows a guide to the letter ends with every target that there was, each under
// the labels that it had, and sees both ways at once in between.
func TestGuidesAreWalked(t *testing.T) {
	t.Parallel()
	testenv.Program(t, "prometheus")
	exporter := regexp.MustCompile(`http://[\w.-]+:\d+/metrics`)
	for name, text := range guides(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text = strings.ReplaceAll(text, "proxy.example.org", "localhost")
			m := &migration{&site{t: t}, exporter.ReplaceAllString(text, testenv.Metrics(t).URL), t.TempDir()}
			proxy := m.start()
			shown := blocks(m.guide, "yaml", "scrape_configs:")
			before := m.targets(shown[0])
			added := m.local(jobs(shown[1]))
			// The new jobs under their last names stand for the old ones.
			both := m.startPrometheus(added + strings.ReplaceAll(added, "next-", ""))
			for _, list := range shown[2:] {
				// A list may show one job of several.
				kept := slices.DeleteFunc(slices.Clone(before), func(labels map[string]string) bool {
					return !strings.Contains(list, "job_name: "+labels["job"]+"\n")
				})
				m.startPrometheus(m.local(jobs(list))).awaitUp(kept)
			}
			m.sideBySide(both, before)
			m.asksAdmin(proxy.Await(`"admin":"([^"]+)"`))
		})
	}
}

// start does what the guide says before it comes to Prometheus, and returns the proxy.
func (m *migration) start() *testenv.Process {
	m.t.Helper()
	policies, err := filepath.Abs("../policies")
	if err != nil {
		m.t.Fatal(err)
	}
	if err := os.Symlink(policies, filepath.Join(m.dir, "policies")); err != nil {
		m.t.Fatal(err)
	}
	m.shell(blocks(m.guide, "sh", "sallyport pki init")[0])
	scrape := freeAddr(m.t)
	_, port, _ := strings.Cut(scrape, ":")
	proxy := m.startProxy(append(m.environment("# proxy"), "SALLYPORT_TUNNEL_ADDR=127.0.0.1:0", "SALLYPORT_ADMIN_ADDR=127.0.0.1:0",
		"SALLYPORT_SCRAPE_ADDR="+scrape, "SALLYPORT_SCRAPE_URL=https://localhost:"+port, "SALLYPORT_DISCOVERY_WARMUP=0s")...)
	m.startAgent(m.environment("# agent")...)
	return proxy
}

// shell runs commands in the folder, with the module's programs, and returns what they
// write.
func (m *migration) shell(commands string) string {
	m.t.Helper()
	run := exec.Command("sh", "-ec", commands)
	run.Dir = m.dir
	run.Env = []string{"PATH=" + filepath.Dir(testenv.Build(m.t, "sallyport")) + ":" + os.Getenv("PATH")}
	out, err := run.CombinedOutput()
	if err != nil {
		m.t.Fatalf("%v\n%s\n%s", err, out, commands)
	}
	return string(out)
}

// environment are the variables that the block with this title exports.
func (m *migration) environment(title string) []string {
	m.t.Helper()
	block := blocks(m.guide, "sh", title+"\n")[0]
	started := regexp.MustCompile(`(?m)^sallyport-\w+ check && sallyport-\w+$`)
	if !started.MatchString(block) {
		m.t.Fatalf("the block %s starts nothing", title)
	}
	var env []string
	for line := range strings.Lines(m.shell(started.ReplaceAllString(block, "env"))) {
		if strings.HasPrefix(line, "SALLYPORT_") {
			env = append(env, m.local(strings.TrimSpace(line)))
		}
	}
	return env
}

// local is a text with the places of this run.
func (m *migration) local(text string) string {
	_, port, _ := strings.Cut(m.scrape, ":")
	text = strings.ReplaceAll(text, "localhost:8443", "localhost:"+port)
	return regexp.MustCompile(`([ =])certs/`).ReplaceAllString(text, "${1}"+m.dir+"/certs/")
}

// targets are what Prometheus says of the targets of a list while they are up.
func (m *migration) targets(config string) []map[string]string {
	m.t.Helper()
	var list struct {
		Jobs []struct {
			Name   string `yaml:"job_name"`
			Static []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(config), &list); err != nil {
		m.t.Fatal(err)
	}
	var all []map[string]string
	for _, job := range list.Jobs {
		for _, target := range job.Static[0].Targets {
			all = append(all, map[string]string{"__name__": "up", "job": job.Name, "instance": target})
		}
	}
	if len(all) < 2 {
		m.t.Fatalf("the guide begins with %v", all)
	}
	return all
}

// sideBySide waits until every target is up in both ways, under its labels, and asks the
// guide's question: nothing is lacking, but where there were no new jobs.
func (m *migration) sideBySide(prom *prometheusServer, before []map[string]string) {
	m.t.Helper()
	want := slices.Clone(before)
	for _, labels := range before {
		want = append(want, map[string]string{"__name__": "up", "job": "next-" + labels["job"], "instance": labels["instance"]})
	}
	prom.awaitUp(want)
	question := blocks(m.guide, "promql", "unless")[0]
	prom.await("count("+question+") or vector(0)", "0")
	prom.await("count("+strings.ReplaceAll(question, `"next-`, `"nowhere-`)+") > bool 0", "1")
}

// awaitUp waits until these targets are up, by all of their labels, and no others.
func (p *prometheusServer) awaitUp(want []map[string]string) {
	p.t.Helper()
	var expected []string
	for _, labels := range want {
		expected = append(expected, fmt.Sprint(labels))
	}
	slices.Sort(expected)
	testenv.Eventually(p.t, func() error {
		var data struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
			} `json:"result"`
		}
		if err := p.get("/api/v1/query", url.Values{"query": {"up == 1"}}, &data); err != nil {
			return err
		}
		var up []string
		for _, result := range data.Result {
			up = append(up, fmt.Sprint(result.Metric))
		}
		if slices.Sort(up); !slices.Equal(up, expected) {
			return fmt.Errorf("%v are up, want %v", up, expected)
		}
		return nil
	})
}

// asksAdmin asks for every path that the guide names of the admin listener.
func (m *migration) asksAdmin(addr string) {
	m.t.Helper()
	for _, path := range regexp.MustCompile("`(/-/[a-z]+|/api/v1/[a-z]+|/metrics)`").FindAllStringSubmatch(m.guide, -1) {
		if path[1] == "/-/discovery" {
			continue // Prometheus has asked for it.
		}
		response, err := http.Get("http://" + addr + path[1])
		if err != nil {
			m.t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			m.t.Errorf("%s: %s", path[1], response.Status)
		}
	}
}
