package authz

import (
	"embed"
	"encoding/json"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
)

// action is one of the questions that the proxy asks. Its name is that of the
// package that answers, under data.sallyport.
type action string

const (
	register action = "register"
	scrape   action = "scrape"
	admin    action = "admin"
	session  action = "session"
)

func actions() []action { return []action{register, scrape, admin, session} }

// The rules of a package that are the proxy's to ask for. All others are the
// author's own.
const (
	ruleAllow   = "allow"
	ruleReasons = "reasons"
	ruleLimits  = "limits"
	ruleLabels  = "labels"
)

// rules are those that the proxy asks the action's package for.
func (a action) rules() []string {
	switch a {
	case register:
		return []string{ruleAllow, ruleReasons, ruleLimits, ruleLabels}
	case session:
		return []string{ruleAllow, ruleReasons}
	}
	return []string{ruleAllow, ruleReasons, ruleLimits}
}

// path is where the action's package is in the tree: data.sallyport.register.
func (a action) path() ast.Ref {
	return ast.DefaultRootRef.Append(ast.StringTerm("sallyport")).Append(ast.StringTerm(string(a)))
}

func (a action) rule(name string) ast.Ref { return a.path().Append(ast.StringTerm(name)) }

//go:embed schemas/*.json
var schemaFiles embed.FS

// schema is the JSON schema of the action's input, decoded.
func (a action) schema() (any, error) {
	content, err := schemaFiles.ReadFile("schemas/" + string(a) + ".json")
	if err != nil {
		return nil, fmt.Errorf("reading input schema: %w", err)
	}
	var schema any
	if err := json.Unmarshal(content, &schema); err != nil {
		return nil, fmt.Errorf("decoding input schema: %w", err)
	}
	return schema, nil
}
