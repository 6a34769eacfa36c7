package authz

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// fields is a set of parts of the input of a scrape, or of that of a registration.
type fields uint32

const (
	fieldNow fields = 1 << iota
	fieldProxyID
	fieldProxyTrustDomain
	fieldScraperID
	fieldScraperKind
	fieldScraperTrustDomain
	fieldScraperSegments
	fieldScraperRemoteIP
	fieldQuery
	fieldTimeout
	fieldPath
	fieldSegments
	fieldOwner
	fieldLabels
	fieldAction
	fieldTarget
	fieldState

	allFields fields = 1<<iota - 1
)

// inputField is a field and its place in an input.
type inputField struct {
	name  string
	field fields
}

// scrapeFields are those of the input of a scrape. Schema and action are the same in
// every input, so whoever reads them has read nothing.
var scrapeFields = []inputField{
	{"schema", 0},
	{"action", 0},
	{"now_ns", fieldNow},
	{"proxy.id", fieldProxyID},
	{"proxy.trust_domain", fieldProxyTrustDomain},
	{"scraper.id", fieldScraperID},
	{"scraper.kind", fieldScraperKind},
	{"scraper.trust_domain", fieldScraperTrustDomain},
	{"scraper.segments", fieldScraperSegments},
	{"scraper.remote_ip", fieldScraperRemoteIP},
	{"request.query", fieldQuery},
	{"request.timeout_ms", fieldTimeout},
	{"route.path", fieldPath},
	{"route.segments", fieldSegments},
	{"route.owner", fieldOwner},
	{"route.labels", fieldLabels},
}

// registerFields are those of the input of a registration, but for what is the same in
// all of one agent. The action is a field, since the input of a session has those too.
var registerFields = []inputField{
	{"schema", 0},
	{"proxy", 0},
	{"agent", 0},
	{"action", fieldAction},
	{"now_ns", fieldNow},
	{"route.path", fieldPath},
	{"route.segments", fieldSegments},
	{"route.labels", fieldLabels},
	{"route.target", fieldTarget},
	{"state", fieldState},
}

// names of the fields in the set, in the order of the input.
func (f fields) names() []string {
	names := []string{}
	for _, n := range scrapeFields {
		if f&n.field != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// fieldsAt are those of the fields of an input that are at, above or below a place of
// it. A key that is not known before the evaluation stands for every key, and so does a
// place that is none of them: better one field too many than one too few.
func fieldsAt(of []inputField, ref ast.Ref) fields {
	var keys []string
	for _, t := range ref[1:] {
		key, ok := t.Value.(ast.String)
		if !ok {
			break
		}
		keys = append(keys, string(key))
	}
	if len(keys) == 0 {
		return allFields
	}
	place := strings.Join(keys, ".")
	var found fields
	known := false
	for _, n := range of {
		if n.name == place || strings.HasPrefix(n.name, place+".") || strings.HasPrefix(place, n.name+".") {
			found |= n.field
			known = true
		}
	}
	if !known {
		return allFields
	}
	return found
}

// readsOf says what the values at the given places of data can depend on, of an input
// with these fields. It follows the text of the compiled rules, not their values: each
// mention of the input counts for all that is at that place and below, and each mention
// of data brings in every rule that may be there, whatever the condition. What is built
// from the input can come from such a mention only, so nothing that an evaluation reads
// is missed. Functions count where they are named, be it as the stand-in of another.
func readsOf(c *ast.Compiler, of []inputField, places []ast.Ref) fields {
	r := reader{of: of, tree: c.RuleTree, seen: make(map[*ast.Rule]bool)}
	r.visitor = ast.NewGenericVisitor(r.visit)
	for _, place := range places {
		r.visitor.Walk(place)
	}
	for len(r.queue) > 0 {
		rule := r.queue[0]
		r.queue = r.queue[1:]
		r.visitor.Walk(rule)
	}
	return r.reads
}

type reader struct {
	of      []inputField
	tree    *ast.TreeNode
	visitor *ast.GenericVisitor
	seen    map[*ast.Rule]bool
	queue   []*ast.Rule
	reads   fields
}

// visit looks at one node of the syntax and says whether its children are done.
func (r *reader) visit(x any) bool {
	switch x := x.(type) {
	case ast.Var:
		switch x {
		case ast.InputRootDocument.Value:
			r.reads = allFields
		case ast.DefaultRootDocument.Value:
			r.reach(ast.DefaultRootRef)
		}
	case ast.Ref:
		return r.visitRef(x)
	case *ast.Head:
		// The visitor knows the older half of a head only.
		r.visitor.Walk(x.Reference)
	case *ast.Expr:
		switch x.Terms.(type) {
		case *ast.Term, []*ast.Term, *ast.SomeDecl, *ast.Every, *ast.Not, *ast.LogicalAnd, *ast.LogicalOr:
		default:
			r.reads = allFields
		}
	case *ast.Rule, ast.Body, ast.Args, *ast.With, *ast.Term, ast.Call,
		ast.Null, ast.Boolean, ast.Number, ast.String, ast.Object, *ast.Array, ast.Set,
		*ast.ArrayComprehension, *ast.ObjectComprehension, *ast.SetComprehension,
		*ast.Every, *ast.SomeDecl, *ast.TemplateString, *ast.Not, *ast.LogicalAnd, *ast.LogicalOr:
		// The visitor goes on to their children.
	default:
		// A later version of the language may have what the visitor does not enter.
		r.reads = allFields
	}
	return false
}

func (r *reader) visitRef(ref ast.Ref) bool {
	if len(ref) == 0 {
		return true
	}
	switch ref[0].Value {
	case ast.InputRootDocument.Value:
		r.reads |= fieldsAt(r.of, ref)
	case ast.DefaultRootDocument.Value:
		r.reach(ref)
	default:
		return false
	}
	for _, key := range ref[1:] {
		r.visitor.Walk(key)
	}
	return true
}

// reach queues the rules on the way to ref and, where the way ends or is not known
// before the evaluation, all below. On the way there can be rules whose own names
// have variables, or which give an object that ref looks into.
func (r *reader) reach(ref ast.Ref) {
	node := r.tree.Child(ref[0].Value)
	for _, t := range ref[1:] {
		if node == nil {
			return
		}
		r.enqueue(node.Values)
		key, ok := t.Value.(ast.String)
		if !ok {
			break
		}
		node = node.Child(key)
	}
	if node == nil {
		return
	}
	node.DepthFirst(func(n *ast.TreeNode) bool {
		if n.External != nil {
			r.reads = allFields
		}
		r.enqueue(n.Values)
		return false
	})
}

func (r *reader) enqueue(rules []*ast.Rule) {
	for _, rule := range rules {
		if !r.seen[rule] {
			r.seen[rule] = true
			r.queue = append(r.queue, rule)
		}
	}
}
