package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// question is an input document, as contracts and audit logs have it. What it does
// not say is filled in with what a real question would have.
type question struct {
	Schema  int              `json:"schema"`
	Action  string           `json:"action"`
	NowNS   int64            `json:"now_ns"`
	Proxy   proxyQuestion    `json:"proxy"`
	Agent   *agentQuestion   `json:"agent,omitempty"`
	Scraper *scraperQuestion `json:"scraper,omitempty"`
	Request *requestQuestion `json:"request,omitempty"`
	Route   *routeQuestion   `json:"route,omitempty"`
	State   *stateQuestion   `json:"state,omitempty"`
}

type proxyQuestion struct {
	ID          string `json:"id"`
	TrustDomain string `json:"trust_domain"`
}

type agentQuestion struct {
	scraperQuestion
	Name       string `json:"name"`
	Serial     string `json:"serial"`
	SPKISHA256 string `json:"spki_sha256"`
	NotAfterNS int64  `json:"not_after_ns"`
	Source     string `json:"source"`
}

type scraperQuestion struct {
	ID          string   `json:"id"`
	Kind        string   `json:"kind"`
	TrustDomain string   `json:"trust_domain"`
	Segments    []string `json:"segments"`
	RemoteIP    string   `json:"remote_ip"`
}

type requestQuestion struct {
	Query     map[string][]string `json:"query,omitempty"`
	TimeoutMS int64               `json:"timeout_ms,omitempty"`
	Method    string              `json:"method,omitempty"`
	Path      string              `json:"path,omitempty"`
}

type routeQuestion struct {
	Path     string            `json:"path"`
	Segments []string          `json:"segments"`
	Owner    string            `json:"owner,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Target   *targetQuestion   `json:"target,omitempty"`
}

type targetQuestion struct {
	Scheme string `json:"scheme"`
	Host   string `json:"host"`
	Port   int    `json:"port"`
	Path   string `json:"path"`
}

type stateQuestion struct {
	Owner       string `json:"owner"`
	AgentRoutes int    `json:"agent_routes"`
	TotalRoutes int    `json:"total_routes"`
}

// builders make the input of each action.
var builders = map[string]func(*question) (authz.Input, error){
	"session":  (*question).session,
	"register": (*question).register,
	"scrape":   (*question).scrape,
	"admin":    (*question).admin,
}

// input is what the policy is asked.
func (q *question) input() (authz.Input, error) {
	build, ok := builders[q.Action]
	if !ok {
		return nil, fmt.Errorf("the action is none of %s", strings.Join(slices.Sorted(maps.Keys(builders)), ", "))
	}
	if q.NowNS == 0 {
		q.NowNS = time.Now().UnixNano()
	}
	return build(q)
}

func (q *question) now() time.Time { return time.Unix(0, q.NowNS) }

func (q *question) session() (authz.Input, error) {
	agent, err := q.agent()
	if err != nil {
		return nil, err
	}
	return authz.SessionInput{Agent: agent, Proxy: authz.ProxyInput(q.Proxy), Now: q.now()}, nil
}

func (q *question) register() (authz.Input, error) {
	agent, err := q.agent()
	if err != nil {
		return nil, err
	}
	if err := q.completeRoute(); err != nil {
		return nil, err
	}
	if q.Route.Target == nil {
		q.Route.Target = &targetQuestion{Scheme: "http", Host: "127.0.0.1", Port: 9100, Path: "/metrics"}
	}
	if q.State == nil {
		q.State = &stateQuestion{}
	}
	return authz.RegisterInput{
		Agent: agent,
		Route: authz.RouteClaim{
			Path: q.Route.Path, Segments: q.Route.Segments, Labels: q.Route.Labels,
			Target: authz.TargetClaim(*q.Route.Target),
		},
		State: authz.RouteState(*q.State),
		Proxy: authz.ProxyInput(q.Proxy), Now: q.now(),
	}, nil
}

func (q *question) scrape() (authz.Input, error) {
	scraper, err := q.scraper()
	if err != nil {
		return nil, err
	}
	if err := q.completeRoute(); err != nil {
		return nil, err
	}
	if q.Request == nil {
		q.Request = &requestQuestion{TimeoutMS: 10_000}
	}
	return authz.ScrapeInput{
		Scraper: scraper,
		Request: authz.ScrapeRequest{Query: q.Request.Query, Timeout: time.Duration(q.Request.TimeoutMS) * time.Millisecond},
		Route: authz.ScrapeRoute{
			Path: q.Route.Path, Segments: q.Route.Segments, Owner: q.Route.Owner, Labels: q.Route.Labels,
		},
		Proxy: authz.ProxyInput(q.Proxy), Now: q.now(),
	}, nil
}

func (q *question) admin() (authz.Input, error) {
	scraper, err := q.scraper()
	if err != nil {
		return nil, err
	}
	if q.Request == nil || q.Request.Path == "" {
		return nil, errors.New("no path")
	}
	if q.Request.Method == "" {
		q.Request.Method = "GET"
	}
	return authz.AdminInput{
		Scraper: scraper,
		Request: authz.AdminRequest{Method: q.Request.Method, Path: q.Request.Path},
		Proxy:   authz.ProxyInput(q.Proxy), Now: q.now(),
	}, nil
}

func (q *question) agent() (authz.AgentInput, error) {
	a := q.Agent
	if a == nil || a.ID == "" {
		return authz.AgentInput{}, errors.New("no agent")
	}
	if err := q.completePeer(&a.scraperQuestion); err != nil {
		return authz.AgentInput{}, fmt.Errorf("agent: %w", err)
	}
	a.Name = or(a.Name, "agent")
	a.Serial = or(a.Serial, "01")
	a.SPKISHA256 = or(a.SPKISHA256, strings.Repeat("0", 64))
	a.Source = or(a.Source, "files")
	if a.NotAfterNS == 0 {
		a.NotAfterNS = q.now().Add(24 * time.Hour).UnixNano()
	}
	return authz.AgentInput{
		ID: a.ID, Kind: a.Kind, TrustDomain: a.TrustDomain, Segments: a.Segments, Name: a.Name, Serial: a.Serial,
		SPKISHA256: a.SPKISHA256, NotAfter: time.Unix(0, a.NotAfterNS), RemoteIP: a.RemoteIP, Source: a.Source,
	}, nil
}

func (q *question) scraper() (authz.ScraperInput, error) {
	if q.Scraper == nil {
		return authz.ScraperInput{}, errors.New("no scraper")
	}
	if err := q.completePeer(q.Scraper); err != nil {
		return authz.ScraperInput{}, fmt.Errorf("scraper: %w", err)
	}
	return authz.ScraperInput(*q.Scraper), nil
}

// completePeer fills in what follows from the identity, and who the proxy is: of the
// peer's own trust domain, unless that is said.
func (q *question) completePeer(p *scraperQuestion) error {
	id := authn.AnonymousIdentity()
	if p.ID != "" {
		var err error
		if id, err = parseIdentity(p.ID); err != nil {
			return err
		}
	}
	p.Kind, p.TrustDomain = or(p.Kind, id.Kind().String()), or(p.TrustDomain, id.TrustDomain())
	if p.Segments == nil {
		p.Segments = id.Segments()
	}
	p.RemoteIP = or(p.RemoteIP, "127.0.0.1")
	q.Proxy.TrustDomain = or(q.Proxy.TrustDomain, p.TrustDomain)
	if q.Proxy.TrustDomain != "" {
		q.Proxy.ID = or(q.Proxy.ID, "spiffe://"+q.Proxy.TrustDomain+"/proxy")
	}
	return nil
}

func (q *question) completeRoute() error {
	if q.Route == nil || q.Route.Path == "" {
		return errors.New("no path")
	}
	if err := tunnelv1.CheckPath(q.Route.Path); err != nil {
		return fmt.Errorf("no agent can offer %.64q, and no scraper ask for it: %w", q.Route.Path, err)
	}
	if q.Route.Segments == nil {
		q.Route.Segments = tunnelv1.Segments(q.Route.Path)
	}
	return nil
}

// parseIdentity reads a SPIFFE ID or a DNS name.
func parseIdentity(text string) (authn.Identity, error) {
	if !strings.Contains(text, "://") {
		return authn.DNSIdentity(text)
	}
	id, err := spiffeid.FromString(text)
	if err != nil {
		return authn.Identity{}, err
	}
	return authn.SPIFFEIdentity(id)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
