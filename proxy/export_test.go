package proxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/seed-951114d4/sallyport/authn"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// Answer gives an agent's messages to the scrape of one lane, as if they had come
// over the network, and says how it ended and whether the lane may be used again.
func Answer(w http.ResponseWriter, limit int64, replies []*tunnelv1.LaneReply) (outcome Outcome, reusable bool, err error) {
	p := &Proxy{cfg: Config{MaxResponse: limit}, log: slog.New(slog.DiscardHandler)}
	p.metrics = &metrics{scraping: scraping{bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "bytes"})}}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	e := exchange{scrapes: scrapes{p}, w: w, ctx: ctx, hangUp: cancel, deadline: time.Now().Add(time.Minute), terms: terms{body: limit, bodyOf: theProxy}, lane: newLane(&script{ctx: ctx, replies: replies}, true)}
	err = e.run(&tunnelv1.ScrapeRequest{Path: "/a"})
	return e.outcome, e.reusable, err
}

// script is a lane's stream whose agent says what was written down.
type script struct {
	grpc.BidiStreamingServer[tunnelv1.LaneReply, tunnelv1.LaneRequest]
	ctx     context.Context
	replies []*tunnelv1.LaneReply
}

func (s *script) Context() context.Context { return s.ctx }

func (s *script) Send(*tunnelv1.LaneRequest) error { return nil }

func (s *script) RecvMsg(m any) error {
	if len(s.replies) == 0 {
		return io.EOF
	}
	encoded, err := tunnelv1.Codec().Marshal(s.replies[0])
	if err != nil {
		return err
	}
	defer encoded.Free()
	s.replies = s.replies[1:]
	return tunnelv1.Codec().Unmarshal(encoded, m)
}

// Hold gives a proxy a session without a network: its agent hears what it is told,
// and its connection is the one that is given.
func Hold(p *Proxy, peer *authn.Peer, conn net.Conn, told func(*tunnelv1.ProxyMessage) error) error {
	s := &session{
		id: peer.Serial(), identity: peer.Identity, conn: conn, since: time.Now(), outbox: newOutbox(told),
		routes: make(map[string]*grant), lanes: newPool(1, func(int) {}),
	}
	s.standing.peer.Store(peer)
	s.input = provedInput(s)
	return (&tunnel{Proxy: p}).admit(context.Background(), s)
}

// JudgePeers judges all sessions by the trust in force.
func JudgePeers(p *Proxy) { p.judgePeers() }
