package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	maxTargetsFileBytes = 8 << 20
	// A change must look the same at two polls, so that a file caught half
	// written is not taken at its word. Both fit into the two seconds promised.
	pollInterval = 500 * time.Millisecond
)

// targetsDocument is a targets file. Its list is no Targets, which could also be
// written as a text.
type targetsDocument struct {
	Targets []Target `yaml:"targets"`
}

// parseTargetsFile reads YAML strictly: an unknown key or a second document is
// an error, as is a faulty target. An empty file holds no target.
func parseTargetsFile(text []byte) (Targets, error) {
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
	return targets, targets.Validate()
}

var (
	yamlUnknown = regexp.MustCompile(`field (.*) not found in type \S+`)
	yamlType    = regexp.MustCompile("(?s)cannot unmarshal (!!\\w+)( `.*`)? into \\S+")
)

// plainYAMLFault takes Go's type names out of the parser's message, and the
// values, for they may be anything.
func plainYAMLFault(err error) string {
	typed := new(yaml.TypeError)
	if !errors.As(err, &typed) {
		return sayable(strings.TrimPrefix(err.Error(), "yaml: "), 500)
	}
	plain := make([]string, len(typed.Errors))
	for i, text := range typed.Errors {
		text = yamlType.ReplaceAllString(text, "$1 is the wrong type")
		plain[i] = sayable(yamlUnknown.ReplaceAllString(text, "unknown key $1"), 200)
	}
	return strings.Join(plain, "; ")
}

// targetsFile follows a file of targets.
type targetsFile struct {
	name string
	log  *slog.Logger

	applied [sha256.Size]byte // the content in force
	seen    [sha256.Size]byte // the content at the last poll
	fault   string            // what was said last about a fault, "" when all is well
}

// first reads the file at the start, when a fault is one of the configuration.
func (f *targetsFile) first() (Targets, error) {
	text, err := readRegular(f.name, maxTargetsFileBytes)
	if err != nil {
		return nil, err
	}
	f.applied = sha256.Sum256(text)
	return parseTargetsFile(text)
}

// follow polls the file until ctx ends and hands each new content to apply. It
// polls because that sees what notifications miss: a ConfigMap's swapped
// symbolic links, a file system without them. failed is told of each fault once.
func (f *targetsFile) follow(ctx context.Context, apply func(Targets) (change, error), failed func()) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := f.poll(apply); err != nil && err.Error() != f.fault {
				f.fault = err.Error()
				f.log.Error("the targets file is faulty, keeping the targets as they are", "file", f.name, "error", strings.ReplaceAll(f.fault, "\n", "; "))
				failed()
			}
		}
	}
}

func (f *targetsFile) poll(apply func(Targets) (change, error)) error {
	text, err := readRegular(f.name, maxTargetsFileBytes)
	if err != nil {
		f.seen = [sha256.Size]byte{}
		return err
	}
	sum := sha256.Sum256(text)
	settled := sum == f.seen
	f.seen = sum
	switch {
	case sum == f.applied:
		f.recovered()
		return nil
	case !settled:
		return nil
	}
	// A faulty content is tried again at each poll: the fault may lie in a file
	// that it names and that is about to appear.
	targets, err := parseTargetsFile(text)
	if err != nil {
		return err
	}
	c, err := apply(targets)
	if err != nil {
		return err
	}
	f.applied, f.fault = sum, ""
	f.log.Info("targets changed", "file", f.name, "added", c.added, "removed", c.removed, "changed", c.changed)
	return nil
}

func (f *targetsFile) recovered() {
	if f.fault != "" {
		f.log.Info("the targets file is as it was", "file", f.name)
		f.fault = ""
	}
}
