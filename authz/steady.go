package authz

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// steadyRules are the rules of a policy that depend on nothing of the input but the
// agent and the proxy: they give the same in every decision about one agent. Which
// they are says [readsOf], from the text of the rules.
type steadyRules struct {
	byName map[string][]steadyRule // by the last part of their place
	count  int
}

type steadyRule struct {
	place  ast.Ref
	number int
}

func steadyOf(c *ast.Compiler) steadyRules {
	s := steadyRules{byName: make(map[string][]steadyRule)}
	for _, m := range c.Modules {
		for _, rule := range m.Rules {
			place := rule.Ref().GroundPrefix()
			name, ok := place[len(place)-1].Value.(ast.String)
			if !ok || len(rule.Head.Args) > 0 || s.number(place) >= 0 {
				continue
			}
			if readsOf(c, registerFields, []ast.Ref{place}) == 0 {
				s.byName[string(name)] = append(s.byName[string(name)], steadyRule{place, s.count})
				s.count++
			}
		}
	}
	return s
}

// number of the steady rule at a place, -1 if there is none.
func (s *steadyRules) number(place ast.Ref) int {
	name, ok := place[len(place)-1].Value.(ast.String)
	if !ok {
		return -1
	}
	for _, rule := range s.byName[string(name)] {
		if rule.place.Equal(place) {
			return rule.number
		}
	}
	return -1
}

// recall is where an evaluation keeps the values of rules, as OPA has it, with what is
// known of the subject already. The evaluator asks it before each rule.
type recall struct {
	topdown.VirtualCache // of this evaluation alone
	policy               *Policy
	subject              *Subject
	known                []conclusion
	learned              map[int]conclusion
	// replaced counts the "with" around what is evaluated: their input is another.
	replaced int
}

func newRecall(p *Policy, s *Subject) *recall {
	return &recall{VirtualCache: topdown.NewVirtualCache(), policy: p, subject: s, known: s.conclusions(p)}
}

// Push is told that a "with" begins.
func (r *recall) Push() {
	r.replaced++
	r.VirtualCache.Push()
}

// Pop is told that a "with" ends.
func (r *recall) Pop() {
	r.replaced--
	r.VirtualCache.Pop()
}

// Get is asked for the value of the rule at a place; true: it has none.
func (r *recall) Get(place ast.Ref) (*ast.Term, bool) {
	if r.replaced == 0 && r.known != nil {
		if i := r.policy.steady.number(place); i >= 0 && r.known[i].known() {
			return r.known[i].value, r.known[i].undefined
		}
	}
	return r.VirtualCache.Get(place)
}

// Put is told the value of the rule at a place, nil if it has none.
func (r *recall) Put(place ast.Ref, value *ast.Term) {
	if r.replaced == 0 {
		if i := r.policy.steady.number(place); i >= 0 {
			if r.learned == nil {
				r.learned = make(map[int]conclusion)
			}
			r.learned[i] = conclusion{value: value, undefined: value == nil}
		}
	}
	r.VirtualCache.Put(place, value)
}

// keep is called when all went well: an evaluation that was cut short, or in which
// rules conflict, may have told of values that do not stand.
func (r *recall) keep() {
	if r.learned != nil {
		r.subject.conclude(r.policy, r.learned)
	}
}
