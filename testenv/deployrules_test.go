package testenv_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

type ruleGroup struct {
	Name  string `yaml:"name"`
	Rules []rule `yaml:"rules"`
}

func prometheusRules(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, name := range deployed(t, "prometheus/rules", "*.yml") {
		for _, group := range documents[struct {
			Groups []ruleGroup `yaml:"groups"`
		}](t, name)[0].Groups {
			all = append(all, group.Rules...)
		}
	}
	return all
}

// query is an expression of a dashboard, its variables filled in.
type query struct{ where, expression string }

type panel struct {
	Type       string          `json:"type"`
	Title      string          `json:"title"`
	About      string          `json:"description"`
	Datasource json.RawMessage `json:"datasource"`
	Targets    []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

type dashboard struct {
	ID         *int    `json:"id"`
	UID        string  `json:"uid"`
	Schema     int     `json:"schemaVersion"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	all := map[string]dashboard{}
	for _, name := range deployed(t, "grafana/dashboards", "*.json") {
		var d dashboard
		if err := json.Unmarshal(read(t, name), &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[filepath.Base(name)] = d
	}
	return all
}

func dashboardQueries(t *testing.T) []query {
	t.Helper()
	variables := strings.NewReplacer("$__rate_interval", "5m", "$proxy", ".*", "$agent", ".*")
	var all []query
	for name, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				all = append(all, query{name + " " + p.Title, variables.Replace(target.Expr)})
			}
		}
		for _, v := range d.Templating.List {
			definition := strings.TrimPrefix(v.Definition, "label_values(")
			if at := strings.LastIndex(definition, ","); at >= 0 {
				all = append(all, query{name + " " + v.Name, definition[:at]})
			}
		}
	}
	if len(all) < 60 {
		t.Fatalf("only %d queries", len(all))
	}
	return all
}

// A dashboard can be put into any Grafana: nothing in it names one.
func TestDashboardsAreOfNoGrafana(t *testing.T) {
	t.Parallel()
	for name, d := range dashboards(t) {
		if d.ID != nil || d.UID != "" || d.Schema < 39 {
			t.Errorf("%s: id %v, uid %q, schema %d", name, d.ID, d.UID, d.Schema)
		}
		if d.Templating.List[0].Name != "datasource" || d.Templating.List[0].Type != "datasource" {
			t.Errorf("%s does not let choose its source", name)
		}
		for _, p := range d.Panels {
			if p.Type != "row" && (p.About == "" || len(p.Targets) == 0 || !strings.Contains(string(p.Datasource), "${datasource}")) {
				t.Errorf("%s: %s has no description, no query, or a source of its own", name, p.Title)
			}
		}
	}
}

// Each outcome of a scrape is the fault of exactly one.
func TestEveryOutcomeHasOneFault(t *testing.T) {
	t.Parallel()
	for _, info := range proxy.Outcomes() {
		var faults []string
		for _, r := range prometheusRules(t) {
			found := regexp.MustCompile(`outcome=~?"([^"]*)"`).FindStringSubmatch(r.Expr)
			if r.Record == "sallyport:scrapes:rate5m" && slices.Contains(strings.Split(found[1], "|"), string(info.Outcome)) {
				faults = append(faults, r.Labels["fault"])
			}
		}
		if len(faults) != 1 {
			t.Errorf("%s is the fault of %q", info.Outcome, faults)
		}
	}
}

// An alert says how grave it is, whose fault, what is wrong and where to read on; and
// one that no test makes fire may never.
func TestAlertsSayWhatToDo(t *testing.T) {
	t.Parallel()
	fires := map[string]bool{}
	for _, name := range deployed(t, "prometheus/tests", "*.yml") {
		for _, found := range regexp.MustCompile(`exp_samples: \[\{labels: 'ALERTS\{alertname="(\w+)"`).FindAllStringSubmatch(string(read(t, name)), -1) {
			fires[found[1]] = true
		}
		if strings.Contains(string(read(t, name)), "alertname: SallyportRoutesGone") {
			fires["SallyportRoutesGone"] = true // with all that it says
		}
	}
	for _, r := range prometheusRules(t) {
		if r.Alert == "" {
			continue
		}
		if !fires[r.Alert] {
			t.Errorf("no test makes %s fire", r.Alert)
		}
		if !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) ||
			!slices.Contains([]string{"target", "agent", "proxy", "policy", "identity", "scraper"}, r.Labels["fault"]) {
			t.Errorf("%s: labels %v", r.Alert, r.Labels)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !strings.HasSuffix(r.Annotations["runbook_url"], "#troubleshooting") {
			t.Errorf("%s: annotations %v", r.Alert, r.Annotations)
		}
	}
}

// Whoever answers a scrape through the tunnel may export metrics of any name. So those of
// a proxy count only where they come from the proxies' own job, and nobody is woken by
// others.
func TestProxiesMetricsAreOfTheirJob(t *testing.T) {
	t.Parallel()
	const job = `job="sallyport-proxy"`
	series := regexp.MustCompile(`\b(?:sallyport[_:][a-z0-9_:]+|up)\b(?:\{[^}]*\})?`)
	check := func(where, expression string, critical bool) {
		for _, found := range series.FindAllString(grouping.ReplaceAllString(expression, ""), -1) {
			if (critical || strings.HasPrefix(found, "sallyport_proxy_")) && !strings.Contains(found, job) {
				t.Errorf("%s: %s wants %s", where, found, job)
			}
		}
	}
	for _, r := range prometheusRules(t) {
		check(r.Record+r.Alert, r.Expr, r.Labels["severity"] == "critical")
	}
	for _, q := range dashboardQueries(t) {
		check(q.where, q.expression, false)
	}
	// A label that discovery passes on may be called job, too.
	for _, name := range []string{"prometheus/prometheus.yml", "compose/prometheus/prometheus.yml", "kubernetes/base/outside/prometheus-0.yml", "kubernetes/base/outside/prometheus-1.yml"} {
		if !strings.Contains(string(read(t, deploy+"/"+name)), "- target_label: job\n        replacement: sallyport\n") {
			t.Errorf("%s does not hold targets to their job", name)
		}
	}
}

// Prometheus's own tool reads the configurations and the rules, runs the rules' tests,
// and reads the expressions of the dashboards as if they were rules.
func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool := testenv.Program(t, "promtool")
	var panels ruleGroup
	for i, q := range dashboardQueries(t) {
		panels.Rules = append(panels.Rules, rule{Record: fmt.Sprintf("query:%d", i), Expr: q.expression})
	}
	panels.Name = "dashboards"
	text, err := yaml.Marshal(map[string][]ruleGroup{"groups": {panels}})
	if err != nil {
		t.Fatal(err)
	}
	queries := filepath.Join(t.TempDir(), "queries.yml")
	writeExample(t, queries, string(text))
	for _, args := range [][]string{
		append([]string{"check", "config", "--syntax-only"}, deploy+"/prometheus/prometheus.yml", deploy+"/compose/prometheus/prometheus.yml",
			deploy+"/kubernetes/base/outside/prometheus-0.yml", deploy+"/kubernetes/base/outside/prometheus-1.yml"),
		append([]string{"check", "rules"}, append(deployed(t, "prometheus/rules", "*.yml"), queries)...),
		append([]string{"test", "rules"}, deployed(t, "prometheus/tests", "*.yml")...),
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
