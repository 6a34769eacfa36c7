package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

const proxyID = "spiffe://example.org/sallyport-proxy"

var usualProxy = spiffeid.RequireFromString(proxyID)

// The certificates of a realm.
var (
	proxyRequest = pki.Request{Role: pki.Proxy, SPIFFEID: proxyID, DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}
	agentRequest = pki.Request{Role: pki.Agent, SPIFFEID: "spiffe://example.org/team-a/node"}
)

var discard = slog.New(slog.DiscardHandler)

// realm is a CA with the certificates of one proxy and one agent.
type realm struct {
	ca           *pki.CA
	proxy, agent *source
}

func newRealm(t testing.TB) *realm {
	t.Helper()
	ca, err := pki.NewCA(pki.CAConfig{TrustDomain: "example.org"})
	if err != nil {
		t.Fatal(err)
	}
	r := &realm{ca: ca}
	r.proxy = r.source(t, proxyRequest, authn.Server, ca)
	r.agent = r.source(t, agentRequest, authn.Client, ca)
	return r
}

// source is an identity in files.
type source struct {
	*authn.Files
	dir string
}

// source makes an identity that is issued by the realm's CA and trusts anchors.
func (r *realm) source(t testing.TB, request pki.Request, role authn.Role, anchors ...*pki.CA) *source {
	t.Helper()
	s := &source{dir: t.TempDir()}
	s.issue(t, r.ca, request)
	s.trust(t, anchors...)
	var err error
	s.Files, err = authn.NewFiles(authn.Config{
		CertFile: filepath.Join(s.dir, "cert.pem"), KeyFile: filepath.Join(s.dir, "key.pem"), CAFile: filepath.Join(s.dir, "ca.pem"),
	}, role, discard)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// issue writes another certificate, which a source that is kept takes over within
// two seconds.
func (s *source) issue(t testing.TB, ca *pki.CA, request pki.Request) {
	t.Helper()
	leaf, err := ca.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	key, err := leaf.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.dir, "cert.pem", leaf.CertPEM())
	writeFile(t, s.dir, "key.pem", key)
}

// renew has a source that is kept take over another certificate.
func (s *source) renew(t testing.TB, ca *pki.CA, request pki.Request) {
	t.Helper()
	changed := s.Changed()
	s.issue(t, ca, request)
	receive(t, changed, "the new certificate")
}

// trust writes other anchors.
func (s *source) trust(t testing.TB, anchors ...*pki.CA) {
	t.Helper()
	var pem []byte
	for _, ca := range anchors {
		pem = append(pem, ca.CertPEM()...)
	}
	writeFile(t, s.dir, "ca.pem", pem)
}

// keep follows the files until the test ends.
func (s *source) keep(t testing.TB) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("following files: %v", err)
		}
	})
}

func writeFile(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fakeProxy speaks the proxy's side of the wire contract over a real gRPC server
// and real TLS, and does what a test tells it to.
type fakeProxy struct {
	tunnelv1.UnimplementedTunnelServer
	addr string

	// greet answers a Hello; nil welcomes.
	greet func(*tunnelv1.Hello) *tunnelv1.ProxyMessage
	// answer decides on a route; nil accepts.
	answer func(*tunnelv1.Route) *tunnelv1.RouteAnswer
	// silent proxies do not answer registrations.
	silent bool
	// lingering proxies do not end a session that drains.
	lingering bool

	sessions chan *fakeSession
	server   *grpc.Server

	mu     sync.Mutex
	byConn map[net.Conn]*fakeSession
}

// fakeSession is one control stream as the proxy sees it.
type fakeSession struct {
	proxy  *fakeProxy
	stream tunnelv1.Tunnel_ControlServer
	hello  *tunnelv1.Hello

	registered chan *tunnelv1.Register
	withdrawn  chan *tunnelv1.Withdraw
	drained    chan struct{}
	lanes      chan *fakeLane
	end        chan error    // what the control stream returns when told to
	done       chan struct{} // closed when it has returned

	mu sync.Mutex // of Send
}

// fakeLane is one lane as the proxy sees it.
type fakeLane struct {
	stream tunnelv1.Tunnel_LaneServer
	end    chan error
	done   chan struct{}
}

func startProxy(t testing.TB, r *realm, inner net.Listener, configure func(*fakeProxy)) *fakeProxy {
	t.Helper()
	p := &fakeProxy{
		addr:     inner.Addr().String(),
		sessions: make(chan *fakeSession, 16),
		byConn:   make(map[net.Conn]*fakeSession),
	}
	if configure != nil {
		configure(p)
	}
	p.server = grpc.NewServer(
		grpc.Creds(authn.TunnelServerCredentials()),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.InitialWindowSize(256<<10), grpc.InitialConnWindowSize(1<<20),
		grpc.MaxRecvMsgSize(64<<10), grpc.MaxSendMsgSize(64<<10),
	)
	tunnelv1.RegisterTunnelServer(p.server, p)
	listener := authn.ListenTunnel(inner, r.proxy, authn.ListenConfig{})
	served := make(chan error, 1)
	go func() { served <- p.server.Serve(listener) }()
	t.Cleanup(func() {
		p.server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serving the fake proxy: %v", err)
		}
	})
	return p
}

func (p *fakeProxy) Control(stream tunnelv1.Tunnel_ControlServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	s := &fakeSession{
		proxy: p, stream: stream, hello: first.GetHello(),
		registered: make(chan *tunnelv1.Register, 1024),
		withdrawn:  make(chan *tunnelv1.Withdraw, 1024),
		drained:    make(chan struct{}),
		lanes:      make(chan *fakeLane, 1024),
		end:        make(chan error, 1),
		done:       make(chan struct{}),
	}
	defer close(s.done)
	greeting := &tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Welcome{Welcome: &tunnelv1.Welcome{SessionId: "s1", Software: "fake", MaxRoutes: 5000}}}
	if p.greet != nil {
		greeting = p.greet(s.hello)
	}
	if greeting == nil {
		<-stream.Context().Done()
		return nil
	}
	conn, _ := authn.ConnFromContext(stream.Context())
	p.mu.Lock()
	p.byConn[conn] = s
	p.mu.Unlock()
	s.send(greeting)
	if greeting.GetWelcome() == nil {
		return nil
	}
	p.sessions <- s
	received := make(chan error, 1)
	go func() { received <- s.receive() }()
	select {
	case err := <-s.end:
		return err
	case err := <-received:
		return err
	}
}

func (s *fakeSession) receive() error {
	for {
		msg, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch kind := msg.GetKind().(type) {
		case *tunnelv1.AgentMessage_Register:
			s.registered <- kind.Register
			if !s.proxy.silent {
				s.send(s.answers(kind.Register))
			}
		case *tunnelv1.AgentMessage_Withdraw:
			s.withdrawn <- kind.Withdraw
		case *tunnelv1.AgentMessage_Drain:
			close(s.drained)
			if !s.proxy.lingering {
				return nil
			}
		default:
			return fmt.Errorf("unexpected message %v", msg)
		}
	}
}

func (s *fakeSession) answers(r *tunnelv1.Register) *tunnelv1.ProxyMessage {
	reply := &tunnelv1.Registered{}
	for _, route := range r.GetRoutes() {
		answer := &tunnelv1.RouteAnswer{Code: tunnelv1.RouteAnswer_ACCEPTED}
		if s.proxy.answer != nil {
			answer = s.proxy.answer(route)
		}
		answer.Path = route.GetPath()
		reply.Answers = append(reply.Answers, answer)
	}
	return &tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Registered{Registered: reply}}
}

func (s *fakeSession) send(msg *tunnelv1.ProxyMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.stream.Send(msg)
}

func (s *fakeSession) wantLanes(n uint32) {
	s.send(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_LanesWanted{LanesWanted: &tunnelv1.LanesWanted{Total: n}}})
}

func (p *fakeProxy) Lane(stream tunnelv1.Tunnel_LaneServer) error {
	conn, _ := authn.ConnFromContext(stream.Context())
	p.mu.Lock()
	s := p.byConn[conn]
	p.mu.Unlock()
	if s == nil {
		return errors.New("a lane before the welcome")
	}
	l := &fakeLane{stream: stream, end: make(chan error, 1), done: make(chan struct{})}
	defer close(l.done)
	s.lanes <- l
	select {
	case err := <-l.end:
		return err
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

// request sends a scrape request.
func (l *fakeLane) request(req *tunnelv1.ScrapeRequest) error {
	return l.stream.Send(&tunnelv1.LaneRequest{Kind: &tunnelv1.LaneRequest_Scrape{Scrape: req}})
}

func (l *fakeLane) cancel() error {
	return l.stream.Send(&tunnelv1.LaneRequest{Kind: &tunnelv1.LaneRequest_Cancel{Cancel: &tunnelv1.Cancel{}}})
}

// answer is a whole scrape's answer as the proxy sees it.
type answer struct {
	head     *tunnelv1.Head
	body     []byte
	end      *tunnelv1.End
	messages int
}

// collect reads one answer and holds it to the wire contract.
func (l *fakeLane) collect(keepBody bool) (*answer, error) {
	a := &answer{}
	for {
		msg, err := l.stream.Recv()
		if err != nil {
			return a, err
		}
		a.messages++
		if len(msg.GetBody()) > 31<<10 {
			return a, fmt.Errorf("a chunk of %d bytes", len(msg.GetBody()))
		}
		if (a.messages == 1) != (msg.GetHead() != nil) && (a.messages > 1 || msg.GetEnd() == nil) {
			return a, fmt.Errorf("message %d: head %v", a.messages, msg.GetHead())
		}
		if msg.GetHead() != nil {
			a.head = msg.GetHead()
		}
		if keepBody {
			a.body = append(a.body, msg.GetBody()...)
		}
		if msg.GetEnd() != nil {
			a.end = msg.GetEnd()
			return a, nil
		}
	}
}

// receive waits for a value as long as a test can be expected to.
func receive[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// pipeListener is a network inside the process, for bubbles of synctest.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "localhost:50051" }
