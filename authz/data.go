package authz

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/util"
	"go.yaml.in/yaml/v3"
)

// loadData merges the data files into the tree that policies see as data. A file's
// folder is its place in the tree: "a/b/x.json" is merged into data.a.b. Two files
// may add to one object, but not set one value: which of them wins would be luck.
func loadData(files []file) (map[string]any, error) {
	data := make(map[string]any)
	for _, f := range files {
		if !f.isData() {
			continue
		}
		object, err := f.object()
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Backward(f.place()) {
			object = map[string]any{name: object}
		}
		if err := merge(data, object, "data"); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return data, nil
}

// place is the way from data to what is in the file.
func (f file) place() []string {
	if dir := path.Dir(f.name); dir != "." {
		return strings.Split(dir, "/")
	}
	return nil
}

func merge(dst, src map[string]any, at string) error {
	for _, key := range slices.Sorted(maps.Keys(src)) {
		old, taken := dst[key]
		if !taken {
			dst[key] = src[key]
			continue
		}
		a, aok := old.(map[string]any)
		b, bok := src[key].(map[string]any)
		if !aok || !bok {
			return fmt.Errorf("%s.%s is set by another file already", at, key)
		}
		if err := merge(a, b, at+"."+key); err != nil {
			return err
		}
	}
	return nil
}

// object decodes a data file. A key that stands twice in one object is an error,
// where the decoders would drop all but the last: half of a denylist, say.
func (f file) object() (map[string]any, error) {
	var value any
	var err error
	if path.Ext(f.name) == ".json" {
		if err = checkJSONKeys(f.content); err == nil {
			err = util.UnmarshalJSON(f.content, &value)
		}
	} else {
		if err = checkYAMLKeys(f.content); err == nil {
			err = util.Unmarshal(f.content, &value)
		}
	}
	var at *positionError
	switch {
	case errors.As(err, &at):
		return nil, fmt.Errorf("%s:%d: %w", f.name, at.line, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: a data file must hold one object", f.name)
	}
	return object, nil
}

// positionError is an error at a line of a data file.
type positionError struct {
	line int
	text string
}

func (e *positionError) Error() string { return e.text }

// checkJSONKeys also checks the syntax, for the line of an error.
func checkJSONKeys(content []byte) error {
	line := func(offset int64) int {
		return 1 + bytes.Count(content[:min(offset, int64(len(content)))], []byte("\n"))
	}
	var value json.RawMessage
	if err := json.Unmarshal(content, &value); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return &positionError{line(syntax.Offset), err.Error()}
		}
		return err
	}

	// keys holds, per object or array that is open, the keys so far; nil for an array.
	var keys []map[string]bool
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.UseNumber()
	for wantKey := false; ; {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch tok {
		case json.Delim('{'):
			keys = append(keys, make(map[string]bool))
		case json.Delim('['):
			keys = append(keys, nil)
		case json.Delim('}'), json.Delim(']'):
			keys = keys[:len(keys)-1]
		default:
			if wantKey {
				key := tok.(string)
				if keys[len(keys)-1][key] {
					return &positionError{line(dec.InputOffset()), fmt.Sprintf("the key %q stands twice in one object", key)}
				}
				keys[len(keys)-1][key] = true
				wantKey = false
				continue
			}
		}
		wantKey = len(keys) > 0 && keys[len(keys)-1] != nil
	}
}

func checkYAMLKeys(content []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(content))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := dec.Decode(&next); err == nil {
		return &positionError{next.Line, "a second document"}
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return checkYAMLNode(&doc)
}

func checkYAMLNode(n *yaml.Node) error {
	// An alias is the same node again: its Content is empty, and the anchor's own
	// node is checked where it stands.
	if n.Kind == yaml.MappingNode {
		seen := make(map[string]bool)
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if seen[key.Value] {
				return &positionError{key.Line, fmt.Sprintf("the key %q stands twice in one object", key.Value)}
			}
			seen[key.Value] = true
		}
	}
	for _, child := range n.Content {
		if err := checkYAMLNode(child); err != nil {
			return err
		}
	}
	return nil
}
