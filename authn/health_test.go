package authn_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
)

// untilHealth waits for a state of health. It has no signal.
func untilHealth(t *testing.T, source authn.Keeper, what string, ok func(authn.Health) bool) authn.Health {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		health := source.Health()
		if ok(health) {
			return health
		}
		if time.Now().After(deadline) {
			t.Fatalf("no health %q: %+v", what, health)
		}
	}
}

// An SVID that the Workload API takes back serves until its end, and says so.
func TestWithdrawnSVID(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t, nil)
	if health := s.source.Health(); health.Up || health.Material == nil || health.Cause == "" || health.Withdrawn || !health.Updated.IsZero() || !health.NotAfter.IsZero() {
		t.Errorf("before the first answer: %+v", health)
	}
	run(t, s.source)
	untilHealth(t, s.source, "no identity", func(h authn.Health) bool { return strings.Contains(h.Cause, "PermissionDenied") && !h.Withdrawn })
	leaf := agentLeaf(t, s.ca)
	s.give(t, nil, leaf)
	s.until(t, leaf)
	well := s.source.Health()
	if !well.Up || well.Material != nil || well.Cause != "" || well.Updated.IsZero() || !well.NotAfter.Equal(leaf.Certificate().NotAfter) || well.Rotations != 0 {
		t.Errorf("with an SVID: %+v", well)
	}
	for _, test := range []struct {
		name      string
		take      func()
		withdrawn bool
		says      string
	}{
		{"refused", func() { s.Refuse(codes.PermissionDenied, "no identity issued") }, true, "no identity issued"},
		{"nothing given", func() { s.give(t, nil) }, true, "no SVIDs"},
		{"others given", func() {
			s.give(t, nil, issue(t, s.ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID + "/a"}), issue(t, s.ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID + "/b"}))
		}, true, "SALLYPORT_SPIFFE_ID"},
		{"away", func() { s.Refuse(codes.Unavailable, "restarting") }, false, "restarting"},
	} {
		test.take()
		ill := untilHealth(t, s.source, test.name, func(h authn.Health) bool { return !h.Up && strings.Contains(h.Cause, test.says) })
		if ill.Withdrawn != test.withdrawn || ill.Material != nil || ill.Since.Before(well.Since) || !ill.NotAfter.Equal(leaf.Certificate().NotAfter) {
			t.Errorf("%s: %+v", test.name, ill)
		}
		if !material(t, s.source).Certificate.Leaf.Equal(leaf.Certificate()) {
			t.Fatalf("%s: no longer serves", test.name)
		}
		s.give(t, nil, leaf)
		untilHealth(t, s.source, "well again", func(h authn.Health) bool { return h.Up && !h.Withdrawn && h.Cause == "" })
	}
	next := agentLeaf(t, s.ca)
	s.give(t, nil, next)
	s.until(t, next)
	if health := s.source.Health(); health.Rotations != 1 || !health.NotAfter.Equal(next.Certificate().NotAfter) {
		t.Errorf("after a rotation: %+v", health)
	}
	if len(s.log.lines("was withdrawn")) < 3 {
		t.Errorf("the log does not tell: %s", s.log.all())
	}
}

func gather(t *testing.T, reg *prometheus.Registry) []string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			value := metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
			found = append(found, family.GetName()+" "+metric.GetLabel()[0].GetValue()+" "+time.Unix(int64(value), 0).UTC().Format(time.RFC3339))
		}
	}
	return found
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	crlsInTime(t, func(t *testing.T, file string, ca *pki.CA, source *authn.Files, _ *book) {
		scrape, err := authn.NewWorkloadAPI(authn.Config{Socket: "unix:///no/such"}, authn.Server, discard())
		if err != nil {
			t.Fatal(err)
		}
		reg := prometheus.NewPedanticRegistry()
		if err := authn.NewMetrics(reg, source, scrape); err != nil {
			t.Fatal(err)
		}
		at := func(n int64) string { return time.Unix(n, 0).UTC().Format(time.RFC3339) }
		want := []string{
			"sallyport_certificate_expiry_timestamp_seconds tunnel " + source.Health().NotAfter.UTC().Format(time.RFC3339),
			"sallyport_certificate_rotations_total scrape " + at(0),
			"sallyport_certificate_rotations_total tunnel " + at(0),
			"sallyport_crl_next_update_timestamp_seconds tunnel " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
			"sallyport_identity_source_up scrape " + at(0),
			"sallyport_identity_source_up tunnel " + at(1),
			"sallyport_identity_source_updated_timestamp_seconds tunnel " + source.Health().Updated.UTC().Format(time.RFC3339),
		}
		if got := gather(t, reg); !slices.Equal(got, want) {
			t.Errorf("metrics\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if err := authn.NewMetrics(reg, source, nil); err == nil {
			t.Error("twice in one registry")
		}
		alone := prometheus.NewPedanticRegistry()
		if err := authn.NewMetrics(alone, source, nil); err != nil {
			t.Fatal(err)
		}
		if got := gather(t, alone); len(got) != 5 {
			t.Errorf("without a scrape side: %s", got)
		}
	})
}
