package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
)

// demoPatience is how long any step of the demo may take.
const demoPatience = 15 * time.Second

func demoCommand(flags *flag.FlagSet) action {
	once := flags.Bool("once", false, "check each step and stop, instead of staying up until Ctrl-C")
	return func(ctx context.Context, c call) (err error) {
		d := &demo{screen: newScreen(c.stdout), once: *once}
		d.screen.title()
		if err := d.screen.step("A certificate authority, for this demo only", d.mint); err != nil {
			return err
		}
		defer func() {
			if removeErr := d.folder.remove(); err == nil {
				err = removeErr
			}
			if err == nil && !d.once {
				d.screen.say("Stopped; %s is gone.", d.folder.path)
			}
		}()
		if err := d.prepare(ctx); err != nil {
			return err
		}
		return daemon.Supervise(ctx, d.play, d.helpers()...)
	}
}

// demo is a small world: one proxy, two teams, and Prometheus played by hand.
type demo struct {
	screen *screen
	once   bool
	folder folder
	proxy  *demoProxy
	teams  []*team
}

// mint makes the folder with a certificate for everybody.
func (d *demo) mint() error {
	folder, err := newFolder()
	if err != nil {
		return err
	}
	d.folder = folder
	for _, leaf := range demoLeaves {
		if err := folder.issue(leaf); err != nil {
			return errors.Join(err, folder.remove())
		}
		d.screen.ok("%-11s %s", leaf.name, leaf.id)
	}
	d.screen.note("in %s", folder.path)
	return nil
}

// prepare makes the proxy, the agents and their targets; nothing runs yet.
func (d *demo) prepare(ctx context.Context) (err error) {
	if d.proxy, err = newDemoProxy(ctx, d.folder); err != nil {
		return err
	}
	for _, plan := range demoTeams {
		team, err := newTeam(ctx, d.folder, plan, d.proxy.agentsAddr)
		if err != nil {
			return err
		}
		d.teams = append(d.teams, team)
	}
	return nil
}

func (d *demo) helpers() []daemon.Helper {
	helpers := d.proxy.helpers()
	for _, team := range d.teams {
		helpers = append(helpers, team.helpers()...)
	}
	return helpers
}

// play shows the world while it runs.
func (d *demo) play(ctx context.Context) error {
	err := d.steps(ctx)
	switch {
	case err != nil:
		return err
	case d.once:
		d.screen.say("\nAll %d checks passed.", d.screen.checks)
		return nil
	}
	if err := d.folder.writePrometheusConfig(d.proxy.url(demoDiscovery)); err != nil {
		return err
	}
	d.invite()
	d.keepScraping(ctx)
	d.screen.say("\nStopping.")
	return nil
}

func (d *demo) steps(ctx context.Context) error {
	for _, step := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"A proxy, outside the firewall", d.showProxy},
		{"Two agents, inside: they dial out and register what they have", d.showAgents},
		{"A scrape over mutual TLS, as " + prometheusID, d.showScrape},
		{"Which targets there are, as Prometheus asks for them", d.showDiscovery},
		{"A registration that the policy refuses", d.showRefusal},
		{"A target that does not run", d.showFailure},
		{"Who else gets nothing", d.showOutsiders},
		{"The policy changes while everything runs", d.showChange},
	} {
		patience, cancel := context.WithTimeout(ctx, demoPatience)
		err := d.screen.step(step.title, func() error { return step.do(patience) })
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) showProxy(context.Context) error {
	d.screen.ok("agents connect to      %s  (gRPC, mutual TLS 1.3)", d.proxy.agentsAddr)
	d.screen.ok("Prometheus connects to https://%s", d.proxy.scrapeAddr)
	d.screen.ok("policy                 a copy of %s, in the folder %s", demoPolicy, policyName)
	return nil
}

func (d *demo) showAgents(ctx context.Context) error {
	for _, team := range d.teams {
		if err := team.wait(ctx); err != nil {
			return fmt.Errorf("waiting for the agent of %s: %w", team.plan.name, err)
		}
		for _, target := range team.targets {
			d.screen.ok("%-22s serves %-14s from %s", team.plan.id(), target.path, target.url())
		}
	}
	d.screen.note("a scrape names a path; only the agent looks up where it leads")
	return nil
}

func (d *demo) showScrape(ctx context.Context) error {
	for _, path := range d.paths() {
		answer, err := d.folder.get(ctx, prometheus, d.proxy.url(path))
		if err != nil {
			return err
		}
		if answer.status != http.StatusOK || answer.samples() == 0 {
			return fmt.Errorf("GET %s: %d with %d samples: %s", path, answer.status, answer.samples(), answer.firstLine())
		}
		d.screen.ok("GET %-14s %d, %d samples, %d bytes, in %.1f ms", path, answer.status, answer.samples(), len(answer.body), float64(answer.took.Microseconds())/1000)
		for _, line := range answer.lines("demo_") {
			d.screen.quote(line)
		}
	}
	return nil
}

func (d *demo) showRefusal(ctx context.Context) error {
	for _, team := range d.teams {
		if team.plan.intrudes == "" {
			continue
		}
		d.screen.note("%s also offers %s, which is not below its own name", team.plan.id(), team.plan.intrudes)
		refused, err := team.refusals.wait(ctx)
		if err != nil {
			return fmt.Errorf("waiting for the refusal of %s: %w", team.plan.intrudes, err)
		}
		if refused.route != team.plan.intrudes {
			return fmt.Errorf("%s was refused, and not %s: %s", refused.route, team.plan.intrudes, refused.reasons)
		}
		d.screen.ok("refused; the agent's log says why:")
		d.screen.quote(refused.reasons)
	}
	return nil
}

func (d *demo) showOutsiders(ctx context.Context) error {
	path := d.paths()[0]
	absent, err := d.folder.get(ctx, prometheus, d.proxy.url("/team-a/no-such-route"))
	if err != nil {
		return err
	}
	agent, err := d.folder.get(ctx, d.teams[1].plan.name, d.proxy.url(path))
	if err != nil {
		return err
	}
	if agent.status != http.StatusNotFound || agent.status != absent.status || agent.body != absent.body {
		return fmt.Errorf("an agent's certificate got %d %q, an absent route %d %q", agent.status, agent.body, absent.status, absent.body)
	}
	d.screen.ok("an agent's certificate reads no metrics: %d, the same answer as for a route that is not there", agent.status)
	_, err = d.folder.get(ctx, nobody, d.proxy.url(path))
	var unverified x509.UnknownAuthorityError
	switch {
	case err == nil:
		return errors.New("a client without a certificate was answered")
	case errors.As(err, &unverified) || ctx.Err() != nil:
		return err
	}
	d.screen.ok("a client without a certificate does not get past the handshake")
	return nil
}

// showFailure scrapes what is down, and finds it on the dashboard.
func (d *demo) showFailure(ctx context.Context) error {
	for _, team := range d.teams {
		if team.plan.down == "" {
			continue
		}
		answer, err := d.folder.get(ctx, prometheus, d.proxy.url(team.plan.down))
		if err != nil {
			return err
		}
		if answer.status != http.StatusBadGateway {
			return fmt.Errorf("GET %s: %d, and its target is down: %s", team.plan.down, answer.status, answer.firstLine())
		}
		d.screen.ok("GET %-14s %d, and why in one line:", team.plan.down, answer.status)
		d.screen.quote(answer.firstLine())
	}
	if err := d.awaitShown(ctx, d.teams[0].plan.down, "target_unreachable", d.teams[1].plan.intrudes, "refused"); err != nil {
		return err
	}
	d.screen.ok("the dashboard shows it, and what was refused, and what to do:")
	d.screen.quote(d.proxy.dashboard())
	return nil
}

// awaitShown waits until the dashboard says all of that: a scrape is remembered a moment
// after its answer.
func (d *demo) awaitShown(ctx context.Context, texts ...string) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		page, err := lookAt(ctx, d.proxy.dashboard())
		if err != nil {
			return err
		}
		missing := slices.IndexFunc(texts, func(text string) bool { return !strings.Contains(page, text) })
		if missing < 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the dashboard does not show %q", texts[missing])
		case <-ticker.C:
		}
	}
}

// keepScraping plays Prometheus until ctx ends, so that there is something to watch.
func (d *demo) keepScraping(ctx context.Context) {
	ticker := time.NewTicker(2 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, path := range d.routes() {
			// What goes wrong is what the dashboard shows.
			_, _ = d.folder.get(ctx, prometheus, d.proxy.url(path))
		}
	}
}

// routes are all that are registered, those whose target is down included.
func (d *demo) routes() []string {
	paths := d.paths()
	for _, team := range d.teams {
		if team.plan.down != "" {
			paths = append(paths, team.plan.down)
		}
	}
	return paths
}

// paths are the routes that are served, by targets that run.
func (d *demo) paths() []string {
	var paths []string
	for _, team := range d.teams {
		for _, target := range team.targets {
			paths = append(paths, target.path)
		}
	}
	return paths
}

// invite prints commands that work as they stand.
func (d *demo) invite() {
	url := d.proxy.url(d.paths()[0])
	curl := func(name, url string) string {
		return fmt.Sprintf("curl --cacert ca.pem --cert %s.pem --key %[1]s-key.pem %s", name, url)
	}
	d.screen.heading("Now you")
	d.screen.command(d.proxy.dashboard(), "the dashboard: open it in a browser")
	d.screen.command("cd "+d.folder.path, "")
	d.screen.command(curl(prometheus, url), "a scrape, as Prometheus does it")
	d.screen.command(curl(prometheus, d.proxy.url(demoDiscovery)), "its targets, as Prometheus asks for them")
	d.screen.command(curl(d.teams[1].plan.name, url), "an agent's certificate: 404")
	d.screen.command("curl --cacert ca.pem "+url, "no certificate: the handshake fails")
	d.screen.command("prometheus --config.file=prometheus.yml --storage.tsdb.path=data --web.listen-address=127.0.0.1:9090", "a real Prometheus, if you have one")
	tool, err := os.Executable()
	if err != nil {
		tool = "sallyport"
	}
	d.screen.command(tool+" policy eval "+policyName+" --explain --agent "+d.teams[1].plan.id()+" --path "+d.teams[1].plan.intrudes, "why the policy refuses; change it, and it is in force within 2 s")
	d.screen.command("tail -f "+strings.Join(logFiles(d.teams), " "), "what the daemons say")
	d.screen.say("\nCtrl-C stops everything and removes the folder.")
}
