package testenv_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// Prometheus takes what the README shows of its configuration and its rules.
func TestReadmePrometheus(t *testing.T) {
	t.Parallel()
	promtool := testenv.Program(t, "promtool")
	dir := t.TempDir()
	ca := filepath.Join(dir, "certs")
	if _, err := pki.Init(ca, pki.InitOptions{TrustDomain: testenv.TrustDomain}); err != nil {
		t.Fatal(err)
	}
	request := pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")}
	if _, err := pki.Issue(ca, pki.IssueOptions{Request: request, Name: "prometheus"}); err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]int)
	for i, e := range readmeExamples(t, "yaml") {
		kind, _, _ := strings.Cut(e.text, ":")
		command, ok := map[string]string{"scrape_configs": "config", "groups": "rules"}[kind]
		if !ok {
			continue
		}
		shown[command]++
		name := filepath.Join(dir, fmt.Sprintf("%d.yml", i))
		writeExample(t, name, e.text)
		if out, err := exec.Command(promtool, "check", command, name).CombinedOutput(); err != nil {
			t.Errorf("promtool: %v\n%s\n%s", err, out, e.text)
		}
	}
	if shown["config"] < 2 || shown["rules"] < 1 {
		t.Errorf("the README shows %v", shown)
	}
}

// The list of targets that the README shows is the one that there is.
func TestReadmeDiscovery(t *testing.T) {
	t.Parallel()
	policy := fstest.MapFS{
		"register.rego": {Data: []byte("package sallyport.register\n\nallow := true\n\nlabels := {\"team\": \"team-a\"}\n")},
		"scrape.rego":   {Data: []byte("package sallyport.scrape\n\nallow := true\n")},
	}
	w := listed(t, policy, func(c *proxy.Config) { c.ScrapeURL = "https://outside:8443" })
	target := agent.Target{Path: "/team-a/node/exporter", URL: testenv.Metrics(t).URL, Labels: map[string]string{"zone": "eu-1"}}
	w.StartAgent("team-a/node", testenv.AgentConfig{Change: func(c *agent.Config) { c.Name = "web-1" }}, target).WaitReady()
	have, shown := mustList(t, w.Scraper("prometheus"))[target.Path], 0
	for _, e := range readmeExamples(t, "json") {
		var groups []group
		if !strings.Contains(e.text, `"targets"`) {
			continue
		}
		shown++
		if err := json.Unmarshal([]byte(e.text), &groups); err != nil || !reflect.DeepEqual(groups, []group{have}) {
			t.Errorf("the README shows %v, %v, and there is %v", groups, err, have)
		}
	}
	if shown != 1 {
		t.Errorf("the README shows %d lists of targets", shown)
	}
}
