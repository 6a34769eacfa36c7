package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

const demoDiscovery = "/-/discovery"

// showDiscovery asks for the targets as Prometheus does, and as an agent might try.
func (d *demo) showDiscovery(ctx context.Context) error {
	for _, who := range []struct {
		name string
		want []string
	}{{prometheus, d.routes()}, {d.teams[1].plan.name, nil}} {
		paths, err := d.discover(ctx, who.name)
		if err != nil {
			return err
		}
		if !slices.Equal(paths, slices.Sorted(slices.Values(who.want))) {
			return fmt.Errorf("%s is told of %v, and may scrape %v", who.name, paths, who.want)
		}
		d.screen.ok("GET %s as %-10s %d targets", demoDiscovery, who.name, len(paths))
		for _, path := range paths {
			d.screen.quote(path)
		}
	}
	d.screen.note("each scraper is told of what it may scrape, and of nothing else")
	return nil
}

// discover returns the paths of the targets of which a scraper is told.
func (d *demo) discover(ctx context.Context, name string) ([]string, error) {
	answer, err := d.folder.get(ctx, name, d.proxy.url(demoDiscovery))
	if err != nil {
		return nil, err
	}
	if answer.status != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %d: %s", demoDiscovery, answer.status, answer.firstLine())
	}
	var groups []struct {
		Labels map[string]string `json:"labels"`
	}
	if err := json.Unmarshal([]byte(answer.body), &groups); err != nil {
		return nil, fmt.Errorf("reading the targets: %w", err)
	}
	var paths []string
	for _, group := range groups {
		paths = append(paths, group.Labels["__metrics_path__"])
	}
	return paths, nil
}
