package authz

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The input documents are built as OPA's own values. By way of JSON the register
// document costs five times as much (measured: 34 us against 6 us).

// inputSchema is input.schema: the version of the documents. A field that is added
// leaves it as it is.
const inputSchema = 1

var (
	registerKeys = keys("schema", "action", "now_ns", "proxy", "agent", "route", "state")
	scrapeKeys   = keys("schema", "action", "now_ns", "proxy", "scraper", "request", "route")
	adminKeys    = keys("schema", "action", "now_ns", "proxy", "scraper", "request")
	sessionKeys  = keys("schema", "action", "now_ns", "proxy", "agent")

	proxyKeys = keys("id", "trust_domain")
	agentKeys = keys("id", "kind", "trust_domain", "segments", "name", "serial", "spki_sha256",
		"not_after_ns", "remote_ip", "source")
	claimKeys         = keys("path", "segments", "labels", "target")
	targetKeys        = keys("scheme", "host", "port", "path")
	stateKeys         = keys("owner", "agent_routes", "total_routes")
	scraperKeys       = keys("id", "kind", "trust_domain", "segments", "remote_ip")
	scrapeRequestKeys = keys("query", "timeout_ms")
	scrapeRouteKeys   = keys("path", "segments", "owner", "labels")
	adminRequestKeys  = keys("method", "path")

	schemaTerm   = number(inputSchema)
	registerTerm = text(string(register))
	scrapeTerm   = text(string(scrape))
	adminTerm    = text(string(admin))
	sessionTerm  = text(string(session))
)

func (in RegisterInput) document() ast.Value { return in.part(allFields) }

// part is the document without what a policy does not read: of an offer that is most,
// and to build it would take a fifth of the time of a decision.
func (in RegisterInput) part(read fields) ast.Value {
	agent, proxy := terms(in.subject, in.Agent, in.Proxy)
	var now, state *ast.Term
	if read&fieldNow != 0 {
		now = instant(in.Now)
	}
	if read&fieldState != 0 {
		state = object(stateKeys, text(in.State.Owner), number(int64(in.State.AgentRoutes)),
			number(int64(in.State.TotalRoutes)))
	}
	return object(registerKeys, schemaTerm, registerTerm, now, proxy, agent, in.Route.part(read), state).Value
}

func (c RouteClaim) part(read fields) *ast.Term {
	var path, segments, labels, target *ast.Term
	if read&fieldPath != 0 {
		path = text(c.Path)
	}
	if read&fieldSegments != 0 {
		segments = texts(c.Segments)
	}
	if read&fieldLabels != 0 {
		labels = textMap(c.Labels)
	}
	if read&fieldTarget != 0 {
		target = object(targetKeys, text(c.Target.Scheme), text(c.Target.Host), number(int64(c.Target.Port)),
			text(c.Target.Path))
	}
	return object(claimKeys, path, segments, labels, target)
}

func (in ScrapeInput) document() ast.Value {
	return object(scrapeKeys,
		schemaTerm, scrapeTerm, instant(in.Now), in.Proxy.term(), in.Scraper.term(),
		object(scrapeRequestKeys, queryTerm(in.Request.Query), number(in.Request.Timeout.Milliseconds())),
		object(scrapeRouteKeys, text(in.Route.Path), texts(in.Route.Segments), text(in.Route.Owner),
			textMap(in.Route.Labels)),
	).Value
}

func (in AdminInput) document() ast.Value {
	return object(adminKeys,
		schemaTerm, adminTerm, instant(in.Now), in.Proxy.term(), in.Scraper.term(),
		object(adminRequestKeys, text(in.Request.Method), text(in.Request.Path)),
	).Value
}

func (in SessionInput) document() ast.Value {
	agent, proxy := terms(in.subject, in.Agent, in.Proxy)
	return object(sessionKeys, schemaTerm, sessionTerm, instant(in.Now), proxy, agent).Value
}

// terms are what agent and proxy are to a policy: those of the subject, if it is known.
func terms(s *Subject, agent AgentInput, proxy ProxyInput) (agentTerm, proxyTerm *ast.Term) {
	if s != nil {
		return s.agentTerm, s.proxyTerm
	}
	return agent.term(), proxy.term()
}

func (p ProxyInput) term() *ast.Term {
	return object(proxyKeys, text(p.ID), text(p.TrustDomain))
}

func (a AgentInput) term() *ast.Term {
	return object(agentKeys, text(a.ID), text(a.Kind), text(a.TrustDomain), texts(a.Segments),
		text(a.Name), text(a.Serial), text(a.SPKISHA256), nanoseconds(a.NotAfter), text(a.RemoteIP),
		text(a.Source))
}

func (s ScraperInput) term() *ast.Term {
	return object(scraperKeys, text(s.ID), text(s.Kind), text(s.TrustDomain), texts(s.Segments),
		text(s.RemoteIP))
}

func keys(names ...string) []*ast.Term {
	terms := make([]*ast.Term, len(names))
	for i, name := range names {
		terms[i] = ast.StringTerm(name)
	}
	return terms
}

// object pairs the keys with the values, which stand in the same order. One that is nil
// is left out, and its key.
func object(keys []*ast.Term, values ...*ast.Term) *ast.Term {
	var room [10][2]*ast.Term // for the agent's, which are the most; on the stack
	pairs := room[:0]
	for i, key := range keys {
		if values[i] != nil {
			pairs = append(pairs, ast.Item(key, values[i]))
		}
	}
	return ast.ObjectTerm(pairs...)
}

func text(s string) *ast.Term { return ast.InternedTerm(s) }

func texts(list []string) *ast.Term {
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = text(s)
	}
	return ast.ArrayTerm(terms...)
}

func textMap(m map[string]string) *ast.Term {
	if len(m) == 0 {
		return ast.InternedEmptyObject
	}
	o := ast.NewObjectWithCapacity(len(m))
	for k, v := range m {
		o.Insert(text(k), text(v))
	}
	return ast.NewTerm(o)
}

func queryTerm(query map[string][]string) *ast.Term {
	o := ast.NewObjectWithCapacity(len(query))
	for name, values := range query {
		o.Insert(text(name), texts(values))
	}
	return ast.NewTerm(o)
}

func number(n int64) *ast.Term {
	if i := int(n); int64(i) == n && ast.HasInternedIntNumberTerm(i) {
		return ast.InternedTerm(i)
	}
	return ast.NumberTerm(json.Number(strconv.FormatInt(n, 10)))
}

// instant is the time of a decision: now, unless the asker says otherwise.
func instant(t time.Time) *ast.Term {
	if t.IsZero() {
		t = time.Now()
	}
	return number(t.UnixNano())
}

// nanoseconds of the zero time are not defined; a policy sees 0 for it.
func nanoseconds(t time.Time) *ast.Term {
	if t.IsZero() {
		return number(0)
	}
	return number(t.UnixNano())
}
