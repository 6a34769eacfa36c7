package proxy

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// session is one agent connection: one TLS connection, one verified identity,
// one control stream, and the lanes and routes that came over it.
type session struct {
	id       string
	seq      uint64 // a newer session has a larger one
	identity authn.Identity
	standing standing
	conn     net.Conn
	remoteIP string
	agent    string           // a display name, never trusted
	input    authz.AgentInput // but for NotAfter, see agentInput
	since    time.Time
	// keepsHeaders: its lanes need not repeat them.
	keepsHeaders bool

	lanes    *pool
	outbox   *outbox
	draining atomic.Bool
	once     sync.Once

	// routes and ended belong to the table's lock.
	routes map[string]*grant
	ended  bool
}

// post sends a control message, or cuts a connection whose agent reads none.
// It never blocks and takes no lock of ours but the outbox's.
func (s *session) post(message *tunnelv1.ProxyMessage) {
	if !s.outbox.post(message) {
		_ = s.conn.Close()
	}
}

func (s *session) wantLanes(total int) {
	s.post(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_LanesWanted{
		LanesWanted: &tunnelv1.LanesWanted{Total: uint32(total)},
	}})
}

// goodbye tells the agent why its session ends, and cuts the connection soon
// after if the agent does not.
func (s *session) goodbye(why *refusal) {
	s.post(&tunnelv1.ProxyMessage{Kind: &tunnelv1.ProxyMessage_Goodbye{
		Goodbye: &tunnelv1.Goodbye{Code: why.code, Reason: why.reason},
	}})
	time.AfterFunc(goodbyeGrace, func() { _ = s.conn.Close() })
}

// sessions knows the session of every connection.
type sessions struct {
	max, perIdentity int

	mu         sync.RWMutex
	byConn     map[net.Conn]*session
	byIdentity map[authn.Identity]int
	seq        uint64
	closing    bool
}

func newSessions(limit, perIdentity int) *sessions {
	return &sessions{
		max: limit, perIdentity: perIdentity,
		byConn: make(map[net.Conn]*session), byIdentity: make(map[authn.Identity]int),
	}
}

// refusal is why a session is not admitted or ends, as Goodbye tells the agent.
type refusal struct {
	code   tunnelv1.Goodbye_Code
	reason string
	// word is the metric's, where that of the code does not say enough.
	word string
	// cause is for our own log.
	cause error
}

func (r *refusal) Error() string {
	if r.cause != nil {
		return r.reason + ": " + r.cause.Error()
	}
	return r.reason
}

// left is the word for a session that its agent ended, or the network.
const left = "agent_left"

// endWords are those of the codes.
var endWords = map[tunnelv1.Goodbye_Code]string{
	tunnelv1.Goodbye_REFUSED:  "policy",
	tunnelv1.Goodbye_PROTOCOL: "protocol",
	tunnelv1.Goodbye_SHUTDOWN: "shutdown",
	tunnelv1.Goodbye_LIMIT:    "limit",
}

func (r *refusal) endWord() string {
	if r.word != "" {
		return r.word
	}
	return endWords[r.code]
}

func refuse(code tunnelv1.Goodbye_Code, format string, args ...any) *refusal {
	return &refusal{code: code, reason: fmt.Sprintf(format, args...)}
}

var errSecondControl = errors.New("this connection has a session already")

// admit takes a session in, unless there are too many.
func (m *sessions) admit(s *session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := s.identity
	switch {
	case m.closing:
		return refuse(tunnelv1.Goodbye_SHUTDOWN, "the proxy is stopping")
	case m.byConn[s.conn] != nil:
		return errSecondControl
	case len(m.byConn) >= m.max:
		return refuse(tunnelv1.Goodbye_LIMIT, "the proxy has %d sessions, as many as it takes", m.max)
	case m.byIdentity[id] >= m.perIdentity:
		return refuse(tunnelv1.Goodbye_LIMIT, "%s has %d sessions, as many as one identity may have", id, m.perIdentity)
	}
	m.seq++
	s.seq = m.seq
	m.byConn[s.conn] = s
	m.byIdentity[id]++
	return nil
}

func (m *sessions) remove(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byConn[s.conn] != s {
		return
	}
	delete(m.byConn, s.conn)
	id := s.identity
	if m.byIdentity[id]--; m.byIdentity[id] == 0 {
		delete(m.byIdentity, id)
	}
}

// of returns the session that runs over conn, or nil.
func (m *sessions) of(conn net.Conn) *session {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.byConn[conn]
}

func (m *sessions) all() []*session {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make([]*session, 0, len(m.byConn))
	for _, s := range m.byConn {
		all = append(all, s)
	}
	return all
}

func (m *sessions) count() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.byConn)
}

// close admits no more sessions and returns those that there are.
func (m *sessions) close() []*session {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	return m.all()
}

// pick chooses the grant of the least busy session that takes scrapes, of the
// newer one where two tie; nil if there is none.
func pick(grants []*grant) *grant {
	var best *grant
	var least int
	for _, g := range grants {
		s := g.session
		if s.draining.Load() {
			continue
		}
		load := s.lanes.load()
		if best == nil || load < least || load == least && s.seq > best.session.seq {
			best, least = g, load
		}
	}
	return best
}
