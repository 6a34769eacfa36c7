package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/seed-951114d4/sallyport/authz"
)

// evaluation is what policy eval is asked to do.
type evaluation struct {
	action, agent, scraper string
	path, owner            string
	trustDomain, file, key string
	explain, print         bool
}

func evalCommand(flags *flag.FlagSet) action {
	var e evaluation
	flags.StringVar(&e.action, "action", "", "the question: session, register, scrape or admin (default scrape where there is a --scraper, else register)")
	flags.StringVar(&e.agent, "agent", "", "`ID` of the agent: spiffe://example.org/team-a, a DNS name, or a path such as /team-a with --trust-domain")
	flags.StringVar(&e.scraper, "scraper", "", "`ID` of the scraper, or anonymous")
	flags.StringVar(&e.path, "path", "", "`PATH` of the route; for admin of the request")
	flags.StringVar(&e.owner, "owner", "", "`ID` of the agent that holds the route")
	flags.StringVar(&e.trustDomain, "trust-domain", "", "trust `DOMAIN` of the proxy (default that of the agent or scraper)")
	flags.StringVar(&e.file, "input", "", "`FILE` with an input document or parts of one as JSON, - for standard input; the flags come on top")
	flags.BoolVar(&e.explain, "explain", false, "list the rules that fired")
	flags.BoolVar(&e.print, "print-input", false, "print the input document as JSON instead, to change it and give it back with --input")
	flags.StringVar(&e.key, "key", "", keyHelp)
	return func(ctx context.Context, c call) error {
		err := e.run(ctx, c)
		var mistake usageError
		if err == nil || errors.As(err, &mistake) || errors.Is(err, answerNo{}) {
			return err
		}
		return undecided{err}
	}
}

func (e evaluation) run(ctx context.Context, c call) error {
	q := &question{Schema: 1}
	if e.file != "" {
		if err := readQuestion(e.file, c.stdin, q); err != nil {
			return fmt.Errorf("reading input: %w", err)
		}
	}
	e.apply(q)
	input, err := q.input()
	if err != nil {
		return usageError{err}
	}
	if e.print {
		return json.NewEncoder(c.stdout).Encode(q)
	}
	p, err := load(ctx, c.operands[0], e.key)
	if err != nil {
		return err
	}
	explanation := p.Explain(ctx, input)
	tellDecision(c.stdout, explanation.Decision)
	if digested, ok := input.(interface{ Digest() string }); ok {
		fmt.Fprintf(c.stdout, "  input     %s\n", digested.Digest())
	}
	if e.explain {
		tellRules(c.stdout, explanation.Rules)
	}
	if !explanation.Decision.Allow {
		return answerNo{}
	}
	return nil
}

// apply puts the flags on top of what the file says.
func (e evaluation) apply(q *question) {
	switch {
	case e.action != "":
		q.Action = e.action
	case q.Action == "" && e.scraper != "":
		q.Action = "scrape"
	case q.Action == "":
		q.Action = "register"
	}
	if e.trustDomain != "" {
		q.Proxy = proxyQuestion{TrustDomain: e.trustDomain}
	}
	if e.agent != "" {
		q.Agent = &agentQuestion{scraperQuestion: scraperQuestion{ID: e.wholeID(e.agent)}}
	}
	if e.scraper != "" {
		q.Scraper = &scraperQuestion{ID: strings.TrimPrefix(e.wholeID(e.scraper), "anonymous")}
	}
	if e.path != "" && q.Action == "admin" {
		q.Request = &requestQuestion{Path: e.path}
	} else if e.path != "" {
		route := routeQuestion{Path: e.path}
		if q.Route != nil {
			route.Labels, route.Owner, route.Target = q.Route.Labels, q.Route.Owner, q.Route.Target
		}
		q.Route = &route
	}
	if e.owner == "" {
		return
	}
	if q.Action == "register" {
		if q.State == nil {
			q.State = &stateQuestion{}
		}
		q.State.Owner = e.wholeID(e.owner)
	} else if q.Route != nil {
		q.Route.Owner = e.wholeID(e.owner)
	}
}

// wholeID completes the path of an ID with the trust domain.
func (e evaluation) wholeID(id string) string {
	if strings.HasPrefix(id, "/") && e.trustDomain != "" {
		return "spiffe://" + e.trustDomain + id
	}
	return id
}

// readQuestion reads a document of which nothing is unknown.
func readQuestion(name string, stdin io.Reader, q *question) error {
	content, err := readFile(name, stdin)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	return decoder.Decode(q)
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

func tellDecision(w io.Writer, d authz.Decision) {
	verdict := "denied"
	if d.Allow {
		verdict = "allowed"
	}
	fmt.Fprintln(w, verdict)
	if d.Fault != nil {
		fmt.Fprintf(w, "  because   %v\n", d.Fault)
	}
	for _, reason := range d.Reasons {
		fmt.Fprintf(w, "  reason    %s\n", reason)
	}
	if limits := limitsText(d.Limits); limits != "" {
		fmt.Fprintf(w, "  limits    %s\n", limits)
	}
	if len(d.Labels) > 0 {
		fmt.Fprintf(w, "  labels    %s\n", labelsText(d.Labels))
	}
	fmt.Fprintf(w, "  revision  %s\n", d.Revision)
}

func tellRules(w io.Writer, rules []authz.FiredRule) {
	if len(rules) == 0 {
		fmt.Fprintln(w, "no rule fired")
		return
	}
	fmt.Fprintln(w, "rules that fired, each behind those that it asked:")
	for _, rule := range rules {
		fmt.Fprintf(w, "  %s:%d  %s = %s\n", rule.File, rule.Line, rule.Name, rule.Value)
	}
}

func limitsText(l authz.Limits) string {
	var parts []string
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"max_body_bytes", l.MaxBodyBytes},
		{"max_inflight", l.MaxInflight},
		{"max_timeout_ms", l.MaxTimeout.Milliseconds()},
		{"max_routes", l.MaxRoutes},
	} {
		if limit.value != 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", limit.name, limit.value))
		}
	}
	return strings.Join(parts, ", ")
}

func labelsText(labels map[string]string) string {
	parts := make([]string, 0, len(labels))
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, fmt.Sprintf("%s=%q", name, labels[name]))
	}
	return strings.Join(parts, ", ")
}
