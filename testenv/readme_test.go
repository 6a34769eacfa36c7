package testenv_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/seed-951114d4/sallyport/testenv"
)

// The README lists every metric that the programs have once they are connected.
func TestReadmeListsMetrics(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	proxy := s.startProxy(s.files("proxy", proxyLeaf)...)
	agent := testenv.Execute(t, append(s.files("agent", agentLeaf), "SALLYPORT_PROXY_ADDRS="+s.tunnel,
		"SALLYPORT_PROXY_ID="+testenv.ID("proxy"), "SALLYPORT_ADMIN_ADDR=127.0.0.1:0",
		"SALLYPORT_TARGETS=/team-a/node/x=http://127.0.0.1:1/"), testenv.Build(t, "sallyport-agent"))
	// Some are there only with a session.
	agent.Await(`"routes registered"`)
	var table strings.Builder
	table.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	seen := make(map[string]bool)
	for _, process := range []*testenv.Process{proxy, agent} {
		writeMetrics(t, &table, process.Await(`"admin":"([^"]+)"`), seen)
	}
	testenv.Readme(t, "metrics", table.String())
}

func writeMetrics(t *testing.T, table *strings.Builder, addr string, seen map[string]bool) {
	response, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if !strings.HasPrefix(name, "sallyport_") || seen[name] {
			continue
		}
		seen[name] = true
		family := families[name]
		labels := make(map[string]bool)
		for _, metric := range family.GetMetric() {
			for _, pair := range metric.GetLabel() {
				labels["`"+pair.GetName()+"`"] = true
			}
		}
		fmt.Fprintf(table, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(family.GetType().String()),
			strings.Join(slices.Sorted(maps.Keys(labels)), ", "), family.GetHelp())
	}
}

// What the README says of a metric elsewhere is about one that there is.
func TestReadmeNamesMetricsThatThereAre(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), "<!-- begin metrics -->")
	table, after, _ := strings.Cut(rest, "<!-- end metrics -->")
	names := regexp.MustCompile(`\bsallyport_(?:proxy|agent|certificate|identity|crl|build)_[a-z_]+`)
	for _, name := range names.FindAllString(before+after, -1) {
		if !strings.Contains(table, "`"+name+"`") {
			t.Errorf("the table of metrics has no %s", name)
		}
	}
}
