package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/seed-951114d4/sallyport/authn"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

const (
	protocolVersion = 1

	maxMessageBytes   = 64 << 10
	maxHeaderListSize = 16 << 10
	// What comes to an agent is small: requests and answers to registrations. The
	// smallest window that gRPC has is enough, and a fixed one spares its probes.
	// How much the agent may send is the proxy's to say.
	windowBytes = 64 << 10

	// A network gone silent is noticed within the sum.
	keepaliveTime    = 15 * time.Second
	keepaliveTimeout = 10 * time.Second

	alertTimeout = 250 * time.Millisecond

	// shakePatience is for how long a proxy may take to shake hands: one to which
	// thousands of agents come back at once takes them in turn, and who gives up in
	// the middle makes it do the same again.
	shakePatience = 30 * time.Second
)

// never is how soon gRPC is to connect again by itself. Its zero would be at once,
// over and over, until whoever waits for the connection has got round to closing it:
// on a machine that is short of time that is what took it.
var never = grpcbackoff.Config{BaseDelay: longPause, MaxDelay: longPause, Multiplier: 1}

var errSecondDial = errors.New("the connection has ended")

// connection is one TLS connection to a proxy. It dials once: gRPC's own
// reconnects would carry lanes over to a session that never said Hello.
type connection struct {
	cc     *grpc.ClientConn
	client tunnelv1.TunnelClient

	mu        sync.Mutex
	dials     int
	dialErr   error
	handshake error
	broken    error // the first that reading met
	proved    *authn.Peer
}

// newConnection prepares a connection on which we show the certificate of that
// material, and on which the proxy is verified by it.
func (a *Agent) newConnection(addr string, material *authn.Material) (*connection, error) {
	c := &connection{}
	creds := authn.TunnelClientCredentials(pinned{material}, a.proxyID)
	cc, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(&notingCredentials{TransportCredentials: creds, connection: c}),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return c.dial(ctx, a.dial, addr) }),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: shakePatience, Backoff: never}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithMaxHeaderListSize(maxHeaderListSize),
		grpc.WithStaticStreamWindowSize(windowBytes),
		grpc.WithStaticConnWindowSize(windowBytes),
		// TLS has read a whole record by then: a buffer between it and the frames
		// would hold 32 KiB and be one more copy.
		grpc.WithReadBufferSize(0),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(tunnelv1.Codec()),
			grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes),
		),
	)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection: %w", err)
	}
	c.cc, c.client = cc, tunnelv1.NewTunnelClient(cc)
	return c, nil
}

func (c *connection) close() { c.cc.Close() }

// peer is the proxy as its handshake proved it.
func (c *connection) peer() *authn.Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proved
}

func (c *connection) dial(ctx context.Context, dial dialFunc, addr string) (net.Conn, error) {
	c.mu.Lock()
	c.dials++
	again := c.dials > 1
	c.mu.Unlock()
	if again {
		return nil, errSecondDial
	}
	conn, err := dial(ctx, "tcp", addr)
	c.note(&c.dialErr, err)
	return conn, err
}

// note keeps the first error of a kind.
func (c *connection) note(kind *error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *kind == nil {
		*kind = err
	}
}

// greet begins the session.
func (c *connection) greet(ctx context.Context, hello *tunnelv1.Hello) (tunnelv1.Tunnel_ControlClient, *tunnelv1.Welcome, error) {
	stream, err := c.client.Control(ctx)
	if err != nil {
		return nil, nil, err
	}
	msg := &tunnelv1.AgentMessage{Kind: &tunnelv1.AgentMessage_Hello{Hello: hello}}
	// A failed Send is io.EOF; Recv has the cause.
	_ = stream.Send(msg)
	answer, err := stream.Recv()
	if err != nil {
		return nil, nil, err
	}
	switch kind := answer.GetKind().(type) {
	case *tunnelv1.ProxyMessage_Welcome:
		return stream, kind.Welcome, nil
	case *tunnelv1.ProxyMessage_Goodbye:
		return nil, nil, newGoodbye(kind.Goodbye)
	}
	return nil, nil, errors.New("the proxy began with something other than a welcome")
}

// judge finds the cause of a session that did not begin. gRPC's own error says
// little more than that the connection is unavailable.
func (c *connection) judge(err error) *connectFault {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.dialErr != nil:
		return &connectFault{result: connectUnreachable, cause: c.dialErr}
	case c.handshake != nil:
		return &connectFault{result: connectHandshake, reason: authn.ReasonOf(c.handshake), cause: c.handshake}
	case c.broken != nil && authn.ReasonOf(c.broken) == authn.Rejected:
		// In TLS 1.3 a client learns only after its handshake that the server
		// refuses its certificate.
		return &connectFault{result: connectHandshake, reason: authn.Rejected, cause: c.broken}
	case c.broken != nil && status.Code(err) == codes.Unavailable:
		return &connectFault{result: connectRefused, cause: c.broken}
	}
	return &connectFault{result: connectRefused, cause: err}
}

// prove keeps who the handshake proved.
func (c *connection) prove(ctx context.Context, info credentials.AuthInfo) error {
	proved, ok := authn.PeerFromContext(peer.NewContext(ctx, &peer.Peer{AuthInfo: info}))
	if !ok {
		return errors.New("the handshake proved nobody")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proved = proved
	return nil
}

// notingCredentials keep the errors of the handshake and of what follows it,
// which gRPC makes into a text or forgets.
type notingCredentials struct {
	credentials.TransportCredentials
	connection *connection
}

func (n *notingCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := n.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		n.connection.note(&n.connection.handshake, err)
		return nil, nil, err
	}
	if err := n.connection.prove(ctx, info); err != nil {
		n.connection.note(&n.connection.handshake, err)
		_ = conn.Close()
		return nil, nil, err
	}
	return &notingConn{Conn: conn, connection: n.connection, unreadable: make(chan struct{})}, info, nil
}

func (n *notingCredentials) Clone() credentials.TransportCredentials {
	return &notingCredentials{TransportCredentials: n.TransportCredentials.Clone(), connection: n.connection}
}

// notingConn keeps the first error that reading meets.
type notingConn struct {
	net.Conn
	connection *connection
	once       sync.Once
	unreadable chan struct{} // closed at that error
}

func (c *notingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.connection.note(&c.connection.broken, err)
		c.once.Do(func() { close(c.unreadable) })
	}
	return n, err
}

// Write gives the reader a moment to find out why a write failed: gRPC closes the
// connection at once, and the alert that says so might never be read.
func (c *notingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		select {
		case <-c.unreadable:
		case <-time.After(alertTimeout):
		}
	}
	return n, err
}
