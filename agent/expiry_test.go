package agent_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// The proxy's certificate ends, and it has another: that is seen in time.
func TestProxysCertificateIsRenewed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		realm := newRealm(t)
		realm.proxy.keep(t)
		realm.proxy.renew(t, realm.ca, lived(proxyRequest, time.Hour))
		r := startRotating(t, rigOptions{realm: realm})
		old := r.session(t)
		begun := time.Now()
		for range 10 {
			time.Sleep(30 * time.Minute)
			realm.proxy.issue(t, realm.ca, lived(proxyRequest, time.Hour))
		}
		r.cancel()
		if err := <-r.ran; err != nil {
			t.Error(err)
		}
		if log := r.log.String(); strings.Contains(log, "level=WARN") {
			t.Errorf("a session ended in %v: %s", time.Since(begun), log)
		}
		if n := r.metric(t, "sallyport_agent_rotations_total", ""); n < 5 || n > 20 {
			t.Errorf("%v rotations in five hours", n)
		}
		<-old.drained
	})
}

// A proxy whose certificate ends for good is left to the second.
func TestProxysCertificateExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		realm := newRealm(t)
		realm.proxy.keep(t)
		realm.proxy.renew(t, realm.ca, lived(proxyRequest, time.Hour))
		material, err := realm.proxy.Material()
		if err != nil {
			t.Fatal(err)
		}
		end := material.NotAfter()
		r := startRotating(t, rigOptions{realm: realm})
		first := r.session(t)
		time.Sleep(time.Until(end) - 100*time.Millisecond)
		if err := r.agent.Ready(); err != nil {
			t.Errorf("Ready() = %v before the end", err)
		}
		last := first
		n := 1
		for len(r.proxy.sessions) > 0 {
			last = <-r.proxy.sessions
			n++
		}
		if n > 12 {
			t.Errorf("%d sessions for one certificate", n)
		}
		<-last.done
		if late := time.Since(end); late < 0 || late > time.Second {
			t.Errorf("left %v after the end", late)
		}
		time.Sleep(time.Minute)
		if err := r.agent.Ready(); err == nil {
			t.Error("ready with a proxy whose certificate has expired")
		}
		if log := r.log.String(); !strings.Contains(log, "the proxy is no longer trusted") {
			t.Errorf("log: %s", log)
		}
		realm.proxy.renew(t, realm.ca, lived(proxyRequest, time.Hour))
		r.session(t)
	})
}

// The proxy's CA leaves the bundle.
func TestProxysAuthorityIsReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		realm, next := newRealm(t), newRealm(t)
		realm.proxy.keep(t)
		r := startRotating(t, rigOptions{realm: realm})
		session := r.session(t)
		realm.agent.trust(t, realm.ca, next.ca)
		time.Sleep(time.Minute)
		if !session.alive() {
			t.Fatal("an anchor more ended a session")
		}
		begun := time.Now()
		realm.agent.trust(t, next.ca)
		<-session.done
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("left after %v", took)
		}
		time.Sleep(time.Minute)
		if err := r.agent.Ready(); err == nil || len(r.proxy.sessions) != 0 {
			t.Errorf("Ready() = %v with a proxy of no trusted CA", err)
		}
		realm.proxy.renew(t, next.ca, proxyRequest)
		r.session(t)
		synctest.Wait()
		if err := r.agent.Ready(); err != nil {
			t.Errorf("Ready() = %v", err)
		}
	})
}

// Our own certificate expires, and the source has no other: that is said, and over
// at once when there is one.
func TestOwnCertificateExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		realm := newRealm(t)
		realm.agent = realm.source(t, lived(agentRequest, time.Hour), authn.Client, realm.ca)
		var dialled atomic.Int32
		r := startRotating(t, rigOptions{realm: realm, dial: func(inner dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				dialled.Add(1)
				return inner(ctx, network, addr)
			}
		}})
		session := r.session(t)
		<-session.registered
		time.Sleep(time.Hour + time.Second)
		if err := r.agent.Ready(); err == nil || !strings.Contains(err.Error(), "no certificate: own certificate expired at ") {
			t.Errorf("Ready() = %v", err)
		}
		session.send(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Goodbye{Goodbye: &tunnelv1.Goodbye{Code: tunnelv1.Goodbye_REFUSED, Reason: "expired"}}})
		session.end <- nil
		time.Sleep(10 * time.Minute)
		if n := dialled.Load(); n != 1 {
			t.Errorf("dialled %d times without a certificate", n-1)
		}
		if log := r.log.String(); strings.Count(log, "level=WARN") > 2 || !strings.Contains(log, "no valid certificate of its own") {
			t.Errorf("log: %s", log)
		}
		realm.agent.renew(t, realm.ca, lived(agentRequest, time.Hour))
		begun := time.Now()
		r.session(t)
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("back after %v", took)
		}
		synctest.Wait()
		if err := r.agent.Ready(); err != nil {
			t.Errorf("Ready() = %v", err)
		}
	})
}
