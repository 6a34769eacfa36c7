package proxy

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authz"
)

// What a scrape pays for metrics, and for tracing that is off, is no allocation.
func TestTelemetryAllocatesNothing(t *testing.T) {
	m, err := newMetrics(&Proxy{sessions: newSessions(1, 1), routes: newTable(1), flights: newFlights()}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	decision := authz.Decision{Allow: true}
	allocated := testing.AllocsPerRun(1000, func() {
		var off *span
		off.child("decision").decided(decision)
		m.decided(scrapeAction, decision)
		off.found(found{})
		off.answered(200, 1)
		_ = off.traceparent()
		m.size.Observe(2000)
		m.scraped(OK, time.Millisecond, off.traceID())
		off.ended(OK)
	})
	if allocated > 0 {
		t.Errorf("%v allocations", allocated)
	}
}
