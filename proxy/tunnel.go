package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// newTunnelServer builds the gRPC server that agents connect to. Every default
// of grpc-go that leaves something to the peer's good will is overridden.
func newTunnelServer(tunnel *tunnel) *grpc.Server {
	server := grpc.NewServer(
		grpc.Creds(authn.TunnelServerCredentials()),
		grpc.ForceServerCodecV2(tunnelv1.Codec()),
		grpc.ConnectionTimeout(10*time.Second),
		// The default is 2^32-1, which disarms the rapid-reset protection.
		grpc.MaxConcurrentStreams(maxLanes+2),
		grpc.MaxHeaderListSize(16<<10),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		// A lane buffers this much for a scraper that reads slowly.
		grpc.StaticStreamWindowSize(256<<10),
		grpc.StaticConnWindowSize(4<<20),
		// TLS has read a whole record by then: a buffer between it and the frames
		// would be 32 KiB that each session holds, and one more copy.
		grpc.ReadBufferSize(0),
		// The headers of a few streams that live long are not worth a table.
		grpc.HeaderTableSize(0),
		grpc.WaitForHandlers(true),
		grpc.UnknownServiceHandler(tunnel.unknown),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			// A session always has its control stream: what idles has none.
			MaxConnectionIdle: helloTimeout,
			Time:              15 * time.Second,
			Timeout:           10 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             5 * time.Second,
			PermitWithoutStream: true,
		}),
	)
	tunnelv1.RegisterTunnelServer(server, tunnel)
	return server
}

// tunnel serves the two calls of the wire contract.
type tunnel struct {
	tunnelv1.UnimplementedTunnelServer
	*Proxy
	// Sessions are admitted apart from the offers of those that there are.
	admissions, offers *desk
}

type controlStream = grpc.BidiStreamingServer[tunnelv1.AgentMessage, tunnelv1.ProxyMessage]

// Control runs a session from its Hello to its end.
func (t *tunnel) Control(stream controlStream) error {
	s, err := t.newSession(stream)
	if err != nil {
		return err
	}
	defer s.outbox.close()
	// Closing the connection fails a Send under way, so that the outbox can be
	// closed, and ends whatever else the agent had opened.
	defer s.conn.Close()

	hello, err := awaitHello(stream, s.conn)
	if err != nil {
		return t.turnAway(stream, s, err)
	}
	s.agent, s.keepsHeaders = hello.GetAgentName(), hello.GetKeepsHeaders()
	s.input = provedInput(s)
	s.lanes = newPool(min(int(hello.GetMaxLanes()), maxLanes), s.wantLanes)
	if err := t.admissions.at(stream.Context(), func() error { return t.admit(stream.Context(), s) }); err != nil {
		return t.turnAway(stream, s, err)
	}
	defer t.end(s, nil)
	t.welcome(s, hello)
	return t.listen(stream, s)
}

// admit lets a session in that the trust and the policy in force allow.
func (t *tunnel) admit(ctx context.Context, s *session) error {
	admitted := false
	for {
		event := t.decideSession(ctx, s, t.subject(s))
		decision := event.Decision
		if !decision.Allow {
			if admitted {
				t.forget(s)
			}
			t.logDenied("session", s, "", decision)
			t.record(event, authz.Denied)
			return denial(decision)
		}
		if !admitted {
			if err := t.sessions.admit(s); err != nil {
				event.why = err.Error()
				t.record(event, authz.Refused)
				return err
			}
			admitted = true
		}
		// Anchors or a policy that came meanwhile have either seen the session or
		// are seen here.
		judged := s.peer()
		if why := t.prove(s); why != nil {
			t.forget(s)
			return why
		}
		if decision.Revision == t.policy.Revision() && s.peer() == judged {
			t.record(event, authz.Admitted)
			return nil
		}
	}
}

// forget takes back what admit did.
func (p *Proxy) forget(s *session) {
	p.sessions.remove(s)
	s.standing.end()
}

// denial tells the agent why, and which decision it was.
func denial(d authz.Decision) *refusal {
	reason := "the policy does not allow a session"
	if len(d.Reasons) > 0 {
		reason += ": " + strings.Join(d.Reasons, "; ")
	}
	return refuse(tunnelv1.Goodbye_REFUSED, "%s (decision %s)", reason, d.ID)
}

// newSession binds a session to the connection and the identity that the
// handshake proved; nothing else says who the agent is.
func (t *tunnel) newSession(stream controlStream) (*session, error) {
	peer, ok := authn.PeerFromContext(stream.Context())
	if !ok || peer.Identity.IsZero() {
		return nil, status.Error(codes.Unauthenticated, "no identity was proved")
	}
	conn, ok := authn.ConnFromContext(stream.Context())
	if !ok {
		return nil, status.Error(codes.Internal, "the connection is unknown")
	}
	if t.sessions.of(conn) != nil {
		return nil, status.Error(codes.FailedPrecondition, errSecondControl.Error())
	}
	s := &session{
		id:       rand.Text()[:12],
		identity: peer.Identity,
		conn:     conn,
		remoteIP: hostOf(conn.RemoteAddr()),
		since:    time.Now(),
		outbox:   newOutbox(stream.Send),
		routes:   make(map[string]*grant),
	}
	s.standing.peer.Store(peer)
	return s, nil
}

// awaitHello waits for the agent's first message, but not for long.
func awaitHello(stream controlStream, conn net.Conn) (*tunnelv1.Hello, error) {
	late := time.AfterFunc(helloTimeout, func() { _ = conn.Close() })
	message, err := stream.Recv()
	if !late.Stop() || err != nil {
		return nil, errors.Join(errors.New("awaiting hello"), err)
	}
	hello := message.GetHello()
	switch {
	case hello == nil:
		return nil, refuse(tunnelv1.Goodbye_PROTOCOL, "the first message is not hello")
	case hello.GetProtocol() != 1:
		return nil, refuse(tunnelv1.Goodbye_PROTOCOL, "the agent speaks version %d of the protocol, the proxy 1", hello.GetProtocol())
	case len(hello.GetAgentName()) > 255 || len(hello.GetSoftware()) > 64:
		return nil, refuse(tunnelv1.Goodbye_PROTOCOL, "the agent's name or software is too long")
	case hello.GetMaxLanes() < 1:
		return nil, refuse(tunnelv1.Goodbye_PROTOCOL, "the agent offers no lane")
	}
	return hello, nil
}

// turnAway ends what has not become a session.
func (t *tunnel) turnAway(stream controlStream, s *session, err error) error {
	if errors.Is(err, errSecondControl) {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	t.metrics.sessionsRefused.Inc()
	t.log.Warn("agent turned away", "agent", s.identity.String(), "remote_ip", s.remoteIP, "reason", err.Error())
	t.rejections.turnedAway(s, err)
	var r *refusal
	if errors.As(err, &r) {
		s.goodbye(r)
		// The agent hangs up when it has read why, or is cut off.
		<-stream.Context().Done()
	}
	return nil
}

func (t *tunnel) welcome(s *session, hello *tunnelv1.Hello) {
	t.log.Info("session opened", "session", s.id, "agent", s.identity.String(), "name", s.agent,
		"remote_ip", s.remoteIP, "serial", s.input.Serial, "not_after", s.peer().NotAfter,
		"tls_group", s.peer().GroupName(), "tls_suite", s.peer().SuiteName(), "software", hello.GetSoftware())
	s.post(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Welcome{Welcome: &tunnelv1.Welcome{
		SessionId: s.id, Software: t.software, MaxRoutes: uint32(t.cfg.MaxRoutesPerSession),
	}}})
}

// listen handles the agent's messages until the stream ends.
func (t *tunnel) listen(stream controlStream, s *session) error {
	for {
		message, err := stream.Recv()
		if err != nil {
			if !errors.Is(err, io.EOF) && status.Code(err) != codes.Canceled {
				t.log.Debug("control stream broke", "session", s.id, "error", err)
			}
			return nil
		}
		switch kind := message.GetKind().(type) {
		case *tunnelv1.AgentMessage_Register:
			t.register(stream.Context(), s, kind.Register.GetRoutes())
		case *tunnelv1.AgentMessage_Withdraw:
			t.withdraw(s, kind.Withdraw.GetPaths())
		case *tunnelv1.AgentMessage_Drain:
			if !s.draining.Swap(true) {
				t.log.Info("session draining", "session", s.id, "agent", s.identity.String())
			}
			s.lanes.retire()
		default:
			t.end(s, refuse(tunnelv1.Goodbye_PROTOCOL, "a message that has no place here"))
		}
	}
}

// Lane parks a lane of the connection's session.
func (t *tunnel) Lane(stream grpc.BidiStreamingServer[tunnelv1.LaneReply, tunnelv1.LaneRequest]) error {
	conn, ok := authn.ConnFromContext(stream.Context())
	if !ok {
		return status.Error(codes.Internal, "the connection is unknown")
	}
	s := t.sessions.of(conn)
	if s == nil {
		t.cutWithoutSession(conn)
		return status.Error(codes.FailedPrecondition, "no session has been welcomed on this connection")
	}
	l := newLane(stream, s.keepsHeaders)
	if !s.lanes.add(l) {
		return status.Error(codes.ResourceExhausted, "the session has as many lanes as it may")
	}
	l.park()
	s.lanes.drop(l)
	return nil
}

// unknown refuses a call that the wire contract does not have.
func (t *tunnel) unknown(_ any, stream grpc.ServerStream) error {
	if conn, ok := authn.ConnFromContext(stream.Context()); ok {
		t.cutWithoutSession(conn)
	}
	return status.Error(codes.Unimplemented, "no such call")
}

// cutWithoutSession soon closes a connection that has no session by then. One
// that is kept busy with calls would else outlive MaxConnectionIdle, and there
// could be any number, for only sessions are counted.
func (t *tunnel) cutWithoutSession(conn net.Conn) {
	time.AfterFunc(goodbyeGrace, func() {
		if t.sessions.of(conn) == nil {
			_ = conn.Close()
		}
	})
}

// end closes a session at once: its routes are served no more, its lanes break
// with the scrapes on them, and the agent is told why before the connection is
// cut. Only the first call does anything.
func (p *Proxy) end(s *session, why *refusal) {
	s.once.Do(func() {
		reason, word, level := s.parting(why)
		p.forget(s)
		p.routes.lose(s, time.Now(), oneLine(reason, maxStoryText))
		s.lanes.close()
		if why != nil {
			s.goodbye(why)
		}
		p.metrics.ended.WithLabelValues(word).Inc()
		p.log.Log(context.Background(), level, "session closed", "session", s.id, "agent", s.identity.String(),
			"reason", reason, "lasted", time.Since(s.since).Round(time.Second).String())
	})
}

// parting says why a session ends, in the log's words and in the metric's.
func (s *session) parting(why *refusal) (reason, word string, level slog.Level) {
	switch {
	case why != nil && why.code == tunnelv1.Goodbye_SHUTDOWN:
		return why.Error(), why.endWord(), slog.LevelInfo
	case why != nil:
		return why.Error(), why.endWord(), slog.LevelWarn
	case !s.draining.Load():
		return "the connection broke: the agent crashed or is stopped, or the network between failed", left, slog.LevelWarn
	}
	return "the agent left", left, slog.LevelInfo
}

// hostOf is the address without its port.
func hostOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	return host
}
