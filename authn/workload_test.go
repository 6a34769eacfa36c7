package authn_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

// spire is a Workload API and a source of it.
type spire struct {
	*workload.Server
	ca     *pki.CA
	source *authn.WorkloadAPI
	log    *book
}

func startSPIRE(t *testing.T, change func(*authn.Config)) *spire {
	t.Helper()
	s := &spire{Server: workload.Start(t), ca: newCA(t, pki.CAConfig{TrustDomain: domain}), log: new(book)}
	cfg := authn.Config{Socket: s.Address()}
	if change != nil {
		change(&cfg)
	}
	var err error
	if s.source, err = authn.NewWorkloadAPI(cfg, authn.Client, s.log.logger()); err != nil {
		t.Fatal(err)
	}
	return s
}

// give hands out SVIDs with our own bundle and those of other authorities.
func (s *spire) give(t *testing.T, foreign []*pki.CA, leaves ...*pki.Leaf) {
	t.Helper()
	state := workload.State{Bundles: map[string][]*x509.Certificate{domain: {s.ca.Certificate()}}}
	for _, ca := range foreign {
		state.Bundles[ca.TrustDomain()] = append(state.Bundles[ca.TrustDomain()], ca.Certificate())
	}
	for _, leaf := range leaves {
		state.SVIDs = append(state.SVIDs, leaf.TLS())
	}
	if err := s.Set(state); err != nil {
		t.Fatal(err)
	}
}

func (s *spire) until(t *testing.T, leaf *pki.Leaf) *authn.Material {
	t.Helper()
	return until(t, s.source, "new SVID", func(m *authn.Material, err error) bool {
		return err == nil && m.Certificate.Leaf.Equal(leaf.Certificate())
	})
}

// untilCause waits for a reason why there is nothing.
func (s *spire) untilCause(t *testing.T, want string) {
	t.Helper()
	until(t, s.source, "cause "+want, func(_ *authn.Material, err error) bool {
		return err != nil && strings.Contains(err.Error(), want)
	})
}

func (s *spire) awaitOpened(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.AwaitOpened(ctx, n); err != nil {
		t.Fatalf("%d streams were opened, want %d", s.Opened(), n)
	}
}

func TestWorkloadAPI(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t, nil)
	if _, err := s.source.Material(); err == nil || !strings.Contains(err.Error(), s.Address()) {
		t.Errorf("before the first answer: %v", err)
	}
	run(t, s.source)
	s.untilCause(t, "PermissionDenied")
	leaf := agentLeaf(t, intermediate(t, s.ca))
	s.give(t, nil, leaf)
	m := s.until(t, leaf)
	if m.Identity.String() != nodeID || m.TrustDomain != domain || len(m.Certificate.Certificate) != 2 {
		t.Errorf("material of %v in %q, chain of %d", m.Identity, m.TrustDomain, len(m.Certificate.Certificate))
	}
	peer, err := m.Verify(chainOf(t, proxyLeaf(t, s.ca)), authn.Server)
	if err != nil || peer.Source != "spiffe" {
		t.Errorf("proxy is %+v, %v", peer, err)
	}
	if _, err := m.Verify(chainOf(t, issue(t, s.ca, pki.Request{Role: pki.Proxy, DNSNames: []string{"proxy"}})), authn.Server); authn.ReasonOf(err) != authn.BadIdentity {
		t.Errorf("a DNS name in SPIFFE mode: %v", err)
	}
	next := agentLeaf(t, s.ca)
	s.give(t, nil, next)
	s.until(t, next)
	checkSecret(t, s.log.all(), leaf)
}

func TestWorkloadAPISameSVIDNewBundle(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t, func(cfg *authn.Config) { accept(cfg, domain, "partner.example") })
	leaf := agentLeaf(t, s.ca)
	s.give(t, nil, leaf)
	run(t, s.source)
	first := s.until(t, leaf)
	partner := newCA(t, pki.CAConfig{TrustDomain: "partner.example"})
	theirs := chainOf(t, issue(t, partner, pki.Request{Role: pki.Proxy, SPIFFEID: "spiffe://partner.example/proxy"}))
	if _, err := first.Verify(theirs, authn.Server); authn.ReasonOf(err) != authn.UnknownAuthority {
		t.Errorf("before their bundle: %v", err)
	}
	changed := s.source.Changed()
	s.give(t, []*pki.CA{partner}, leaf)
	<-changed
	second := material(t, s.source)
	if second == first || second.Certificate != first.Certificate {
		t.Error("a new bundle looks like a new SVID")
	}
	if _, err := second.Verify(theirs, authn.Server); err != nil {
		t.Errorf("with their bundle: %v", err)
	}
	// The same once more is no change.
	changed = s.source.Changed()
	s.CloseStreams(codes.Unavailable, "for a test")
	waitLine(t, s.log, "Workload API is back", 1)
	if closed(changed) || material(t, s.source) != second {
		t.Error("the same answer again is a change")
	}
	// The partner's new authority is one.
	s.give(t, []*pki.CA{newCA(t, pki.CAConfig{TrustDomain: "partner.example"})}, leaf)
	<-changed
	if m := material(t, s.source); m.Certificate != first.Certificate {
		t.Error("another bundle looks like a new SVID")
	}
}

func TestWorkloadAPIFederatesOnlyWithWhomWeAccept(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t, nil)
	partner := newCA(t, pki.CAConfig{TrustDomain: "partner.example"})
	leaf := agentLeaf(t, s.ca)
	s.give(t, []*pki.CA{partner}, leaf)
	run(t, s.source)
	theirs := chainOf(t, issue(t, partner, pki.Request{Role: pki.Proxy, SPIFFEID: "spiffe://partner.example/proxy"}))
	if _, err := s.until(t, leaf).Verify(theirs, authn.Server); authn.ReasonOf(err) != authn.UntrustedDomain {
		t.Errorf("%v", err)
	}
}

func TestWorkloadAPISeveralSVIDs(t *testing.T) {
	t.Parallel()
	other := "spiffe://example.org/team-a/other"
	issueBoth := func(s *spire) (*pki.Leaf, *pki.Leaf) {
		return agentLeaf(t, s.ca), issue(t, s.ca, pki.Request{Role: pki.Agent, SPIFFEID: other})
	}
	await := func(s *spire) (*authn.Material, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return authn.Await(ctx, s.source)
	}

	s := startSPIRE(t, nil)
	node, second := issueBoth(s)
	s.give(t, nil, second, node)
	run(t, s.source)
	_, err := await(s)
	var choice *authn.SVIDChoiceError
	if !errors.As(err, &choice) || !slices.Equal(choice.IDs, []string{nodeID, other}) || choice.Want != "" || !strings.Contains(err.Error(), "SALLYPORT_SPIFFE_ID") {
		t.Errorf("without a choice: %v", err)
	}
	// One that is in use stays so when another comes.
	s.give(t, nil, second)
	s.until(t, second)
	renewed := issue(t, s.ca, pki.Request{Role: pki.Agent, SPIFFEID: other})
	s.give(t, nil, node, renewed)
	s.until(t, renewed)

	s = startSPIRE(t, func(cfg *authn.Config) { cfg.SPIFFEID = spiffeid.RequireFromString(other) })
	node, second = issueBoth(s)
	s.give(t, nil, node)
	run(t, s.source)
	if _, err := await(s); !errors.As(err, &choice) || choice.Want != other || !slices.Equal(choice.IDs, []string{nodeID}) {
		t.Errorf("with a choice that is not there: %v", err)
	}
	s.give(t, nil, node, second)
	s.until(t, second)
	// Of two of one ID the longer one counts.
	short := issue(t, s.ca, pki.Request{Role: pki.Agent, SPIFFEID: other, NotAfter: time.Now().Add(time.Minute)})
	long := issue(t, s.ca, pki.Request{Role: pki.Agent, SPIFFEID: other})
	s.give(t, nil, short, long, node)
	s.until(t, long)
}

func TestWorkloadAPISurvives(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{
		codes.Canceled, codes.InvalidArgument, codes.PermissionDenied, codes.Unavailable, codes.Unimplemented, codes.Internal, codes.OK,
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			s := startSPIRE(t, nil)
			leaf := agentLeaf(t, s.ca)
			s.give(t, nil, leaf)
			run(t, s.source)
			s.until(t, leaf)
			for range 3 {
				opened := s.Opened()
				s.CloseStreams(code, "for a test")
				s.awaitOpened(t, opened+1)
			}
			if material(t, s.source).Certificate.Leaf.Equal(leaf.Certificate()) == false {
				t.Error("lost its SVID")
			}
			if code != codes.OK {
				s.Refuse(code, "for a test")
				s.awaitOpened(t, s.Opened()+2)
				if n := len(s.log.lines("for a test")); n == 0 || n > 4 {
					t.Errorf("the cause was logged %d times", n)
				}
			}
			next := agentLeaf(t, s.ca)
			s.give(t, nil, next)
			s.until(t, next)
		})
	}
}

func TestWorkloadAPITellsACauseOnce(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t, nil)
	s.Refuse(codes.PermissionDenied, "no identity issued")
	run(t, s.source)
	s.awaitOpened(t, 3)
	s.untilCause(t, "is this workload registered?")
	if lines := s.log.lines("no identity from"); len(lines) != 1 || !strings.Contains(lines[0], "PermissionDenied") {
		t.Errorf("%d lines: %s", len(lines), lines)
	}
	s.Refuse(codes.Canceled, "another cause")
	s.untilCause(t, "another cause")
	s.awaitOpened(t, s.Opened()+1)
	if lines := s.log.lines("another cause"); len(lines) != 1 {
		t.Errorf("%d lines: %s", len(lines), lines)
	}
	s.Stop()
	s.untilCause(t, "Unavailable")
}

func TestWorkloadAPIRestarts(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t, nil)
	leaf := agentLeaf(t, s.ca)
	s.give(t, nil, leaf)
	run(t, s.source)
	s.until(t, leaf)
	for range 2 {
		s.Stop()
		next := agentLeaf(t, s.ca)
		s.give(t, nil, next)
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		s.until(t, next)
	}
}

func TestWorkloadAPIComesLate(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t, nil)
	s.Stop()
	leaf := agentLeaf(t, s.ca)
	s.give(t, nil, leaf)
	run(t, s.source)
	s.untilCause(t, "no such file")
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	s.until(t, leaf)
}

func TestWorkloadAPIStalls(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for ten seconds")
	}
	s := startSPIRE(t, nil)
	s.Stall()
	run(t, s.source)
	s.untilCause(t, "no answer within")
	s.awaitOpened(t, 2)
	leaf := agentLeaf(t, s.ca)
	s.give(t, nil, leaf)
	s.until(t, leaf)
	// A stall after an answer harms nothing.
	s.Stall()
	if material(t, s.source).Identity.String() != nodeID {
		t.Error("lost its SVID")
	}
}

func TestWorkloadAPIKeepsTheLastGoodSVID(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t, nil)
	leaf := agentLeaf(t, s.ca)
	s.give(t, nil, leaf)
	run(t, s.source)
	s.until(t, leaf)
	whole := leaf.TLS()
	key, err := x509.MarshalPKCS8PrivateKey(agentLeaf(t, s.ca).Key())
	if err != nil {
		t.Fatal(err)
	}
	svid := func(id string, chain, key, bundle []byte) func() {
		return func() {
			s.SetRaw(&api.X509SVIDResponse{Svids: []*api.X509SVID{{SpiffeId: id, X509Svid: chain, X509SvidKey: key, Bundle: bundle}}}, nil)
		}
	}
	anchor := s.ca.Certificate().Raw
	for _, test := range []struct {
		name string
		give func()
		says string
	}{
		{"nothing", func() { s.SetRaw(&api.X509SVIDResponse{}, nil) }, "no SVIDs"},
		{"another key", svid(nodeID, whole.Certificate[0], key, anchor), "does not match"},
		{"no certificate", svid(nodeID, []byte("hello"), key, anchor), "certificate"},
		{"no key", svid(nodeID, whole.Certificate[0], []byte("hello"), anchor), "private key"},
		{"no bundle", func() {
			if err := s.Set(workload.State{SVIDs: []tls.Certificate{whole}}); err != nil {
				t.Fatal(err)
			}
		}, "no anchors"},
		{"expired", func() {
			s.give(t, nil, issue(t, s.ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute)}))
		}, "expired"},
		{"a proxy's", func() { s.give(t, nil, issue(t, s.ca, pki.Request{Role: pki.Proxy, SPIFFEID: nodeID})) }, "clientAuth"},
		{"the demo's", func() { s.give(t, []*pki.CA{newCA(t, pki.CAConfig{TrustDomain: domain, Demo: true})}, leaf) }, "demo"},
	} {
		before := len(s.log.lines(`"not_after"`))
		test.give()
		waitLine(t, s.log, `"not_after"`, before+1)
		lines := s.log.lines(`"not_after"`)
		if last := lines[len(lines)-1]; !strings.Contains(last, test.says) || !strings.Contains(last, "serves until its end") {
			t.Errorf("%s: logged %s, want %q", test.name, last, test.says)
		}
		if !material(t, s.source).Certificate.Leaf.Equal(leaf.Certificate()) {
			t.Fatalf("%s: the last good SVID is gone", test.name)
		}
	}
	s.give(t, nil, leaf)
	waitLine(t, s.log, "Workload API is back", 1)
}

// Anchors are no less true for an SVID beside them that cannot be used: an authority
// that has left them vouches for nobody.
func TestWorkloadAPITakesAnchorsWithoutTheSVID(t *testing.T) {
	t.Parallel()
	for name, leaves := range map[string]func(s *spire) []*pki.Leaf{
		"of another role": func(s *spire) []*pki.Leaf {
			return []*pki.Leaf{issue(t, s.ca, pki.Request{Role: pki.Proxy, SPIFFEID: nodeID})}
		},
		"several others": func(s *spire) []*pki.Leaf {
			return []*pki.Leaf{issue(t, s.ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID + "1"}), issue(t, s.ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID + "2"})}
		},
	} {
		s := startSPIRE(t, nil)
		old, leaf := newCA(t, pki.CAConfig{TrustDomain: domain}), agentLeaf(t, s.ca)
		peer := chainOf(t, agentLeaf(t, old))
		s.give(t, []*pki.CA{old}, leaf)
		run(t, s.source)
		first := s.until(t, leaf)
		live, err := first.Verify(peer, authn.Client)
		if err != nil {
			t.Fatal(err)
		}
		changed := s.source.Changed()
		s.give(t, nil, leaves(s)...)
		select {
		case <-changed:
		case <-time.After(patience):
			t.Fatalf("%s: no change", name)
		}
		if _, err := anchorsOf(t, s.source).Judge(live); authn.ReasonOf(err) != authn.UnknownAuthority {
			t.Errorf("%s: a peer of the authority that left: %v", name, err)
		}
		if m := material(t, s.source); m.Certificate != first.Certificate {
			t.Errorf("%s: our own certificate has changed", name)
		}
		waitLine(t, s.log, "serves until its end", 1)
		if health := s.source.Health(); health.Up || health.Rotations != 0 {
			t.Errorf("%s: health %+v", name, health)
		}
		// What is given next is a change of nothing but the SVID.
		next := agentLeaf(t, s.ca)
		s.give(t, nil, next)
		s.until(t, next)
	}
}

// waitLine waits for a log line. A log has no signal.
func waitLine(t *testing.T, log *book, text string, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); len(log.lines(text)) < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q was logged %d times, want %d", text, len(log.lines(text)), n)
		}
	}
}

func TestWorkloadAPIExpiresWithoutSuccessor(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t, nil)
	leaf := issue(t, s.ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, NotAfter: time.Now().Add(4 * time.Second).Truncate(time.Second)})
	s.give(t, nil, leaf)
	run(t, s.source)
	s.until(t, leaf)
	s.Refuse(codes.PermissionDenied, "no identity issued")
	// Only the clock says it.
	<-time.After(time.Until(leaf.Certificate().NotAfter.Add(time.Second + 10*time.Millisecond)))
	if _, err := s.source.Material(); err == nil || !strings.Contains(err.Error(), "own certificate expired") || !strings.Contains(err.Error(), "no identity issued") {
		t.Errorf("after its end: %v", err)
	}
	// It comes again with other anchors, as from an agent whose server is down: who
	// is there is judged by them.
	before := anchorsOf(t, s.source)
	s.give(t, []*pki.CA{newCA(t, pki.CAConfig{TrustDomain: domain})}, leaf)
	until(t, s.source, "new anchors", func(_ *authn.Material, err error) bool { return err != nil && anchorsOf(t, s.source) != before })
	next := agentLeaf(t, s.ca)
	s.give(t, nil, next)
	s.until(t, next)
}

// However long it was away: the delays between attempts do not grow beyond that.
func TestWorkloadAPIIsBackInFiveSeconds(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for delays to grow")
	}
	s := startSPIRE(t, nil)
	s.Refuse(codes.Unavailable, "the server is down")
	run(t, s.source)
	s.awaitOpened(t, 9)
	leaf := agentLeaf(t, s.ca)
	back := time.Now()
	s.give(t, nil, leaf)
	s.until(t, leaf)
	if took := time.Since(back); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// A stream on which nothing comes any more looks like one on which there is nothing
// to say, until the certificate ends.
func TestWorkloadAPIAsksAnewBeforeTheEnd(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for ten seconds")
	}
	s := startSPIRE(t, nil)
	// Due at once: five sixths of its life are over.
	old := issue(t, s.ca, pki.Request{Role: pki.Agent, SPIFFEID: nodeID, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Minute)})
	s.give(t, nil, old)
	run(t, s.source)
	s.until(t, old)
	s.Stall()
	s.awaitOpened(t, 2)
	if got := material(t, s.source); !got.Certificate.Leaf.Equal(old.Certificate()) {
		t.Errorf("holds %v", got.Identity)
	}
	if lines := s.log.lines("WARN"); len(lines) != 0 {
		t.Errorf("logged %s", lines)
	}
	next := agentLeaf(t, s.ca)
	s.give(t, nil, next)
	s.until(t, next)
}

func TestAwaitGivesTheLastCause(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t, nil)
	run(t, s.source)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		s.untilCause(t, "PermissionDenied")
	}()
	if _, err := authn.Await(ctx, s.source); err == nil || !strings.Contains(err.Error(), "PermissionDenied") {
		t.Errorf("%v", err)
	}
}

func TestTunnelBetweenWorkloads(t *testing.T) {
	t.Parallel()
	s := startSPIRE(t, nil)
	s.give(t, nil, agentLeaf(t, s.ca))
	run(t, s.source)
	proxySide := workload.Start(t)
	if err := proxySide.Set(workload.State{
		SVIDs: []tls.Certificate{proxyLeaf(t, s.ca).TLS()}, Bundles: map[string][]*x509.Certificate{domain: {s.ca.Certificate()}},
	}); err != nil {
		t.Fatal(err)
	}
	source, err := authn.NewWorkloadAPI(authn.Config{Socket: proxySide.Address()}, authn.Server, discard())
	if err != nil {
		t.Fatal(err)
	}
	run(t, source)
	for _, side := range []authn.Source{source, s.source} {
		until(t, side, "SVID", func(m *authn.Material, err error) bool { return err == nil })
	}
	proxy := startProxy(t, source, newFailures())
	if _, _, err := call(t, proxy.addr, authn.TunnelClientCredentials(s.source, spiffeid.RequireFromString(prxyID))); err != nil {
		t.Fatal(err)
	}
	if peer, ok := authn.PeerFromContext(<-proxy.calls); !ok || peer.Identity.String() != nodeID || peer.Source != "spiffe" {
		t.Errorf("the proxy sees %+v", peer)
	}
	// In SPIFFE mode a host name proves nothing.
	if _, _, err := call(t, proxy.addr, authn.TunnelClientCredentials(s.source, spiffeid.ID{})); err == nil || !strings.Contains(err.Error(), "no SPIFFE ID to expect") {
		t.Errorf("without the proxy's ID: %v", err)
	}
}
