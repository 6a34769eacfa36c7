package authz

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// keyword is what stands under a word of a JSON schema.
type keyword uint8

const (
	valueKeyword  keyword = iota + 1 // anything but a schema
	schemaKeyword                    // a schema
	listKeyword                      // a list of schemas
	itemsKeyword                     // a schema or a list of them
	namedKeyword                     // schemas by name
	whenKeyword                      // schemas, or lists of names, by name
	refKeyword                       // a reference to a schema
	idKeyword                        // the base of references
)

// keywords are those of drafts 4, 6 and 7. One that is not known would be passed over,
// and with it the check that it was to be.
func keywords() map[string]keyword {
	words := map[string]keyword{
		"$ref": refKeyword, "$id": idKeyword, "id": idKeyword,
		"items": itemsKeyword, "dependencies": whenKeyword,
	}
	for kind, names := range map[keyword]string{
		valueKeyword: "$schema $comment title description default examples type enum const format pattern" +
			" multipleOf minimum maximum exclusiveMinimum exclusiveMaximum minLength maxLength" +
			" minItems maxItems uniqueItems minProperties maxProperties required",
		schemaKeyword: "additionalProperties additionalItems contains propertyNames not if then else",
		listKeyword:   "allOf anyOf oneOf",
		namedKeyword:  "properties patternProperties definitions $defs",
	} {
		for _, name := range strings.Fields(names) {
			words[name] = kind
		}
	}
	return words
}

// schemaError is a fault at a place in a schema.
type schemaError struct {
	path dataPath
	text string
}

func (e *schemaError) Error() string {
	return "#" + strings.TrimPrefix(e.path.String(), "data") + ": " + e.text
}

// vetter looks through a schema before it is used.
type vetter struct {
	keywords map[string]keyword
	// refs are, for the root ("#") and each definition, those that are followed
	// without going deeper into the data.
	refs map[string][]string
	// wanted is where each reference leads, and stands.
	wanted map[string]dataPath
}

// vetSchema refuses what would be passed over or fetched, and references in a circle:
// following those would never end, and take the process down.
func vetSchema(schema map[string]any) error {
	switch draft, _ := schema["$schema"].(string); strings.TrimSuffix(draft, "#") {
	case "", "http://json-schema.org/draft-04/schema", "http://json-schema.org/draft-06/schema", "http://json-schema.org/draft-07/schema":
	default:
		return &schemaError{dataPath{"$schema"}, fmt.Sprintf("%q is not draft 4, 6 or 7", draft)}
	}
	v := vetter{keywords: keywords(), refs: make(map[string][]string), wanted: make(map[string]dataPath)}
	if err := v.schema(schema, nil, "#"); err != nil {
		return err
	}
	for _, target := range slices.Sorted(maps.Keys(v.wanted)) {
		if _, ok := v.refs[target]; !ok {
			return &schemaError{v.wanted[target], fmt.Sprintf("refers to %q: only # and what is under #/definitions or #/$defs can be referred to", target)}
		}
	}
	for _, start := range slices.Sorted(maps.Keys(v.refs)) {
		if v.returns(start, start, make(map[string]bool)) {
			return &schemaError{v.wanted[start], fmt.Sprintf("refers to %q in a circle", start)}
		}
	}
	return nil
}

// schema vets what is at a place. All that is applied to the same value belongs to one
// unit: the root, or a definition; "" is what is applied to a part of the value.
func (v *vetter) schema(value any, at dataPath, unit string) error {
	if _, known := v.refs[unit]; !known {
		v.refs[unit] = nil
	}
	if _, ok := value.(bool); ok {
		return nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		return &schemaError{at, "is not a schema"}
	}
	_, isRef := object["$ref"]
	for _, word := range slices.Sorted(maps.Keys(object)) {
		here := append(slices.Clip(at), word)
		kind := v.keywords[word]
		if isRef && kind != refKeyword && word != "title" && word != "description" && word != "$comment" {
			return &schemaError{here, "would be passed over beside $ref: put both under allOf"}
		}
		if err := v.word(word, kind, object[word], here, unit); err != nil {
			return err
		}
	}
	return nil
}

func (v *vetter) word(word string, kind keyword, value any, at dataPath, unit string) error {
	// What these hold is about the same value; all others are about a part of it.
	below := ""
	switch word {
	case "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependencies":
		below = unit
	}
	switch kind {
	case 0:
		return &schemaError{at, "is no keyword of drafts 4, 6 and 7, and would be passed over"}
	case refKeyword:
		return v.ref(value, at, unit)
	case idKeyword:
		if len(at) > 1 {
			return &schemaError{at, "only the whole schema may have an ID"}
		}
	case schemaKeyword:
		return v.schema(value, at, below)
	case listKeyword:
		return v.list(value, at, below)
	case itemsKeyword:
		if _, ok := value.([]any); ok {
			return v.list(value, at, below)
		}
		return v.schema(value, at, below)
	case namedKeyword, whenKeyword:
		return v.named(word, kind, value, at, below)
	}
	return nil
}

func (v *vetter) list(value any, at dataPath, unit string) error {
	list, ok := value.([]any)
	if !ok {
		return &schemaError{at, "is not a list of schemas"}
	}
	for i, schema := range list {
		if err := v.schema(schema, append(slices.Clip(at), i), unit); err != nil {
			return err
		}
	}
	return nil
}

func (v *vetter) named(word string, kind keyword, value any, at dataPath, unit string) error {
	object, ok := value.(map[string]any)
	if !ok {
		return &schemaError{at, "does not hold schemas by name"}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if _, ok := object[name].([]any); ok && kind == whenKeyword {
			continue
		}
		in := unit
		if word == "definitions" || word == "$defs" {
			in = "#/" + word + "/" + name
			if len(at) > 1 {
				return &schemaError{at, "definitions have their place at the top"}
			}
			if strings.ContainsAny(name, "/~%") {
				return &schemaError{append(slices.Clip(at), name), "a definition's name holds no / ~ or %"}
			}
		}
		if err := v.schema(object[name], append(slices.Clip(at), name), in); err != nil {
			return err
		}
	}
	return nil
}

func (v *vetter) ref(value any, at dataPath, unit string) error {
	target, ok := value.(string)
	if !ok || !strings.HasPrefix(target, "#") {
		return &schemaError{at, fmt.Sprintf("refers to %v, which is outside of this file: nothing is fetched", value)}
	}
	v.wanted[target] = at
	v.refs[unit] = append(v.refs[unit], target)
	return nil
}

// returns says whether the references from unit lead back to start.
func (v *vetter) returns(start, unit string, seen map[string]bool) bool {
	if unit == "" {
		return false
	}
	for _, next := range v.refs[unit] {
		if next == start {
			return true
		}
		if !seen[next] {
			seen[next] = true
			if v.returns(start, next, seen) {
				return true
			}
		}
	}
	return false
}
