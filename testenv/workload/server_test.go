package workload_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func authority(t *testing.T, domain string) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA(pki.CAConfig{TrustDomain: domain})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func svid(t *testing.T, ca *pki.CA, id string) tls.Certificate {
	t.Helper()
	leaf, err := ca.Issue(pki.Request{Role: pki.Agent, SPIFFEID: id})
	if err != nil {
		t.Fatal(err)
	}
	return leaf.TLS()
}

func client(t *testing.T, s *workload.Server) *workloadapi.Client {
	t.Helper()
	c, err := workloadapi.New(t.Context(), workloadapi.WithAddr(s.Address()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// The library's own client is the judge of whether this is a Workload API.
func TestServesTheLibrarysClient(t *testing.T) {
	own, partner := authority(t, "example.org"), authority(t, "partner.example")
	s := workload.Start(t)
	c := client(t, s)
	if _, err := c.FetchX509Context(t.Context()); status.Code(err) != codes.PermissionDenied {
		t.Errorf("before it has anything: %v", err)
	}
	state := workload.State{
		SVIDs: []tls.Certificate{svid(t, own, "spiffe://example.org/a"), svid(t, own, "spiffe://example.org/b")},
		Bundles: map[string][]*x509.Certificate{
			"example.org": {own.Certificate()}, "partner.example": {partner.Certificate(), own.Certificate()},
		},
	}
	if err := s.Set(state); err != nil {
		t.Fatal(err)
	}
	got, err := c.FetchX509Context(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.SVIDs) != 2 || got.SVIDs[1].ID.Path() != "/b" || got.Bundles.Len() != 2 {
		t.Errorf("%d SVIDs, %d bundles", len(got.SVIDs), got.Bundles.Len())
	}
	bundles, err := c.FetchX509Bundles(t.Context())
	if err != nil || bundles.Len() != 2 {
		t.Errorf("bundles %v, %v", bundles, err)
	}
	if err := s.Set(workload.State{SVIDs: []tls.Certificate{{Certificate: [][]byte{{1}}}}}); err == nil {
		t.Error("an SVID that is none is taken")
	}
}

func raw(t *testing.T, s *workload.Server) api.SpiffeWorkloadAPIClient {
	t.Helper()
	conn, err := grpc.NewClient(s.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return api.NewSpiffeWorkloadAPIClient(conn)
}

func TestWantsTheSecurityHeader(t *testing.T) {
	stream, err := raw(t, workload.Start(t)).FetchX509SVID(t.Context(), &api.X509SVIDRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("without the header: %v", err)
	}
}

// watch keeps what a subscription hears.
type watch struct {
	updates chan *workloadapi.X509Context
	errs    chan error
}

func (w watch) OnX509ContextUpdate(update *workloadapi.X509Context) { w.updates <- update }
func (w watch) OnX509ContextWatchError(err error)                   { w.errs <- err }

func TestFaults(t *testing.T) {
	own := authority(t, "example.org")
	s := workload.Start(t)
	state := workload.State{
		SVIDs: []tls.Certificate{svid(t, own, "spiffe://example.org/a")}, Bundles: map[string][]*x509.Certificate{"example.org": {own.Certificate()}},
	}
	if err := s.Set(state); err != nil {
		t.Fatal(err)
	}
	w := watch{make(chan *workloadapi.X509Context, 16), make(chan error, 16)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- client(t, s).WatchX509Context(ctx, w) }()
	<-w.updates
	if err := s.Set(state); err != nil {
		t.Fatal(err)
	}
	<-w.updates // an open stream hears of it, changed or not
	s.CloseStreams(codes.Unavailable, "for a test")
	if err := <-w.errs; status.Code(err) != codes.Unavailable {
		t.Errorf("cut streams end with %v", err)
	}
	<-w.updates
	s.Stall()
	if err := s.Set(state); err != nil { // ends the stall
		t.Fatal(err)
	}
	<-w.updates
	s.Refuse(codes.Canceled, "for a test")
	if err := <-w.errs; status.Code(err) != codes.Canceled {
		t.Errorf("refused streams end with %v", err)
	}
	<-done
	cancel()
	s.Resume()
	if _, err := client(t, s).FetchX509Context(t.Context()); err != nil {
		t.Errorf("after Resume: %v", err)
	}
	if s.Opened() != 3 {
		t.Errorf("%d streams were opened, want 3", s.Opened())
	}
}

func TestRestartMakesANewSocket(t *testing.T) {
	s := workload.Start(t)
	path := strings.TrimPrefix(s.Address(), "unix://")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Stop()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a stopped server leaves its socket: %v", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(before, after) && before.ModTime().Equal(after.ModTime()) {
		t.Error("the socket is the same")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.AwaitOpened(ctx, 1); err == nil {
		t.Error("waited for nothing")
	}
}

func TestTokens(t *testing.T) {
	ca := authority(t, "example.org")
	s := workload.Start(t)
	var authorities []*workload.JWTAuthority
	for _, domain := range []string{"example.org", "example.org", "partner.example"} {
		a, err := workload.NewJWTAuthority(domain)
		if err != nil {
			t.Fatal(err)
		}
		authorities = append(authorities, a)
	}
	if err := s.Set(workload.State{SVIDs: []tls.Certificate{svid(t, ca, "spiffe://example.org/a")}, JWT: authorities}); err != nil {
		t.Fatal(err)
	}
	bundles, err := client(t, s).FetchJWTBundles(t.Context())
	if err != nil || bundles.Len() != 2 {
		t.Fatalf("bundles %v, %v", bundles, err)
	}
	for _, a := range authorities[:2] {
		token, err := a.Mint(workload.Token{ID: "spiffe://example.org/prometheus", Audience: []string{"x"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jwtsvid.ParseAndValidate(token, bundles, []string{"x"}); err != nil {
			t.Errorf("token by %s: %v", a.KeyID(), err)
		}
	}
	wrong, err := authorities[2].Mint(workload.Token{ID: "spiffe://example.org/prometheus", Audience: []string{"x"}, Header: map[string]any{"kid": authorities[0].KeyID()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jwtsvid.ParseAndValidate(wrong, bundles, []string{"x"}); err == nil {
		t.Error("another domain's signature passes")
	}
	if _, err := workload.NewJWTAuthority("no domain"); err == nil {
		t.Error("an authority of no domain")
	}
}
