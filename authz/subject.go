package authz

import (
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Subject is an agent about whom several decisions are made in a row, such as those on
// all routes that it offers. What they have in common is made out once: the part of
// the input that is about the agent, and what the policy concludes from that part
// alone. The decisions are the same as without. A Subject is safe for concurrent use,
// and holds some kilobytes: it is for the row, not for the life of a session.
type Subject struct {
	agent AgentInput
	proxy ProxyInput
	// What agent and proxy are to a policy.
	agentTerm, proxyTerm *ast.Term

	known atomic.Pointer[knowledge]
}

// NewSubject takes agent and proxy as they are now. Their segments must not change any
// more.
func NewSubject(agent AgentInput, proxy ProxyInput) *Subject {
	return &Subject{agent: agent, proxy: proxy, agentTerm: agent.term(), proxyTerm: proxy.term()}
}

// Register is the input of a decision on a route that the agent offers. The agent and
// the proxy of the input are for reading: the decision is on those of s.
func (s *Subject) Register(route RouteClaim, state RouteState, now time.Time) RegisterInput {
	return RegisterInput{Agent: s.agent, Route: route, State: state, Proxy: s.proxy, Now: now, subject: s}
}

// Session is the input of a decision on the agent's session, as with Register.
func (s *Subject) Session(now time.Time) SessionInput {
	return SessionInput{Agent: s.agent, Proxy: s.proxy, Now: now, subject: s}
}

// knowledge is what a policy concluded of a subject: the values of those of its
// steady rules that were asked for. It is immutable.
type knowledge struct {
	policy *Policy
	values []conclusion // by the number of the rule
}

// conclusion is the value of a rule, or that it has none.
type conclusion struct {
	value     *ast.Term
	undefined bool
}

func (c conclusion) known() bool { return c.value != nil || c.undefined }

// conclusions are those of p on the subject; none where another policy was in force.
func (s *Subject) conclusions(p *Policy) []conclusion {
	if k := s.known.Load(); k != nil && k.policy == p {
		return k.values
	}
	return nil
}

// conclude adds what an evaluation that went well came to. Of two at once one may be
// lost, and is made out again.
func (s *Subject) conclude(p *Policy, learned map[int]conclusion) {
	values := make([]conclusion, p.steady.count)
	copy(values, s.conclusions(p))
	for i, c := range learned {
		values[i] = c
	}
	s.known.Store(&knowledge{policy: p, values: values})
}
