package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/policy"
)

const (
	policyName   = "policy"
	registerRule = policyName + "/register.rego"
	// frozen is what the demo adds to the rule, and takes out again.
	beforeFrozen = "allow if {\n"
	frozen       = "\tinput.agent.segments[0] != \"team-b\"\n"
)

// copyPolicy puts the policy into a folder, where it can be changed. Its tests stay
// behind: they would refuse the change that the demo makes.
func (f folder) copyPolicy() error {
	files, err := policy.Files(demoPolicy)
	if err != nil {
		return err
	}
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(f.file(policyName), name), 0o700)
		}
		if strings.HasSuffix(name, "_test.rego") || filepath.Ext(name) != ".rego" {
			return nil
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(f.file(policyName), name), content, 0o600)
	})
}

// showChange takes a team's routes away while everything runs, and gives them back.
func (d *demo) showChange(ctx context.Context) error {
	name := d.folder.file(registerRule)
	before, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	after := strings.Replace(string(before), beforeFrozen, beforeFrozen+frozen, 1)
	if after == string(before) {
		return errors.New("the policy has no rule to change")
	}
	path, sessions := d.teams[1].targets[0].path, d.proxy.sessions()
	d.screen.note("%s gets one more line: %s", registerRule, strings.TrimSpace(frozen))
	if err := d.change(ctx, name, after, path, http.StatusNotFound); err != nil {
		return err
	}
	other := d.paths()[0]
	answer, err := d.folder.get(ctx, prometheus, d.proxy.url(other))
	if err != nil {
		return err
	}
	if answer.status != http.StatusOK {
		return fmt.Errorf("GET %s: %d, and it was not to change", other, answer.status)
	}
	d.screen.ok("GET %-14s %d as before", other, answer.status)
	d.screen.note("the line is taken out again")
	if err := d.change(ctx, name, string(before), path, http.StatusOK); err != nil {
		return err
	}
	if now := d.proxy.sessions(); !slices.Equal(now, sessions) {
		return fmt.Errorf("the sessions are %v, and were %v", now, sessions)
	}
	d.screen.ok("no agent had to connect again")
	return nil
}

// change writes the file and waits until the path answers so.
func (d *demo) change(ctx context.Context, name, content, path string, status int) error {
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		return err
	}
	began := time.Now()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		answer, err := d.folder.get(ctx, prometheus, d.proxy.url(path))
		switch {
		case err != nil:
			return fmt.Errorf("waiting for GET %s to answer %d: %w", path, status, err)
		case answer.status == status:
			d.screen.ok("GET %-14s %d, %.1f s after the change", path, status, time.Since(began).Seconds())
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for GET %s to answer %d: it answers %d", path, status, answer.status)
		case <-ticker.C:
		}
	}
}
