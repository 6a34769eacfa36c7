package authz

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Document is the input document that the policy sees.
func (in RegisterInput) Document() ast.Value { return in.document() }

// Document is the input document that the policy sees.
func (in ScrapeInput) Document() ast.Value { return in.document() }

// Document is the input document that the policy sees.
func (in AdminInput) Document() ast.Value { return in.document() }

// Document is the input document that the policy sees.
func (in SessionInput) Document() ast.Value { return in.document() }

// JSON is a document as the author of a policy would print it.
func JSON(document ast.Value) ([]byte, error) {
	v, err := ast.JSON(document)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// SchemaOf is the JSON schema of the input of the named action, decoded.
func SchemaOf(name string) (any, error) { return action(name).schema() }

// Samples are the input documents that a policy must answer to load, by action.
func Samples() map[string][]ast.Value {
	byAction := make(map[string][]ast.Value)
	for _, s := range samples() {
		byAction[string(s.action)] = append(byAction[string(s.action)], s.input)
	}
	return byAction
}

// Hook makes register decisions run f in the place of Rego. No Rego can panic or
// stand still at a wanted moment: what would is kept out by the capabilities.
func (p *Policy) Hook(f func()) {
	p.questions[register] = &question{
		rules: []string{ruleAllow},
		eval: func(context.Context, asked, topdown.Cancel) ([]ast.Value, error) {
			f()
			return []ast.Value{ast.Boolean(true)}, nil
		},
	}
}

// ScrapeKey is what a decision on in is kept by, where the policy reads the fields of
// these names.
func ScrapeKey(in ScrapeInput, names ...string) []byte {
	var by fields
	for _, n := range scrapeFields {
		if slices.Contains(names, n.name) {
			by |= n.field
		}
	}
	return in.appendKey(nil, by)
}

// CacheSize is how many decisions are kept, and what they take by the cache's own
// account.
func (p *Policy) CacheSize() (entries, bytes int) {
	for i := range p.cache.shards {
		s := &p.cache.shards[i]
		for _, generation := range []map[string]*cacheEntry{s.young, s.old} {
			entries += len(generation)
			for _, e := range generation {
				bytes += e.size()
			}
		}
	}
	return entries, bytes
}

// Steady are the places of the rules that depend on the agent and the proxy alone.
func (p *Policy) Steady() []string { return p.steady.names(func(int) bool { return true }) }

// Known are the places of those whose values are known of the subject.
func (s *Subject) Known() []string {
	k := s.known.Load()
	return k.policy.steady.names(func(i int) bool { return k.values[i].known() })
}

func (s *steadyRules) names(wanted func(int) bool) []string {
	var names []string
	for _, rules := range s.byName {
		for _, rule := range rules {
			if wanted(rule.number) {
				names = append(names, rule.place.String())
			}
		}
	}
	slices.Sort(names)
	return names
}
