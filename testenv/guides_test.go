package testenv_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
)

// guides are those for who comes from something else, by name.
func guides(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range deployed(t, ".", "from-*.md") {
		all[filepath.Base(name)] = string(read(t, name))
	}
	return all
}

// blocks are a text's blocks of one language, in order, that contain these words.
func blocks(text, language, words string) []string {
	var found []string
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		if block[1] == language && strings.Contains(block[2], words) {
			found = append(found, block[2])
		}
	}
	return found
}

// What a guide names of ours is there: variables, metrics, outcomes, alerts. The
// README's tables are made from the code.
func TestGuidesNameWhatThereIs(t *testing.T) {
	t.Parallel()
	readme := string(read(t, "../README.md"))
	var alerts []string
	for _, r := range prometheusRules(t) {
		alerts = append(alerts, r.Alert)
	}
	for name, text := range guides(t) {
		for _, variable := range regexp.MustCompile(`\b(?:SALLYPORT|OTEL|SPIFFE)_[A-Z_]+`).FindAllString(text, -1) {
			if !strings.Contains(readme, "\n| `"+variable+"` |") {
				t.Errorf("%s: there is no %s", name, variable)
			}
		}
		for _, metric := range regexp.MustCompile(`\bsallyport_[a-z_]+`).FindAllString(text, -1) {
			if !strings.Contains(readme, "\n| `"+metric+"` |") {
				t.Errorf("%s: there is no %s", name, metric)
			}
		}
		for _, alert := range regexp.MustCompile(`\bSallyport[A-Z]\w+`).FindAllString(text, -1) {
			if !slices.Contains(alerts, alert) {
				t.Errorf("%s: there is no alert %s", name, alert)
			}
		}
	}
}

// The table of words for how a scrape ended has every one of ours, but for those to which
// none of prometheus-proxy's comes near.
func TestGuidePairsOutcomes(t *testing.T) {
	t.Parallel()
	_, table, _ := strings.Cut(guides(t)["from-prometheus-proxy.md"], "| type | outcome |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	paired := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\|[^|]*\|([^|]*)\|$`).FindAllStringSubmatch(table, -1) {
		for _, word := range backticked.FindAllStringSubmatch(row[1], -1) {
			paired[word[1]] = true
		}
	}
	for _, ours := range []proxy.Outcome{proxy.BadRequest, proxy.Unauthenticated, proxy.Method, proxy.TargetUnreachable, proxy.TargetRejected} {
		paired[string(ours)] = true
	}
	for _, info := range proxy.Outcomes() {
		if !paired[string(info.Outcome)] {
			t.Errorf("%s is not paired", info.Outcome)
		}
		delete(paired, string(info.Outcome))
	}
	if len(paired) > 0 {
		t.Errorf("these are no outcomes: %v", paired)
	}
}

var backticked = regexp.MustCompile("`([^`]+)`")

// A variable or flag of theirs stands in one row, so that who looks one up finds all
// that there is to say.
func TestGuidesListEachNameOnce(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]struct {
		title string
		shape *regexp.Regexp
		names int
	}{
		"from-prometheus-proxy.md": {"## Variable by variable", regexp.MustCompile(`^[A-Z][A-Z0-9_]+$`), 51},
		"from-pushprox.md":         {"## Flag by flag", regexp.MustCompile(`^--[a-z.-]+$`), 14},
	} {
		_, tables, _ := strings.Cut(guides(t)[name], list.title)
		listed := map[string]int{}
		for _, row := range regexp.MustCompile(`(?m)^\|([^|]*)\|`).FindAllStringSubmatch(tables, -1) {
			for _, word := range backticked.FindAllStringSubmatch(row[1], -1) {
				if list.shape.MatchString(word[1]) {
					listed[word[1]]++
				}
			}
		}
		for word, times := range listed {
			// PushProx's proxy and client both have the flags of the log.
			if both := strings.HasPrefix(word, "--log."); times > 1 && !(both && times == 2) {
				t.Errorf("%s lists %s %d times", name, word, times)
			}
		}
		if len(listed) != list.names {
			t.Errorf("%s lists %d names, of %d: %v", name, len(listed), list.names, slices.Sorted(maps.Keys(listed)))
		}
	}
}

// A link between documents leads to a file that is there, and to a heading in it.
func TestLinksLead(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s#:]*)(?:#([^)\s]+))?\)`)
	names := append(deployed(t, ".", "*.md"), "../README.md", "../SECURITY.md")
	for _, name := range names {
		for _, to := range link.FindAllStringSubmatch(string(read(t, name)), -1) {
			target := name
			if to[1] != "" {
				target = filepath.Join(filepath.Dir(name), to[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if to[2] != "" && !slices.Contains(anchors(string(read(t, target))), to[2]) {
				t.Errorf("%s: %s has no heading #%s", name, target, to[2])
			}
		}
	}
	for guide := range guides(t) {
		if link := "(deploy/" + guide + ")"; !strings.Contains(string(read(t, "../README.md")), link) {
			t.Errorf("the README does not link %s", link)
		}
	}
}

// anchors are the names that a renderer gives to a text's headings.
func anchors(text string) []string {
	var names []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		plain := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		names = append(names, strings.ReplaceAll(plain, " ", "-"))
	}
	return names
}

// Prometheus's own tool takes what the guides show of its configuration, the new jobs
// beside the old ones, and the question that compares them.
func TestGuidesPassPromtool(t *testing.T) {
	t.Parallel()
	promtool := testenv.Program(t, "promtool")
	for name, text := range guides(t) {
		dir := t.TempDir()
		shown := blocks(text, "yaml", "scrape_configs:")
		beside := shown[0] + jobs(shown[1])
		for i, config := range append(shown, beside) {
			file := filepath.Join(dir, fmt.Sprintf("%d.yml", i))
			writeExample(t, file, config)
			if out, err := exec.Command(promtool, "check", "config", "--syntax-only", file).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s\n%s", name, err, out, config)
			}
		}
		question := blocks(text, "promql", "unless")
		rules, err := yaml.Marshal(map[string][]ruleGroup{"groups": {{Name: "guide", Rules: []rule{{Record: "lacking:up", Expr: question[0]}}}}})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "rules.yml")
		writeExample(t, file, string(rules))
		if out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// jobs are the scrape jobs of a configuration without its head.
func jobs(config string) string {
	_, list, _ := strings.Cut(config, "scrape_configs:\n")
	return list
}
