package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/policy"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
	"github.com/seed-951114d4/sallyport/proxy"
)

func diffCommand(flags *flag.FlagSet) action {
	routes := flags.String("routes", "", "`FILE` with what a running proxy answers to /api/v1/routes, - for standard input")
	trustDomain := flags.String("trust-domain", "", "trust `DOMAIN` of the proxy (default that of all agents)")
	key := flags.String("key", "", "public key in a `FILE`: a bundle must be signed with it")
	return func(ctx context.Context, c call) error {
		if *routes == "" {
			return usageError{errors.New("want --routes: curl -s http://127.0.0.1:8092/api/v1/routes gives them")}
		}
		d, err := newComparison(ctx, c, *routes, *trustDomain, *key)
		if err != nil {
			var mistake usageError
			if errors.As(err, &mistake) {
				return err
			}
			return undecided{err}
		}
		d.compare(ctx)
		d.tell(c.stdout)
		if d.revoked > 0 {
			return answerNo{}
		}
		return nil
	}
}

// comparison asks two policies about the routes of a running proxy.
type comparison struct {
	old, new *authz.Policy
	proxy    authz.ProxyInput
	now      time.Time
	routes   []proxy.RouteInfo // those that are served, by session
	gone     int
	total    int            // paths
	owned    map[string]int // paths by owner

	lines                             map[string]bool
	revoked, changed, allowed, denied int
}

func newComparison(ctx context.Context, c call, routes, trustDomain, key string) (*comparison, error) {
	d := &comparison{now: time.Now(), owned: make(map[string]int), lines: make(map[string]bool)}
	var err error
	if d.old, err = loadEither(ctx, c.operands[0], key); err != nil {
		return nil, fmt.Errorf("%s: %w", c.operands[0], err)
	}
	if d.new, err = loadEither(ctx, c.operands[1], key); err != nil {
		return nil, fmt.Errorf("%s: %w", c.operands[1], err)
	}
	content, err := readFile(routes, c.stdin)
	if err != nil {
		return nil, fmt.Errorf("reading routes: %w", err)
	}
	var answer struct {
		Data *[]proxy.RouteInfo `json:"data"`
		Next string             `json:"next"`
	}
	if err := json.Unmarshal(content, &answer); err != nil {
		return nil, fmt.Errorf("reading routes: %w", err)
	}
	if answer.Data == nil {
		return nil, errors.New(`reading routes: no list under "data": is this the answer of /api/v1/routes?`)
	}
	if answer.Next != "" {
		return nil, errors.New("reading routes: this is one page of several: ask /api/v1/routes without a limit")
	}
	if err := d.take(*answer.Data); err != nil {
		return nil, err
	}
	return d, d.place(trustDomain)
}

// loadEither takes the key for a bundle and leaves it out for what cannot be signed:
// one of two policies may well be a draft in a folder.
func loadEither(ctx context.Context, name, key string) (*authz.Policy, error) {
	place, err := policy.Find(name, "")
	if err != nil {
		return nil, err
	}
	if place.Kind() != "bundle" {
		key = ""
	}
	return load(ctx, name, key)
}

// take sorts out what is served.
func (d *comparison) take(routes []proxy.RouteInfo) error {
	paths := make(map[string]bool)
	for _, r := range routes {
		switch {
		case r.State != "served":
			d.gone++
			continue
		case r.Agent == nil || r.Target == nil:
			return fmt.Errorf("reading routes: %.64q has no agent or no target", r.Path)
		}
		d.routes = append(d.routes, r)
		if !paths[r.Path] {
			paths[r.Path] = true
			d.owned[r.Owner]++
		}
	}
	d.total = len(paths)
	slices.SortStableFunc(d.routes, func(a, b proxy.RouteInfo) int { return cmp.Compare(a.Session, b.Session) })
	return nil
}

// place says who the proxy is.
func (d *comparison) place(trustDomain string) error {
	domains := make(map[string]bool)
	for _, r := range d.routes {
		if r.Agent.TrustDomain != "" {
			domains[r.Agent.TrustDomain] = true
		}
	}
	if trustDomain == "" && len(domains) > 1 {
		return usageError{fmt.Errorf("the agents are of %s: say with --trust-domain of which the proxy is",
			strings.Join(slices.Sorted(maps.Keys(domains)), ", "))}
	}
	for domain := range domains {
		trustDomain = or(trustDomain, domain)
	}
	if trustDomain != "" {
		d.proxy = authz.ProxyInput{ID: "spiffe://" + trustDomain + "/proxy", TrustDomain: trustDomain}
	}
	return nil
}

// compare judges the routes session by session, as the proxy does.
func (d *comparison) compare(ctx context.Context) {
	for routes := d.routes; len(routes) > 0; {
		n := slices.IndexFunc(routes, func(r proxy.RouteInfo) bool { return r.Session != routes[0].Session })
		if n < 0 {
			n = len(routes)
		}
		d.compareSession(ctx, routes[:n])
		routes = routes[n:]
	}
}

func (d *comparison) compareSession(ctx context.Context, routes []proxy.RouteInfo) {
	before, after := d.decide(ctx, d.old, routes), d.decide(ctx, d.new, routes)
	for i, r := range routes {
		d.judge(r, before[i], after[i])
	}
}

// decide answers for each route of one session.
func (d *comparison) decide(ctx context.Context, p *authz.Policy, routes []proxy.RouteInfo) []authz.Decision {
	decisions := make([]authz.Decision, len(routes))
	session := p.Session(ctx, authz.SessionInput{Agent: agentOf(routes[0].Agent), Proxy: d.proxy, Now: d.now})
	kept := int64(0)
	for i, r := range routes {
		if decisions[i] = session; !session.Allow {
			continue
		}
		route := p.Register(ctx, d.registration(r))
		most := route.Limits.MaxRoutes
		switch {
		case route.Allow && most > 0 && kept >= most:
			route = authz.Decision{Reasons: []string{fmt.Sprintf("the session holds more routes than its max_routes of %d", most)}}
		case route.Allow:
			kept++
		}
		decisions[i] = route
	}
	return decisions
}

// judge notes what a route would lose or gain. What sessions of one agent share is
// noted once.
func (d *comparison) judge(r proxy.RouteInfo, before, after authz.Decision) {
	who := r.Path + "  " + r.Agent.ID
	switch {
	case before.Allow && !after.Allow:
		d.note(&d.revoked, "- "+who+because(after))
	case !before.Allow && !after.Allow:
		d.note(&d.denied, "! "+who+": both deny it"+because(after))
	case !before.Allow:
		d.note(&d.allowed, "+ "+who)
	default:
		var changes []string
		if a, b := labelsText(before.Labels), labelsText(after.Labels); a != b {
			changes = append(changes, fmt.Sprintf("labels %s become %s", or(a, "none"), or(b, "none")))
		}
		if a, b := limitsText(before.Limits), limitsText(after.Limits); a != b {
			changes = append(changes, fmt.Sprintf("limits %s become %s", or(a, "none"), or(b, "none")))
		}
		if len(changes) > 0 {
			d.note(&d.changed, "~ "+who+": "+strings.Join(changes, "; "))
		}
	}
}

func (d *comparison) note(count *int, line string) {
	if !d.lines[line] {
		d.lines[line] = true
		*count++
	}
}

func because(after authz.Decision) string {
	switch {
	case len(after.Reasons) > 0:
		return ": " + strings.Join(after.Reasons, "; ")
	case after.Fault != nil:
		return ": " + after.Fault.Error()
	}
	return ""
}

func (d *comparison) tell(w io.Writer) {
	for _, line := range slices.SortedFunc(maps.Keys(d.lines), func(a, b string) int {
		return cmp.Or(cmp.Compare(a[2:], b[2:]), cmp.Compare(a, b))
	}) {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintf(w, "%d routes: %d revoked, %d with other labels or limits", d.total, d.revoked, d.changed)
	if d.allowed > 0 {
		fmt.Fprintf(w, ", %d that the old policy denies", d.allowed)
	}
	if d.denied > 0 {
		fmt.Fprintf(w, ", %d that both deny", d.denied)
	}
	if d.gone > 0 {
		fmt.Fprintf(w, "; %d more are not judged, their agent is gone", d.gone)
	}
	fmt.Fprintln(w)
}

// registration is the question that the proxy asks about a route that it has.
func (d *comparison) registration(r proxy.RouteInfo) authz.RegisterInput {
	return authz.RegisterInput{
		Agent: agentOf(r.Agent),
		Route: authz.RouteClaim{
			Path: r.Path, Segments: tunnelv1.Segments(r.Path), Labels: r.Claimed, Target: authz.TargetClaim(*r.Target),
		},
		// The route itself does not count.
		State: authz.RouteState{Owner: r.Owner, AgentRoutes: d.owned[r.Owner] - 1, TotalRoutes: d.total - 1},
		Proxy: d.proxy,
		Now:   d.now,
	}
}

func agentOf(a *proxy.AgentInfo) authz.AgentInput {
	in := authz.AgentInput{
		ID: a.ID, Kind: a.Kind, TrustDomain: a.TrustDomain, Name: a.Name, Serial: a.Serial, SPKISHA256: a.SPKISHA256,
		NotAfter: a.NotAfter, RemoteIP: a.RemoteIP, Source: a.Source,
	}
	// An identity that a proxy took in parses; segments of no other do harm.
	if id, err := parseIdentity(a.ID); err == nil {
		in.Segments = id.Segments()
	}
	return in
}
