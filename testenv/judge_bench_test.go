package testenv_test

import (
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/policies"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// BenchmarkJudgeAgain replaces the policy of a proxy with 10,000 routes, of 1,000
// sessions or of two; judge-ms is how long it then takes to judge all of them.
func BenchmarkJudgeAgain(b *testing.B) {
	for _, policy := range []string{"default", "prod"} {
		for _, sessions := range []int{1000, 2} {
			b.Run(fmt.Sprintf("%s/sessions=%d", policy, sessions), func(b *testing.B) {
				judgeAgain(b, policy, sessions, 10_000/sessions)
			})
		}
	}
}

func judgeAgain(b *testing.B, policy string, sessions, each int) {
	w := testenv.Start(b, testenv.Config{
		Policy: versioned(b, policy, 0),
		Proxy:  func(c *proxy.Config) { c.MaxSessionsPerIdentity = sessions },
	})
	source := w.Keep(w.Files(w.Leaf(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a")}), w.CA), authn.Client)
	target := testenv.Metrics(b)
	for i := range sessions {
		var routes []agent.Target
		for j := range each {
			routes = append(routes, testenv.Route(fmt.Sprintf("/team-a/%d/%d", i, j), target.URL))
		}
		w.StartAgent("team-a", testenv.AgentConfig{Source: source}, routes...)
	}
	testenv.WaitMetric(w, w.Proxy, float64(sessions*each), "sallyport_proxy_routes", "state", "served")
	judged := func() (count, sum float64) {
		return w.Proxy.Metric("sallyport_proxy_judging_duration_seconds"), w.Proxy.Sum("sallyport_proxy_judging_duration_seconds")
	}
	_, before := judged()
	for i := 0; b.Loop(); i++ {
		count, _ := judged()
		w.Proxy.SetPolicy(versioned(b, policy, i+1))
		testenv.WaitMetric(w, w.Proxy, count+1, "sallyport_proxy_judging_duration_seconds")
	}
	_, after := judged()
	b.ReportMetric((after-before)*1000/float64(b.N), "judge-ms")
}

// versioned is a policy that ships, with another revision; whoever is of our trust
// domain may register what begins with /team-a.
func versioned(b *testing.B, name string, version int) fs.FS {
	builtin, _ := policies.Builtin(name)
	policy := fstest.MapFS{"version/data.json": {Data: fmt.Appendf(nil, `{"version": %d}`, version)}}
	names, err := fs.Glob(builtin, "*.rego")
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(builtin, name)
		if err != nil {
			b.Fatal(err)
		}
		policy[name] = &fstest.MapFile{Data: data}
	}
	if name == "prod" {
		policy["data.json"] = &fstest.MapFile{Data: []byte(`{
			"grants": {"spiffe://example.org/*": {"paths": {"/team-a/*": {}}}}, "scrapers": {},
			"admins": {}, "revoked": {"ids": {"spiffe://example.org/gone": ""}, "serials": {}, "spki_sha256": {}}}`)}
	}
	return policy
}
