package testenv_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/agent"
	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/policies"
	"github.com/seed-951114d4/sallyport/testenv"
)

// example is a fenced block of the README.
type example struct {
	language string
	before   string // the paragraph before it
	text     string
}

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// readmeExamples returns the README's blocks of one language, in order.
func readmeExamples(t *testing.T, language string) []example {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	readme := string(data)
	var examples []example
	for _, at := range fence.FindAllStringSubmatchIndex(readme, -1) {
		before := strings.TrimRight(readme[:at[0]], "\n")
		e := example{language: readme[at[2]:at[3]], before: before[strings.LastIndex(before, "\n\n")+1:], text: readme[at[4]:at[5]]}
		if e.language == language {
			examples = append(examples, e)
		}
	}
	return examples
}

// One agent takes what the README shows of targets, in the environment and in a file.
func TestReadmeTargets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := agent.Config{ProxyAddrs: []string{"outside:50051"}, MaxConcurrentScrapes: agent.DefaultMaxConcurrentScrapes, MaxResponseBytes: agent.DefaultMaxResponseBytes}
	for _, e := range readmeExamples(t, "yaml") {
		if strings.HasPrefix(e.text, "targets:") && cfg.TargetsFile == "" {
			cfg.TargetsFile = filepath.Join(dir, "targets.yaml")
			// Not ours to make on this machine.
			writeExample(t, cfg.TargetsFile, strings.ReplaceAll(e.text, "/run/secrets/", "secrets/"))
		}
	}
	if cfg.TargetsFile == "" {
		t.Fatal("the README shows no targets file")
	}
	ca, err := pki.NewCA(pki.CAConfig{TrustDomain: testenv.TrustDomain})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Request{Role: pki.Agent, SPIFFEID: testenv.ID("team-a/node")})
	if err != nil {
		t.Fatal(err)
	}
	key, err := leaf.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"ca.pem": string(ca.CertPEM()), "client.pem": string(leaf.CertPEM()), "client-key.pem": string(key),
		"secrets/token": "t0ken\n", "secrets/password": "hunter2\n",
	} {
		writeExample(t, filepath.Join(dir, name), content)
	}
	inFile, err := agent.New(cfg, agent.Parts{Self: prometheus.NewRegistry()})
	if err != nil {
		t.Fatalf("the README's targets file:\n%v", err)
	}
	if len(inFile.Targets()) < 2 {
		t.Errorf("the README's targets file has %v", inFile.Targets())
	}
	cfg.TargetsFile = ""
	for _, e := range readmeExamples(t, "sh") {
		for _, match := range regexp.MustCompile(`(?m)^export SALLYPORT_TARGETS='?([^'\n]+)'?$`).FindAllStringSubmatch(e.text, -1) {
			if err := cfg.Targets.UnmarshalText([]byte(match[1])); err != nil {
				t.Fatal(err)
			}
			if _, err := agent.New(cfg, agent.Parts{Self: prometheus.NewRegistry()}); err != nil {
				t.Errorf("the README's SALLYPORT_TARGETS=%s:\n%v", match[1], err)
			}
		}
	}
	if len(cfg.Targets) == 0 {
		t.Error("the README shows no SALLYPORT_TARGETS")
	}
}

func writeExample(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

var mine = regexp.MustCompile("`mine/([\\w.-]+)`")

// The policy that the README writes loads, passes its tests with the coverage that
// is shown, and denies what is shown for the reason that is shown.
func TestReadmePolicy(t *testing.T) {
	t.Parallel()
	files := make(fstest.MapFS)
	for _, e := range slices.Concat(readmeExamples(t, "rego"), readmeExamples(t, "json")) {
		if name := mine.FindStringSubmatch(e.before); name != nil {
			files[name[1]] = &fstest.MapFile{Data: []byte(e.text)}
		} else if e.language == "rego" {
			t.Errorf("the README does not say which file this is:\n%s", e.text)
		}
	}
	if len(files) < 3 {
		t.Fatalf("the README shows %d files of a policy", len(files))
	}
	policy, err := authz.Compile(t.Context(), files, authz.Options{})
	if err != nil {
		t.Fatalf("the README's policy:\n%v", err)
	}
	report, err := authz.Test(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	console := readmeExamples(t, "console")
	if len(console) != 1 {
		t.Fatalf("the README has %d blocks of commands and their output", len(console))
	}
	shown := console[0].text
	for _, want := range []string{
		fmt.Sprintf("%d passed, 0 failed\n", len(report.Tests)), fmt.Sprintf("coverage %.1f %% of the lines\n", 100*report.Coverage()),
	} {
		if !report.Passed() || !strings.Contains(shown, want) {
			t.Errorf("the README does not show %q", want)
		}
	}
	eval := regexp.MustCompile(`policy eval mine --agent (\S+) --path (\S+)\ndenied\n  reason +(.+)\n`).FindStringSubmatch(shown)
	if eval == nil {
		t.Fatalf("the README shows no denial:\n%s", shown)
	}
	if d := policy.Register(t.Context(), registration(t, eval[1], eval[2])); d.Allow || !slices.Equal(d.Reasons, eval[3:4]) {
		t.Errorf("%s gets %v %v for %s, the README shows %q", eval[1], d.Allow, d.Reasons, eval[2], eval[3])
	}
}

// registration is a node's offer.
func registration(t *testing.T, id, path string) authz.RegisterInput {
	t.Helper()
	identity, err := authn.SPIFFEIdentity(spiffeid.RequireFromString(id))
	if err != nil {
		t.Fatal(err)
	}
	return authz.RegisterInput{Agent: authz.AgentOf(identity), Route: authz.RouteClaim{Path: path, Segments: strings.Split(path[1:], "/")}}
}

// The data that the README shows for builtin:prod is what its schema takes, and
// lets a node register what is below its ID.
func TestReadmeProductionData(t *testing.T) {
	t.Parallel()
	prod, ok := policies.Builtin("prod")
	if !ok {
		t.Fatal("no builtin:prod")
	}
	files := make(fstest.MapFS)
	err := fs.WalkDir(prod, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(prod, name)
		files[name] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, e := range readmeExamples(t, "json") {
		if !json.Valid([]byte(e.text)) {
			t.Errorf("no JSON:\n%s", e.text)
		}
		if strings.Contains(e.text, `"grants"`) {
			shown++
			files["data.json"] = &fstest.MapFile{Data: []byte(e.text)}
		}
	}
	if shown != 1 {
		t.Fatalf("the README shows %d times the data of builtin:prod", shown)
	}
	policy, err := authz.Compile(t.Context(), files, authz.Options{})
	if err != nil {
		t.Fatalf("the README's data:\n%v", err)
	}
	for path, want := range map[string]bool{"/node/a/x": true, "/node/b/x": false} {
		if d := policy.Register(t.Context(), registration(t, "spiffe://example.org/node/a", path)); d.Allow != want {
			t.Errorf("%s: allow %v, %v", path, d.Allow, d.Reasons)
		}
	}
}

// What the README does on two machines gives each of them what its daemon needs, and
// certificates that can be renewed as it says.
func TestReadmeTwoMachines(t *testing.T) {
	t.Parallel()
	m := &migration{&site{t: t}, string(read(t, "../README.md")), t.TempDir()}
	for _, program := range []string{"sallyport-proxy", "sallyport-agent"} {
		if dir := filepath.Dir(testenv.Build(t, program)); dir != filepath.Dir(testenv.Build(t, "sallyport")) {
			t.Fatalf("%s is in %s", program, dir)
		}
	}
	issue := blocks(m.guide, "sh", "sallyport pki init ")[0]
	m.shell(issue)
	_, issue, _ = strings.Cut(issue, "\n")
	m.shell(strings.ReplaceAll(issue, "pki issue ", "pki issue --force "))
	for machine, daemon := range map[string]string{"outside": "sallyport-proxy", "inside": "sallyport-agent"} {
		check := daemon + " check"
		block := blocks(m.guide, "sh", check+" && "+daemon)[0]
		said := m.shell("mkdir at-" + machine + "; cp -r " + machine + " at-" + machine + "/certs; cd at-" + machine + "\n" + strings.ReplaceAll(block, check+" && "+daemon, check))
		if !strings.Contains(said, "the configuration is good") {
			t.Errorf("%s: %s", machine, said)
		}
		if keys := m.shell("find at-" + machine + " -name '*ca-key*'"); keys != "" {
			t.Errorf("%s holds the authority's key", machine)
		}
	}
}
