package authz

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Input is a question to the policy: a [RegisterInput], [ScrapeInput], [AdminInput]
// or [SessionInput].
type Input interface {
	document() ast.Value
	action() action
}

func (RegisterInput) action() action { return register }
func (ScrapeInput) action() action   { return scrape }
func (AdminInput) action() action    { return admin }
func (SessionInput) action() action  { return session }

// Explanation is a decision and how it came about.
type Explanation struct {
	Decision Decision
	// Rules are those that gave a value, each value once and in the order in which
	// they came: a rule stands behind those that it asked. At most 1,000.
	Rules []FiredRule
}

// FiredRule is a rule or function that gave a value.
type FiredRule struct {
	Name  string // as in data.sallyport.register.allow; a function with its arguments
	File  string
	Line  int
	Value string // as JSON, sets as arrays, at most 1 KiB; of a set, the one member
}

const (
	maxFired      = 1_000
	maxFiredBytes = 1 << 10
	// explainPatience is how much longer an evaluation may take that is watched.
	explainPatience = 20
)

// Explain decides as the proxy would, though never from what is kept, and says which
// rules fired. It asks twice and watches the second time, so it is for people: the
// decision is that of the first.
func (p *Policy) Explain(ctx context.Context, in Input) Explanation {
	document := in.document()
	e := Explanation{Decision: p.decide(ctx, in.action(), asked{input: document})}
	if e.Decision.Fault != nil {
		e.Decision.Fault = explainedFault{e.Decision.Fault}
	}
	if p == nil || p.questions[in.action()] == nil || p.acquire(ctx) != nil {
		return e
	}
	defer func() { <-p.slots }()
	w := watcher{seen: make(map[FiredRule]bool)}
	// What went wrong is in the decision already.
	_, _ = p.questions[in.action()].ask(ctx, asked{input: document, tracer: &w}, explainPatience*p.timeout)
	e.Rules = w.fired
	return e
}

// watcher notes the rules of an evaluation as they give their values.
type watcher struct {
	fired []FiredRule
	seen  map[FiredRule]bool
}

func (w *watcher) Enabled() bool { return true }

func (w *watcher) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

func (w *watcher) TraceEvent(e topdown.Event) {
	rule, ok := e.Node.(*ast.Rule)
	if !ok || e.Op != topdown.ExitOp || len(w.fired) >= maxFired {
		return
	}
	value := rule.Head.Value
	if rule.Head.RuleKind() == ast.MultiValue {
		value = rule.Head.Key
	}
	fired := FiredRule{Name: firedName(rule, e.Plug), Value: "true"}
	if value != nil {
		fired.Value = firedValue(e.Plug(value))
	}
	if loc := rule.Loc(); loc != nil {
		fired.File, fired.Line = loc.File, loc.Row
	}
	if !w.seen[fired] {
		w.seen[fired] = true
		w.fired = append(w.fired, fired)
	}
}

// firedName is the rule's own place in data, with the values that its variables had.
func firedName(rule *ast.Rule, plug func(*ast.Term) *ast.Term) string {
	place := rule.Ref().Copy()
	if rule.Head.RuleKind() == ast.MultiValue {
		// "reasons contains x" and "reasons[x] contains y" name the set.
		place = place.GroundPrefix()
	}
	for i, t := range place[1:] {
		place[i+1] = plug(t)
	}
	name := place.String()
	if len(rule.Head.Args) > 0 {
		args := make([]string, len(rule.Head.Args))
		for i, arg := range rule.Head.Args {
			args[i] = firedValue(plug(arg))
		}
		name += "(" + strings.Join(args, ", ") + ")"
	}
	return shorten(name)
}

func firedValue(t *ast.Term) string {
	v, err := ast.JSON(t.Value)
	if err != nil {
		return shorten(t.String()) // a variable without a value
	}
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return shorten(t.String())
	}
	return shorten(printable(strings.TrimSuffix(out.String(), "\n")))
}

// printable writes a JSON document so that it is harmless on a terminal: what does not
// print can only be in its strings, where another way to write it means the same.
func printable(document string) string {
	if !strings.ContainsFunc(document, unprintable) {
		return document
	}
	var out strings.Builder
	for _, r := range document {
		switch {
		case !unprintable(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// explainedFault is a fault as a terminal may show it: it can quote what an agent chose.
type explainedFault struct{ error }

func (f explainedFault) Unwrap() error { return f.error }

func (f explainedFault) Error() string {
	return strings.Map(func(r rune) rune {
		if unprintable(r) && r != '\n' {
			return utf8.RuneError
		}
		return r
	}, f.error.Error())
}

func shorten(s string) string {
	const ellipsis = "…"
	if len(s) <= maxFiredBytes {
		return s
	}
	end := maxFiredBytes - len(ellipsis)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}
