package authz

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// dataPath is a place in JSON: names and indexes, from the top.
type dataPath []any

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// String writes the path as Rego would.
func (p dataPath) String() string {
	var text strings.Builder
	text.WriteString("data")
	for _, step := range p {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&text, "[%d]", step)
		case string:
			if plainName.MatchString(step) {
				text.WriteString("." + step)
			} else {
				fmt.Fprintf(&text, "[%q]", step)
			}
		}
	}
	return text.String()
}

// path is the place of the fault. The schema's answer joins names with dots, which
// names may hold themselves: the data tells how to take it apart.
func (f dataFault) path(data any) (dataPath, bool) {
	var at dataPath
	if f.Field != "(Root)" {
		var ok bool
		if at, ok = split(data, f.Field); !ok {
			return nil, false
		}
	}
	if name, ok := strings.CutPrefix(f.Desc, "Additional property "); ok && f.Type == "additional_property_not_allowed" {
		at = append(at, strings.TrimSuffix(name, " is not allowed"))
	}
	return at, true
}

func split(value any, joined string) (dataPath, bool) {
	switch value := value.(type) {
	case map[string]any:
		if _, ok := value[joined]; ok {
			return dataPath{joined}, true
		}
		for i, c := range joined {
			if c != '.' {
				continue
			}
			if child, ok := value[joined[:i]]; ok {
				if rest, ok := split(child, joined[i+1:]); ok {
					return append(dataPath{joined[:i]}, rest...), true
				}
			}
		}
	case []any:
		first, rest, more := strings.Cut(joined, ".")
		i, err := strconv.Atoi(first)
		if err != nil || i < 0 || i >= len(value) {
			return nil, false
		}
		if !more {
			return dataPath{i}, true
		}
		if tail, ok := split(value[i], rest); ok {
			return append(dataPath{i}, tail...), true
		}
	}
	return nil, false
}

// whereIs is the file and the line of what is at the path, as the beginning of an
// error: the file that goes farthest along the path. It is empty where it could be any.
func whereIs(at dataPath, files []file) string {
	var best file
	var rest dataPath
	depth, among := -1, 0
	for _, f := range files {
		if !f.isData() {
			continue
		}
		object, err := f.object()
		inside, ok := at.below(f.place())
		if err != nil || !ok {
			continue
		}
		among++
		if d := len(f.place()) + inside.reach(object); d > depth {
			best, rest, depth = f, inside, d
		}
	}
	if depth < 0 || depth == 0 && among > 1 {
		return ""
	}
	if line := lineOf(best.content, rest); line > 0 {
		return fmt.Sprintf("%s:%d: ", best.name, line)
	}
	return best.name + ": "
}

// below is the path as seen from place, false where it leads elsewhere.
func (p dataPath) below(place []string) (dataPath, bool) {
	for i, name := range place {
		if i == len(p) {
			return nil, true // at a folder that the file is in
		}
		if p[i] != name {
			return nil, false
		}
	}
	return p[len(place):], true
}

// reach is how many steps of the path there are in value.
func (p dataPath) reach(value any) int {
	for i, step := range p {
		switch step := step.(type) {
		case string:
			object, _ := value.(map[string]any)
			child, ok := object[step]
			if !ok {
				return i
			}
			value = child
		case int:
			array, _ := value.([]any)
			if step >= len(array) {
				return i
			}
			value = array[step]
		}
	}
	return len(p)
}

// lineOf is the line of what is at the path in a file of JSON or YAML, or of the last
// step to it that can be found; 0 where the file cannot be read so.
func lineOf(content []byte, at dataPath) int {
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil || len(doc.Content) != 1 {
		return 0
	}
	node, line := doc.Content[0], doc.Content[0].Line
	for _, step := range at {
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		key, child := childOf(node, step)
		if child == nil {
			break
		}
		node, line = child, key.Line
	}
	return line
}

// childOf is what the step leads to, and the node whose line tells where that is.
func childOf(node *yaml.Node, step any) (key, child *yaml.Node) {
	switch step := step.(type) {
	case string:
		if node.Kind != yaml.MappingNode {
			return nil, nil
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i], node.Content[i+1]
			}
		}
	case int:
		if node.Kind == yaml.SequenceNode && step < len(node.Content) {
			return node.Content[step], node.Content[step]
		}
	}
	return nil, nil
}
