package proxy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/seed-951114d4/sallyport/pki"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
	"github.com/seed-951114d4/sallyport/testenv"
)

// rawAgent has a valid certificate and speaks the wire contract as it likes.
type rawAgent struct {
	t       *testing.T
	ctx     context.Context
	conn    *grpc.ClientConn
	client  tunnelv1.TunnelClient
	control grpc.BidiStreamingClient[tunnelv1.AgentMessage, tunnelv1.ProxyMessage]
}

func newRawAgent(t *testing.T, w *testenv.World, path string) *rawAgent {
	t.Helper()
	return newRawAgentWith(t, w, w.Leaf(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID(path)}))
}

func newRawAgentWith(t *testing.T, w *testenv.World, leaf *pki.Leaf) *rawAgent {
	t.Helper()
	creds := credentials.NewTLS(&tls.Config{RootCAs: w.CA.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{leaf.TLS()}})
	conn, err := grpc.NewClient("passthrough:///"+w.Proxy.TunnelAddr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(func() { cancel(); conn.Close() })
	a := &rawAgent{t: t, ctx: ctx, conn: conn, client: tunnelv1.NewTunnelClient(conn)}
	a.control = a.openControl()
	return a
}

func (a *rawAgent) openControl() grpc.BidiStreamingClient[tunnelv1.AgentMessage, tunnelv1.ProxyMessage] {
	a.t.Helper()
	stream, err := a.client.Control(a.ctx)
	if err != nil {
		a.t.Fatal(err)
	}
	return stream
}

func hello() *tunnelv1.AgentMessage {
	return &tunnelv1.AgentMessage{Kind: &tunnelv1.AgentMessage_Hello{Hello: &tunnelv1.Hello{Protocol: 1, MaxLanes: 4}}}
}

func register(routes ...*tunnelv1.Route) *tunnelv1.AgentMessage {
	return &tunnelv1.AgentMessage{Kind: &tunnelv1.AgentMessage_Register{Register: &tunnelv1.Register{Routes: routes}}}
}

func routeOffer(path string) *tunnelv1.Route {
	return &tunnelv1.Route{Path: path, Target: &tunnelv1.Target{Scheme: "http", Host: "localhost", Port: 80, Path: "/metrics"}}
}

func (a *rawAgent) send(message *tunnelv1.AgentMessage) {
	a.t.Helper()
	if err := a.control.Send(message); err != nil {
		a.t.Fatal(err)
	}
}

func (a *rawAgent) receive() *tunnelv1.ProxyMessage {
	a.t.Helper()
	message, err := a.control.Recv()
	if err != nil {
		a.t.Fatal(err)
	}
	return message
}

// begin opens a session.
func (a *rawAgent) begin() {
	a.t.Helper()
	a.send(hello())
	if a.receive().GetWelcome() == nil {
		a.t.Fatal("not welcomed")
	}
}

// offer registers routes and returns the answers.
func (a *rawAgent) offer(routes ...*tunnelv1.Route) []*tunnelv1.RouteAnswer {
	a.t.Helper()
	a.send(register(routes...))
	for {
		if registered := a.receive().GetRegistered(); registered != nil {
			return registered.GetAnswers()
		}
	}
}

func TestSessionBeginsWithHello(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	for name, first := range map[string]*tunnelv1.AgentMessage{
		"register":       register(routeOffer("/team-a/node")),
		"nothing":        {},
		"other protocol": {Kind: &tunnelv1.AgentMessage_Hello{Hello: &tunnelv1.Hello{Protocol: 2, MaxLanes: 4}}},
		"no lanes":       {Kind: &tunnelv1.AgentMessage_Hello{Hello: &tunnelv1.Hello{Protocol: 1}}},
		"long name":      {Kind: &tunnelv1.AgentMessage_Hello{Hello: &tunnelv1.Hello{Protocol: 1, MaxLanes: 4, AgentName: strings.Repeat("a", 256)}}},
	} {
		a := newRawAgent(t, w, "team-a/node")
		a.send(first)
		if bye := a.receive().GetGoodbye(); bye.GetCode() != tunnelv1.Goodbye_PROTOCOL || bye.GetReason() == "" {
			t.Errorf("%s: %v", name, bye)
		}
		// And then the connection ends, though the agent does not hang up.
		if _, err := a.control.Recv(); err == nil {
			t.Errorf("%s: the session goes on", name)
		}
	}
	testenv.WaitMetric(w, w.Proxy, 0, "sallyport_proxy_sessions")
}

func TestSecondHelloEndsTheSession(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	a := newRawAgent(t, w, "team-a/node")
	a.begin()
	a.offer(routeOffer("/team-a/node/x"))
	a.send(hello())
	for {
		if bye := a.receive().GetGoodbye(); bye != nil {
			if bye.GetCode() != tunnelv1.Goodbye_PROTOCOL {
				t.Errorf("got %v", bye)
			}
			break
		}
	}
	testenv.WaitMetric(w, w.Proxy, 0, "sallyport_proxy_sessions")
}

func TestOneControlStreamPerConnection(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	a := newRawAgent(t, w, "team-a/node")
	a.begin()
	if _, err := a.openControl().Recv(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a second control stream: %v", err)
	}
	if a.offer(routeOffer("/team-a/node/x"))[0].GetCode() != tunnelv1.RouteAnswer_ACCEPTED {
		t.Error("the first one suffers")
	}
}

// A lane belongs to the session of its connection, whatever its metadata say.
func TestLaneNeedsASession(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	a := newRawAgent(t, w, "team-a/node")
	ctx := metadata.AppendToOutgoingContext(a.ctx, "agent-id", testenv.ID("team-a/node"), "session", "1")
	lane, err := a.client.Lane(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lane.Recv(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a lane without a session: %v", err)
	}
}

func TestNoMoreLanesThanOffered(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	a := newRawAgent(t, w, "team-a/node")
	a.begin()
	refused := make(chan error, 10)
	for range cap(refused) {
		lane, err := a.client.Lane(a.ctx)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, err := lane.Recv(); refused <- err }()
	}
	for range cap(refused) - 4 {
		if err := <-refused; status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v", err)
		}
	}
	testenv.WaitMetric(w, w.Proxy, 4, "sallyport_proxy_lanes", "state", "idle")
}

func TestMalformedRoutes(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: anyRoute})
	a := newRawAgent(t, w, "team-a/node")
	a.begin()
	labelled := func(name, value string) *tunnelv1.Route {
		r := routeOffer("/x")
		r.Labels = map[string]string{name: value}
		return r
	}
	many := routeOffer("/x")
	many.Labels = make(map[string]string)
	for i := range 33 {
		many.Labels[fmt.Sprint("l", i)] = ""
	}
	offers := []*tunnelv1.Route{
		routeOffer(""), routeOffer("x"), routeOffer("/x/"), routeOffer("//x"), routeOffer("/a/../x"), routeOffer("/-/x"), routeOffer("/metrics"),
		routeOffer("/x?y"), routeOffer("/%41"), routeOffer("/" + strings.Repeat("a", 600)),
		labelled("__address__", "evil:1"), labelled("job", "x"), labelled("instance", "x"), labelled("a-b", "x"), labelled("a", strings.Repeat("v", 8<<10)), many,
		{Path: "/x"}, {Path: "/x", Target: &tunnelv1.Target{Scheme: "file", Host: "etc", Port: 1}},
		{Path: "/x", Target: &tunnelv1.Target{Scheme: "self", Host: "localhost", Port: 80}},
		{Path: "/x", Target: &tunnelv1.Target{Scheme: "http", Host: "localhost@evil.example", Port: 80}},
		{Path: "/x", Target: &tunnelv1.Target{Scheme: "http", Host: "localhost\x1b[2J", Port: 80}},
		{Path: "/x", Target: &tunnelv1.Target{Scheme: "http", Host: "localhost", Port: 80, Path: "http://evil.example/"}},
	}
	for i, answer := range a.offer(offers...) {
		if answer.GetCode() != tunnelv1.RouteAnswer_INVALID || len(answer.GetReasons()) == 0 {
			t.Errorf("%v: %v", offers[i], answer)
		}
	}
	if n := w.Proxy.Metric("sallyport_proxy_routes", "state", "served"); n != 0 {
		t.Errorf("%v routes", n)
	}
	if strings.Contains(w.Logs.String(), strings.Repeat("a", 513)) {
		t.Error("an over-long path is in the log")
	}
}

// An agent that reads none of its answers is cut off, and holds up nobody.
func TestAgentThatDoesNotRead(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: anyRoute})
	a := newRawAgent(t, w, "team-a/node")
	a.begin()
	batch := make([]*tunnelv1.Route, 100)
	for i := range batch {
		batch[i] = routeOffer(fmt.Sprintf("/%s/%d", strings.Repeat("a", 400), i))
	}
	for {
		if err := a.control.Send(register(batch...)); err != nil {
			break
		}
	}
	testenv.WaitMetric(w, w.Proxy, 0, "sallyport_proxy_sessions")
}

// An agent whose scrape never ends is cut off by the scraper's time, and what it
// says to the next one is its own answer.
func TestAgentThatTalksOutOfTurn(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	a := newRawAgent(t, w, "team-a/node")
	a.begin()
	lane, err := a.client.Lane(a.ctx)
	if err != nil {
		t.Fatal(err)
	}
	a.offer(routeOffer("/team-a/node/x"))
	unasked := &tunnelv1.LaneReply{Head: &tunnelv1.Head{Status: 200}, Body: []byte("unasked")}
	if err := lane.Send(unasked); err != nil {
		t.Fatal(err)
	}
	testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_lanes", "state", "idle")
	answer := w.Scraper("prometheus").Get("/team-a/node/x", timeout, "1")
	if answer.Err == nil {
		t.Errorf("an answer without an end looked whole: %d %q", answer.Status, answer.Body)
	}
	testenv.WaitMetric(w, w.Proxy, 0, "sallyport_proxy_lanes", "state", "idle")
}

// Headers that an agent had in the request before are left out, but not for one that
// does not say that it keeps them: it would scrape without any.
func TestHeadersAreRepeatedForWhoDoesNotKeepThem(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	scraper := w.Scraper("prometheus")
	for _, keeps := range []bool{false, true} {
		path := fmt.Sprint("/team-a/node/", keeps)
		a := newRawAgent(t, w, "team-a/node")
		first := hello()
		first.GetHello().KeepsHeaders = keeps
		a.send(first)
		if a.receive().GetWelcome() == nil {
			t.Fatal("not welcomed")
		}
		lane, err := a.client.Lane(a.ctx)
		if err != nil {
			t.Fatal(err)
		}
		a.offer(routeOffer(path))
		for i := range 3 {
			done := make(chan struct{})
			go func() { defer close(done); scraper.Get(path, "Accept", "text/plain", "User-Agent", "one") }()
			message, err := lane.Recv()
			if err != nil {
				t.Fatal(err)
			}
			request, again := message.GetScrape(), keeps && i > 0
			if whole := request.GetAccept() == "text/plain" && request.GetUserAgent() == "one"; whole == again || request.GetSameHeaders() != again {
				t.Errorf("keeps %t, request %d: %v", keeps, i, request)
			}
			if err := lane.Send(&tunnelv1.LaneReply{Head: &tunnelv1.Head{Status: 200}, End: &tunnelv1.End{Code: tunnelv1.End_COMPLETE}}); err != nil {
				t.Fatal(err)
			}
			<-done
		}
	}
}

// A route is held under the claims that were allowed: offered again with others,
// which are refused, it is no longer served.
func TestRefusedClaimsTakeTheRouteAway(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: fstest.MapFS{
		"register.rego": {Data: []byte("package sallyport.register\n\nallow if input.route.target.host == \"localhost\"\n")},
		"scrape.rego":   anyRoute["scrape.rego"],
	}})
	a := newRawAgent(t, w, "team-a/node")
	a.begin()
	denied, invalid := routeOffer("/x"), routeOffer("/x")
	denied.Target.Host = "elsewhere"
	invalid.Labels = map[string]string{"job": "x"}
	for _, changed := range []*tunnelv1.Route{denied, invalid} {
		if code := a.offer(routeOffer("/x"))[0].GetCode(); code != tunnelv1.RouteAnswer_ACCEPTED {
			t.Fatal(code)
		}
		if code := a.offer(changed)[0].GetCode(); code == tunnelv1.RouteAnswer_ACCEPTED {
			t.Fatal("accepted")
		}
		if n := w.Proxy.Metric("sallyport_proxy_routes", "state", "served"); n != 0 {
			t.Errorf("%v: the route is still served", changed)
		}
	}
}

// An agent that answers without reading what it is asked holds a scrape no longer
// than its time.
func TestAgentThatReadsNoRequests(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{})
	a := newRawAgent(t, w, "team-a/node")
	a.begin()
	lane, err := a.client.Lane(a.ctx)
	if err != nil {
		t.Fatal(err)
	}
	a.offer(routeOffer(path))
	testenv.WaitMetric(w, w.Proxy, 1, "sallyport_proxy_lanes", "state", "idle")
	scraper := w.Scraper("prometheus")
	for range 100 {
		if err := lane.Send(&tunnelv1.LaneReply{Head: head(200), End: end(tunnelv1.End_COMPLETE)}); err != nil {
			t.Fatal(err)
		}
		answer := scraper.Get(path+"?x="+strings.Repeat("a", 12<<10), timeout, "2")
		if answer.Err != nil {
			t.Fatal("the scrape took too long")
		}
		if answer.Status != 200 {
			if answer.Outcome != "agent_timeout" {
				t.Errorf("%d %q", answer.Status, answer.Outcome)
			}
			return
		}
	}
	t.Error("every request was read")
}

// What was allowed is what is routed: a scrape that was allowed to read the route
// of one agent does not go to another that took it over meanwhile.
func TestScrapeDoesNotFollowToAnotherOwner(t *testing.T) {
	t.Parallel()
	w := testenv.Start(t, testenv.Config{Policy: fstest.MapFS{
		"register.rego": anyRoute["register.rego"],
		"scrape.rego":   {Data: []byte("package sallyport.scrape\n\nallow if endswith(input.route.owner, \"/one\")\n")},
	}})
	a := newRawAgent(t, w, "one")
	a.begin()
	a.offer(routeOffer("/x"))
	result := make(chan testenv.Answer, 1)
	go func() { result <- w.Scraper("prometheus").Get("/x") }()
	for a.receive().GetLanesWanted() == nil { // the scrape waits for a lane
	}
	a.send(&tunnelv1.AgentMessage{Kind: &tunnelv1.AgentMessage_Withdraw{Withdraw: &tunnelv1.Withdraw{Paths: []string{"/x"}}}})
	testenv.WaitMetric(w, w.Proxy, 0, "sallyport_proxy_routes", "state", "served")
	w.Agent("two", testenv.Route("/x", testenv.Body(t, []byte("# two\n")).URL))
	a.send(&tunnelv1.AgentMessage{Kind: &tunnelv1.AgentMessage_Drain{Drain: &tunnelv1.Drain{}}})
	if answer := <-result; answer.Status != 503 || answer.Outcome != "agent_gone" {
		t.Errorf("%d %q %q", answer.Status, answer.Outcome, answer.Body)
	}
}

// A connection without a session does not last, whatever is called on it.
func TestConnectionWithoutSession(t *testing.T) {
	t.Parallel()
	for _, method := range []string{tunnelv1.Tunnel_Lane_FullMethodName, "/sallyport.tunnel.v1.Tunnel/Other"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			testConnectionWithoutSession(t, method)
		})
	}
}

func testConnectionWithoutSession(t *testing.T, method string) {
	w := testenv.Start(t, testenv.Config{})
	leaf := w.Leaf(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/node")})
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	creds := credentials.NewTLS(&tls.Config{RootCAs: w.CA.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{leaf.TLS()}})
	var dials atomic.Int32
	conn, err := grpc.NewClient("passthrough:///"+w.Proxy.TunnelAddr, grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			if dials.Add(1) > 1 {
				cancel()
			}
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for ; ctx.Err() == nil; <-tick.C {
		if stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method); err == nil {
			_ = stream.RecvMsg(new(tunnelv1.LaneRequest))
		}
	}
	if dials.Load() < 2 {
		t.Error("the connection stays")
	}
}
