package agent

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"path/filepath"
	"strings"
	"time"
)

const (
	maxTargetsFileBytes = 8 << 20
	// A change must look the same at two polls, so that a file caught half
	// written is not taken at its word. Both fit into the two seconds promised.
	pollInterval = 500 * time.Millisecond
	// A fault that stays is counted again this often, so that what watches the
	// count sees that it has stayed.
	recountInterval = 30 * time.Second
)

// targetsFile follows a file of targets.
type targetsFile struct {
	name string
	log  *slog.Logger

	applied [sha256.Size]byte // the content in force
	seen    [sha256.Size]byte // the content at the last poll
	fault   string            // what was said last about a fault, "" when all is well
	counted time.Time         // when the fault was counted last
}

// first reads the file at the start, when a fault is one of the configuration.
func (f *targetsFile) first() (Targets, error) {
	text, err := readRegular(f.name, maxTargetsFileBytes)
	if err != nil {
		return nil, err
	}
	f.applied = sha256.Sum256(text)
	return f.parse(text)
}

// parse reads the file's content. Where it is faulty the files that it names are
// judged as well, so that all faults come out at once.
func (f *targetsFile) parse(text []byte) (Targets, error) {
	targets, err := parseTargetsFile(text, filepath.Dir(f.name))
	if err != nil {
		return nil, targets.withFileFaults(err)
	}
	return targets, nil
}

// follow polls the file until ctx ends and hands each new content to apply. It
// polls because that sees what notifications miss: a ConfigMap's swapped
// symbolic links, a file system without them. failed is told of each fault at once, and
// of one that stays again and again.
func (f *targetsFile) follow(ctx context.Context, apply func(Targets) (change, error), failed func()) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := f.poll(apply); err != nil {
				f.tell(err, failed)
			}
		}
	}
}

// tell logs a fault that is new, and counts it as long as it stays.
func (f *targetsFile) tell(err error, failed func()) {
	known := err.Error() == f.fault
	if known && time.Since(f.counted) < recountInterval {
		return
	}
	f.counted = time.Now()
	failed()
	if !known {
		f.fault = err.Error()
		f.log.Error("the targets file is faulty, keeping the targets as they are", "file", f.name, "error", strings.ReplaceAll(f.fault, "\n", "; "))
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
	targets, err := f.parse(text)
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
