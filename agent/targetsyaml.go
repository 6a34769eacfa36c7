package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// targetsDocument is a targets file. Its list is no Targets, which could also be
// written as a text.
type targetsDocument struct {
	Targets []Target `yaml:"targets"`
}

// parseTargetsFile reads YAML strictly: an unknown key or a second document is
// an error, as is a faulty target, and then the targets come with the error. An
// empty file holds no target. Relative names of files are meant from dir, the
// targets file's own folder.
func parseTargetsFile(text []byte, dir string) (Targets, error) {
	var document targetsDocument
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, errors.New(plainYAMLFault(err))
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document")
	}
	targets := Targets(document.Targets)
	lines := targetLines(text)
	for i := range targets {
		targets[i].resolve(dir)
		if len(lines) == len(targets) {
			targets[i].line = lines[i]
		}
	}
	return targets, targets.Validate()
}

// targetLines are the lines on which the entries of the list begin. They cannot
// be had along with the targets: a type that decodes itself is not read strictly.
func targetLines(text []byte) []int {
	var document struct {
		Targets yaml.Node `yaml:"targets"`
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil
	}
	list := &document.Targets
	if list.Kind == yaml.AliasNode {
		list = list.Alias
	}
	lines := make([]int, len(list.Content))
	for i, entry := range list.Content {
		lines[i] = entry.Line
	}
	return lines
}

// resolve makes the names of t's files absolute, or relative to where dir is.
func (t *Target) resolve(dir string) {
	var names []*string
	if t.TLS != nil {
		names = append(names, &t.TLS.CAFile, &t.TLS.CertFile, &t.TLS.KeyFile)
	}
	if t.BasicAuth != nil {
		names = append(names, &t.BasicAuth.PasswordFile)
	}
	if t.Authorization != nil {
		names = append(names, &t.Authorization.CredentialsFile)
	}
	for _, name := range names {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
}

var (
	yamlUnknown = regexp.MustCompile(`field (.*) not found in type \S+`)
	yamlType    = regexp.MustCompile("(?s)cannot unmarshal (!!\\w+)(?: `.*`)? into (\\S+)")
)

// found says what was written, by YAML's tag, and wanted what belongs there, by
// the type that it is read into.
var (
	found  = map[string]string{"!!seq": "a list", "!!map": "a mapping", "!!str": "a text"}
	wanted = map[string]string{
		"agent.targetsDocument": "`targets:` with a list below it",
		"[]agent.Target":        "a list below `targets:`, each entry with a path and a url",
		"agent.Target":          "a path and a url, as in - {path: /a, url: http://localhost/metrics}",
		"[]string":              "a list of texts",
		"map[string]string":     "names with a text each",
		"string":                "a text",
	}
)

// plainYAMLFault says in the parser's stead what is wanted, in words of the file
// and not of Go. It leaves out the values, for they may be anything.
func plainYAMLFault(err error) string {
	typed := new(yaml.TypeError)
	if !errors.As(err, &typed) {
		return sayable(strings.TrimPrefix(err.Error(), "yaml: "), 500)
	}
	plain := make([]string, len(typed.Errors))
	for i, text := range typed.Errors {
		if match := yamlType.FindStringSubmatch(text); match != nil {
			text = strings.Replace(text, match[0], yamlMismatch(match[1], match[2]), 1)
		}
		plain[i] = sayable(yamlUnknown.ReplaceAllString(text, "unknown key $1"), 200)
	}
	return strings.Join(plain, "; ")
}

func yamlMismatch(tag, into string) string {
	have, ok := found[tag]
	if !ok {
		have = "a single value"
	}
	want, ok := wanted[into]
	if !ok {
		want = "a mapping of keys to values"
	}
	return fmt.Sprintf("%s, want %s", have, want)
}
