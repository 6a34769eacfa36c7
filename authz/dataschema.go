package authz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// schemaFile holds the JSON schema of a policy's data, of draft 4, 6 or 7.
const schemaFile = "data.schema.json"

// maxDataFaults bounds how many of the schema's complaints an error lists.
const maxDataFaults = 20

// checkSchema holds the data to the policy's schema, if it has one.
func checkSchema(files []file, data map[string]any) error {
	var schema *file
	for i, f := range files {
		if path.Base(f.name) != schemaFile {
			continue
		}
		if f.name != schemaFile {
			return fmt.Errorf("%s: a schema of the data has its place at the top of the policy", f.name)
		}
		schema = &files[i]
	}
	if schema == nil {
		return nil
	}
	object, err := schema.object()
	if err != nil {
		return err
	}
	if err := vetSchema(object); err != nil {
		return schema.fault(err)
	}
	// An ID would give every reference another base, and an older draft would have
	// keywords of a newer one passed over.
	delete(object, "$id")
	delete(object, "id")
	delete(object, "$schema")
	faults, err := matchSchema(object, data)
	if err != nil {
		return fmt.Errorf("%s: %w", schemaFile, err)
	}
	return describe(faults, files, data)
}

// fault is an error at a place in f.
func (f file) fault(err error) error {
	var at *schemaError
	if errors.As(err, &at) {
		if line := lineOf(f.content, at.path); line > 0 {
			return fmt.Errorf("%s:%d: %w", f.name, line, err)
		}
	}
	return fmt.Errorf("%s: %w", f.name, err)
}

// dataFault is one complaint of a schema.
type dataFault struct {
	Field string `json:"field"`
	Type  string `json:"type"`
	Desc  string `json:"desc"`
}

// matchSchema uses the builtin json.match_schema, which policies do not have: it would
// fetch what a schema refers to. Here the schema has been vetted, and no host is allowed.
func matchSchema(schema, data map[string]any) ([]dataFault, error) {
	schemaText, err := json.Marshal(schema)
	if err != nil {
		return nil, fmt.Errorf("encoding schema: %w", err)
	}
	dataText, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encoding data: %w", err)
	}
	match := topdown.GetBuiltin(ast.JSONMatchSchema.Name)
	if match == nil {
		return nil, errors.New("this build has no JSON schemas")
	}
	var result any
	err = match(
		topdown.BuiltinContext{Context: context.Background(), Capabilities: capabilities()},
		[]*ast.Term{ast.StringTerm(string(dataText)), ast.StringTerm(string(schemaText))},
		func(t *ast.Term) (err error) {
			result, err = ast.JSON(t.Value)
			return err
		},
	)
	if err != nil {
		return nil, err
	}
	pair, _ := result.([]any)
	if len(pair) != 2 {
		return nil, errors.New("the schema gave no answer")
	}
	if pair[0] == true {
		return nil, nil
	}
	var faults []dataFault
	text, err := json.Marshal(pair[1])
	if err == nil {
		err = json.Unmarshal(text, &faults)
	}
	if err != nil || len(faults) == 0 {
		return nil, fmt.Errorf("the data does not match: %s", text)
	}
	return faults, nil
}

// describe names the file and line of each fault, and what it is about.
func describe(faults []dataFault, files []file, data map[string]any) error {
	if len(faults) == 0 {
		return nil
	}
	var lines []string
	for i, f := range faults {
		if i == maxDataFaults {
			lines = append(lines, fmt.Sprintf("and %d more", len(faults)-i))
			break
		}
		at, ok := f.path(data)
		if !ok {
			lines = append(lines, fmt.Sprintf("data at %s: %s", f.Field, f.Desc))
			continue
		}
		lines = append(lines, fmt.Sprintf("%s%s: %s", whereIs(at, files), at, f.Desc))
	}
	return fmt.Errorf("%s refuses the data:\n%s", schemaFile, strings.Join(lines, "\n"))
}
