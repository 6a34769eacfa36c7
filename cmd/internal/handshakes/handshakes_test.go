package handshakes

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authn"
)

// TestHandshakeLogIsBounded: strangers fill the metric, not the disk.
func TestHandshakeLogIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		registry := prometheus.NewRegistry()
		handshakes := New(registry, slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
		failed := handshakes.failed("tunnel")
		remote := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}
		for range 100 {
			failed(remote, errors.New("no TLS"))
		}
		if got := strings.Count(out.String(), "\n"); got != maxLoggedHandshakes {
			t.Errorf("%d lines in a second, want %d", got, maxLoggedHandshakes)
		}
		out.Reset()
		<-time.After(time.Second)
		failed(remote, errors.New("no TLS"))
		if got := out.String(); !strings.Contains(got, "not_logged_before=95") {
			t.Errorf("a second later: %q", got)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		total := 0.0
		for _, metric := range families[0].GetMetric() { // sorted by name, so these are the failures
			total += metric.GetCounter().GetValue()
		}
		if total != 101 {
			t.Errorf("counted %v of 101", total)
		}
	})
}

// TestHandshakesOfNoInterest: port scans that are not logged keep nothing out of the log.
func TestHandshakesOfNoInterest(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	failed := New(prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&out, nil))).failed("tunnel")
	remote := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}
	for range 100 {
		failed(remote, io.EOF)
	}
	failed(remote, &net.OpError{Op: "remote error", Err: errors.New("tls: unknown certificate authority")})
	if got := out.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, "not_logged_before") {
		t.Errorf("logged %q", got)
	}
}

// Peers behind one address are told apart by what they claim to be, but one that claims to
// be ever another takes few places.
func TestStrangersOfOneAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		book := New(prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&out, nil)))
		failed := book.failed("tunnel")
		fail := func(ip byte, claim string) {
			failed(&net.TCPAddr{IP: net.IPv4(192, 0, 2, ip), Port: 7}, &authn.Error{Reason: authn.Expired, Claim: claim})
			<-time.After(time.Second)
		}
		fail(1, "a")
		fail(1, "b")
		fail(1, "")
		told := book.Strangers()
		if len(told) != 3 || told[0].Claims != "" || told[1].Claims != "b" || told[2].Claims != "a" {
			t.Errorf("%+v", told)
		}
		if n := strings.Count(out.String(), "handshake failed"); n != 3 {
			t.Errorf("%d lines:\n%s", n, out.String())
		}
		fail(2, "quiet")
		for i := range 200 {
			fail(1, strings.Repeat("x", i+1))
		}
		if told := book.Strangers(); len(told) != maxPerAddress+1 || told[0].Claims != "" {
			t.Errorf("%d kinds, the latest %+v", len(told), told[0])
		}
	})
}
