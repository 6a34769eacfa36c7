package testenv_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
)

// exported is what the daemons export: per metric and label the values that it has.
type exported map[string]map[string][]string

// export runs both daemons, the agent's metrics a target of its own, and lists what
// they export.
func export(t *testing.T) exported {
	t.Helper()
	s := newSite(t)
	proxy := s.startProxy(append(s.files("proxy", proxyLeaf), "SALLYPORT_TLS_CRL_FILES="+s.emptyCRL())...)
	s.startAgent(append(s.files("agent", agentLeaf), "SALLYPORT_TARGETS=/team-a/node/self=self")...)
	all := exported{}
	all.add(t, http.DefaultClient, "http://"+proxy.Await(`"admin":"([^"]+)"`)+"/metrics")
	cert, key := s.issue("prometheus", pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")})
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(t, s.anchors()))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: "localhost"}}
	defer transport.CloseIdleConnections()
	all.add(t, &http.Client{Transport: transport}, "https://"+s.scrape+"/team-a/node/self")
	// Reasons that have no series before they happen.
	for _, reason := range []authn.Reason{authn.Disconnected, authn.PlainHTTP, authn.Protocol, authn.Timeout} {
		all.value("sallyport_proxy_handshake_failures_total", "reason", string(reason))
	}
	return all
}

// emptyCRL is a revocation list of the site's authority that revokes nothing.
func (s *site) emptyCRL() string {
	s.t.Helper()
	ca, err := pki.Load(s.ca)
	if err != nil {
		s.t.Fatal(err)
	}
	block, _ := pem.Decode(read(s.t, filepath.Join(s.ca, pki.CAKeyFile)))
	pair, err := tls.X509KeyPair(ca.CertPEM(), pem.EncodeToMemory(block))
	if err != nil {
		s.t.Fatal(err)
	}
	now := time.Now()
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: ca.Certificate().SerialNumber, ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour),
	}, ca.Certificate(), pair.PrivateKey.(crypto.Signer))
	if err != nil {
		s.t.Fatal(err)
	}
	name := filepath.Join(s.t.TempDir(), "ca.crl")
	writeExample(s.t, name, string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})))
	return name
}

func (e exported) add(t *testing.T, client *http.Client, url string) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", url, response.StatusCode, err)
	}
	for name, family := range families {
		if family.GetType() == dto.MetricType_HISTOGRAM {
			e.value(name, "le", "")
		}
		for _, metric := range family.GetMetric() {
			e.value(name, "", "")
			for _, label := range metric.GetLabel() {
				e.value(name, label.GetName(), label.GetValue())
			}
		}
	}
}

func (e exported) value(metric, label, value string) {
	if e[metric] == nil {
		e[metric] = map[string][]string{}
	}
	e[metric][label] = append(e[metric][label], value)
}

var (
	metricName = regexp.MustCompile(`\b(?:sallyport[_:]|process_|go_)[a-zA-Z0-9_:]+`)
	selector   = regexp.MustCompile(`\b((?:sallyport[_:]|process_|go_)[a-zA-Z0-9_:]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping   = regexp.MustCompile(`\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)`)
)

// targetLabels are those that Prometheus and the rules add.
var targetLabels = []string{"job", "instance", "alertname", "severity", "fault", ""}

// uses fails for each metric, label and value of an expression that nothing exports or
// records.
func (e exported) uses(t *testing.T, where, expression string) {
	t.Helper()
	for _, name := range metricName.FindAllString(grouping.ReplaceAllString(expression, ""), -1) {
		if e.family(name) == nil {
			t.Errorf("%s: there is no %s", where, name)
		}
	}
	for _, found := range selector.FindAllStringSubmatch(expression, -1) {
		family := e.family(found[1])
		for _, m := range matcher.FindAllStringSubmatch(found[2], -1) {
			label, value := m[1], m[3]
			if slices.Contains(targetLabels, label) || family == nil {
				continue
			}
			for _, one := range strings.Split(value, "|") {
				if !slices.Contains(family[label], one) {
					t.Errorf("%s: %s has no %s=%q", where, found[1], label, one)
				}
			}
		}
	}
	for _, found := range grouping.FindAllStringSubmatch(expression, -1) {
		for _, label := range strings.Split(found[1], ",") {
			if label = strings.TrimSpace(label); !e.hasLabel(label) {
				t.Errorf("%s: nothing has the label %s", where, label)
			}
		}
	}
}

// family is a metric's labels, also where a histogram's series are named.
func (e exported) family(name string) map[string][]string {
	if family := e[name]; family != nil {
		return family
	}
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && e[base]["le"] != nil {
			return e[base]
		}
	}
	return nil
}

func (e exported) hasLabel(label string) bool {
	for _, family := range e {
		if family[label] != nil {
			return true
		}
	}
	return slices.Contains(targetLabels, label)
}

// Every metric, label and value that the rules and the dashboards use is one that the
// daemons export, or that the rules record.
func TestRulesAndDashboardsUseWhatIsExported(t *testing.T) {
	t.Parallel()
	all := export(t)
	rules := prometheusRules(t)
	for _, r := range rules {
		if r.Record != "" {
			all.value(r.Record, "", "")
		}
	}
	for _, r := range rules {
		all.uses(t, r.Record+r.Alert, r.Expr)
	}
	for _, q := range dashboardQueries(t) {
		all.uses(t, q.where, q.expression)
	}
	if all.family("sallyport_crl_next_update_timestamp_seconds") == nil {
		t.Error("the revocation list has no metric")
	}
}
