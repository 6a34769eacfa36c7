package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
)

func TestTargetsFileIsParsedStrictly(t *testing.T) {
	for name, tt := range map[string]struct {
		yaml   string
		n      int
		faults []string
	}{
		"empty":         {"", 0, nil},
		"comment":       {"# nothing\n", 0, nil},
		"no target":     {"targets: []", 0, nil},
		"null":          {"targets:\n", 0, nil},
		"all":           {full, 1, nil},
		"unknown key":   {"target: []", 0, []string{`line 1: unknown key target`}},
		"typo":          {"targets: [{path: /a, url: http://x, ulr: s3cret}]\n", 0, []string{`line 1: unknown key ulr`}},
		"tls typo":      {"targets: [{path: /a, url: https://x, tls: {insecure_skip_verify: true}}]\n", 0, []string{`line 1: unknown key insecure_skip_verify`}},
		"inline secret": {"targets: [{path: /a, url: http://x, basic_auth: {username: a, password: s3cret}}]\n", 0, []string{`line 1: unknown key password`}},
		"wrong types":   {"targets: [{path: [s3cret], url: http://x, labels: s3cret, params: s3cret}]\n", 0, []string{`line 1: a list, want a text; line 1: a text, want names with a text each; line 1: a text, want a list of texts`}},
		"not a list":    {"targets: s3cret", 0, []string{"line 1: a text, want a list below `targets:`, each entry with a path and a url"}},
		"a mapping":     {"targets: {s3cret: http://x}", 0, []string{"line 1: a mapping, want a list below `targets:`, .*"}},
		"no entries":    {"targets: [s3cret]", 0, []string{`line 1: a text, want a path and a url, as in .*`}},
		"tls true":      {"targets: [{path: /a, url: https://x, tls: true}]", 0, []string{`line 1: a single value, want a mapping of keys to values`}},
		"text":          {"/a=http://s3cret", 0, []string{"line 1: a text, want `targets:` with a list below it"}},
		"not YAML":      {"targets: [", 0, []string{`line 1: .*`}},
		"a list":        {"- path: /a", 0, []string{"line 1: a list, want `targets:` with a list below it"}},
		"two documents": {"targets: []\n---\ntargets: []\n", 0, []string{`more than one YAML document`}},
		"two keys":      {"targets: []\ntargets: []\n", 0, []string{`.*already defined.*`}},
		"twice":         {"targets:\n- {path: /a, url: http://x}\n- {path: /b, url: http://x}\n\n- path: /a\n  url: http://x\n", 0, []string{`/a: given twice: line 2 and line 5`}},
		"faults":        {"targets: [{path: /a}, {path: b, url: http://x}]", 0, []string{`/a: url: none given`, `line 1: .*`}},
	} {
		t.Run(name, func(t *testing.T) {
			targets, err := agent.ParseTargetsFile([]byte(tt.yaml))
			wantFaults(t, err, tt.faults...)
			if err == nil && len(targets) != tt.n {
				t.Errorf("%d targets", len(targets))
			}
			if err != nil && strings.Contains(err.Error(), "s3c") {
				t.Errorf("a secret is told: %v", err)
			}
		})
	}
}

const full = `
targets:
  - path: /team-a/node
    url: https://node.example:9100/metrics?x=1
    labels: {zone: eu, rack: 7}
    params: ["collect[]"]
    tls: {ca_file: ca.pem, cert_file: cert.pem, key_file: key.pem, server_name: node}
    authorization: {credentials_file: token}
`

func FuzzTargetsFile(f *testing.F) {
	for _, seed := range []string{full, "targets: []", "targets: [{path: /a, url: http://x}]", "a: &a [*a]", "targets: &a [*a]", "---\n...\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		targets, err := agent.ParseTargetsFile([]byte(s))
		if err != nil && strings.ContainsAny(strings.ReplaceAll(err.Error(), "\n", ""), "\r\x00\x1b") {
			t.Errorf("the error is not printable: %q", err)
		}
		if err == nil && targets.Validate() != nil {
			t.Error("faulty targets pass")
		}
	})
}

func TestTargetsFileAtTheStart(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	for name, tt := range map[string]struct {
		file   string
		faults []string
	}{
		"missing":      {missing, []string{`SALLYPORT_TARGETS_FILE: stat .*: no such file or directory`}},
		"a folder":     {dir, []string{`SALLYPORT_TARGETS_FILE: .*: is not a regular file`}},
		"faulty":       {writeFile(t, dir, "faulty", []byte("targets: [{path: /b}, {path: /c}]")), []string{`SALLYPORT_TARGETS_FILE: /b: url: none given`, `SALLYPORT_TARGETS_FILE: /c: url: none given`}},
		"repeats":      {writeFile(t, dir, "repeats", []byte("targets: [{path: /a, url: http://x}]")), []string{`SALLYPORT_TARGETS_FILE: /a: given twice: target 1 of SALLYPORT_TARGETS and line 1`}},
		"names others": {writeFile(t, dir, "names", []byte("targets: [{path: /b, url: https://x, tls: {ca_file: "+missing+"}}, {path: /c, url: http://x, authorization: {credentials_file: "+missing+"}}]")), []string{`SALLYPORT_TARGETS_FILE: /b: tls: ca_file: stat .*`, `SALLYPORT_TARGETS_FILE: /c: authorization: credentials_file: stat .*`}},
		"all of one": {writeFile(t, dir, "all", []byte("targets: [{path: /b, url: https://x, tls: {ca_file: a.pem, cert_file: c.pem, key_file: k.pem}, basic_auth: {username: x, password_file: pw}}]")), []string{
			`SALLYPORT_TARGETS_FILE: /b: tls: ca_file: stat ` + dir + `/a.pem: .*`, `SALLYPORT_TARGETS_FILE: /b: tls: cert_file: stat ` + dir + `/c.pem: .*`,
			`SALLYPORT_TARGETS_FILE: /b: tls: key_file: stat ` + dir + `/k.pem: .*`, `SALLYPORT_TARGETS_FILE: /b: basic_auth: password_file: stat ` + dir + `/pw: .*`,
		}},
		"of every kind": {writeFile(t, dir, "kinds", []byte("targets: [{path: /b}, {path: /c, url: http://x, authorization: {credentials_file: token}}]")), []string{
			`SALLYPORT_TARGETS_FILE: /b: url: none given`, `SALLYPORT_TARGETS_FILE: /c: authorization: credentials_file: stat ` + dir + `/token: .*`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := validConfig()
			cfg.TargetsFile = tt.file
			cfg.MaxConcurrentScrapes = 0
			_, err := agent.New(cfg, agent.Parts{})
			wantFaults(t, err, append([]string{`SALLYPORT_MAX_CONCURRENT_SCRAPES: .*`}, tt.faults...)...)
		})
	}
}

// targetsRig is a rig with a targets file that has been taken in.
func targetsRig(t *testing.T, content string) (r *rig, s *fakeSession, file string) {
	t.Helper()
	file = writeFile(t, t.TempDir(), "targets.yaml", []byte(content))
	r = startRig(t, rigOptions{pipe: true, targets: agent.Targets{{Path: "/static", URL: "http://x"}}, configure: func(c *agent.Config) {
		c.TargetsFile = file
	}})
	return r, r.session(t), file
}

// heard are the paths of all that was registered and withdrawn since the last call.
func (s *fakeSession) heard() (registered, withdrawn string) {
	for len(s.registered) > 0 {
		for _, route := range (<-s.registered).GetRoutes() {
			registered += route.GetPath() + " "
		}
	}
	for len(s.withdrawn) > 0 {
		withdrawn += strings.Join((<-s.withdrawn).GetPaths(), " ") + " "
	}
	return registered, withdrawn
}

func TestTargetsFileIsFollowed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, session, file := targetsRig(t, "targets: [{path: /a, url: http://a}, {path: /b, url: http://b}]")
		synctest.Wait()
		if got, _ := session.heard(); got != "/a /b /static " {
			t.Errorf("registered %s", got)
		}
		for _, step := range []struct{ name, content, registered, withdrawn string }{
			{"the same", "targets: [{path: /b, url: http://b}, {path: /a, url: http://a}]", "", ""},
			{"added", "targets: [{path: /a, url: http://a}, {path: /b, url: http://b}, {path: /c, url: http://c}]", "/c ", ""},
			{"removed", "targets: [{path: /b, url: http://b}, {path: /c, url: http://c}]", "", "/a "},
			{"another url", "targets: [{path: /b, url: http://b2}, {path: /c, url: http://c}]", "/b ", ""},
			{"a label", "targets: [{path: /b, url: http://b2, labels: {x: y}}, {path: /c, url: http://c}]", "/b ", ""},
			{"what is not claimed", "targets: [{path: /b, url: 'http://b2?x=1', labels: {x: y}, params: [z]}, {path: /c, url: http://c}]", "", ""},
			{"faulty", "targets: [{path: /b", "", ""},
			{"repeats", "targets: [{path: /static, url: http://b}]", "", ""},
			{"all at once", "targets: [{path: /c, url: http://c2}, {path: /d, url: http://d}]", "/c /d ", "/b "},
			{"empty", "", "", "/c /d "},
			{"back", "targets: [{path: /c, url: http://c}]", "/c ", ""},
		} {
			writeFile(t, filepath.Dir(file), "targets.yaml", []byte(step.content))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			registered, withdrawn := session.heard()
			if registered != step.registered || withdrawn != step.withdrawn {
				t.Errorf("%s: registered %q, withdrawn %q", step.name, registered, withdrawn)
			}
		}
		log := r.log.String()
		if strings.Count(log, "the targets file is faulty") != 2 || !strings.Contains(log, "/static: given twice") {
			t.Errorf("log: %s", log)
		}
		if got := r.metric(t, "sallyport_agent_targets_reload_failures_total", ""); got != 2 {
			t.Errorf("failures = %v", got)
		}
		if got := r.metric(t, "sallyport_agent_targets", ""); got != 2 {
			t.Errorf("targets = %v", got)
		}
		if got := r.metric(t, "sallyport_agent_routes", "accepted"); got != 2 {
			t.Errorf("accepted routes = %v", got)
		}
	})
}

func TestTargetsFileThatGoesAwayAndComesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const content = "targets: [{path: /a, url: http://a}]"
		r, session, file := targetsRig(t, content)
		synctest.Wait()
		session.heard()
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		writeFile(t, filepath.Dir(file), "targets.yaml", []byte(content))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if registered, withdrawn := session.heard(); registered+withdrawn != "" {
			t.Errorf("registered %q, withdrawn %q", registered, withdrawn)
		}
		log := r.log.String()
		if strings.Count(log, "the targets file is faulty") != 1 || !strings.Contains(log, "the targets file is as it was") {
			t.Errorf("log: %s", log)
		}
	})
}

// A file that stays faulty is told of once, and counted for as long as it is: what is
// counted once is over for an alert before it is mended.
func TestTargetsFileThatStaysFaultyIsCountedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, _, file := targetsRig(t, "targets: []")
		writeFile(t, filepath.Dir(file), "targets.yaml", []byte("targets: [{path: /b"))
		for minute := range 10 {
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := r.metric(t, "sallyport_agent_targets_reload_failures_total", ""); got != float64(2*minute+2) {
				t.Errorf("after %d minutes: failures = %v", minute+1, got)
			}
		}
		if log := r.log.String(); strings.Count(log, "the targets file is faulty") != 1 {
			t.Errorf("log: %s", log)
		}
		writeFile(t, filepath.Dir(file), "targets.yaml", []byte("targets: []"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := r.metric(t, "sallyport_agent_targets_reload_failures_total", ""); got != 20 {
			t.Errorf("after it was mended: failures = %v", got)
		}
	})
}

// A file that a target names may come later than the target.
func TestTargetsFileWaitsForTheFilesItNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, session, file := targetsRig(t, "")
		synctest.Wait()
		session.heard()
		dir := filepath.Dir(file)
		writeFile(t, dir, "targets.yaml", []byte("targets: [{path: /a, url: http://a, authorization: {credentials_file: "+filepath.Join(dir, "token")+"}}]"))
		time.Sleep(time.Minute)
		if registered, _ := session.heard(); registered != "" {
			t.Errorf("registered %q", registered)
		}
		writeFile(t, dir, "token", []byte("t0ken\n"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if registered, _ := session.heard(); registered != "/a " {
			t.Errorf("registered %q", registered)
		}
	})
}

// Relative names of files are meant from the folder of the targets file, wherever
// the agent was started, and a target that merely moves within the file is no other.
func TestTargetsFileNamesFilesBesideIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, session, file := targetsRig(t, "")
		synctest.Wait()
		session.heard()
		dir := filepath.Dir(file)
		writeFile(t, dir, "token", []byte("t0ken\n"))
		const target = "- {path: /a, url: http://a, authorization: {credentials_file: token}}\n"
		for _, step := range []struct{ content, registered string }{
			{"targets:\n" + target, "/a "},
			{"targets:\n# moved\n- {path: /b, url: http://b}\n" + target, "/b "},
		} {
			writeFile(t, dir, "targets.yaml", []byte(step.content))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if registered, withdrawn := session.heard(); registered != step.registered || withdrawn != "" {
				t.Errorf("registered %q, withdrawn %q", registered, withdrawn)
			}
		}
		if log := r.log.String(); strings.Count(log, "added=1 removed=0 changed=0") != 2 {
			t.Errorf("log: %s", log)
		}
	})
}

// A file caught half written is not taken at its word, even where the half is
// valid.
func TestTargetsFileIsReadOnlyWhenItHasSettled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, session, file := targetsRig(t, "targets:\n- {path: /a, url: http://a}\n- {path: /b, url: http://b}\n")
		synctest.Wait()
		session.heard()
		time.Sleep(499 * time.Millisecond) // just before a poll
		for i := range 10 {
			content := "targets:\n- {path: /a, url: http://a}\n" + strings.Repeat("# growing\n", i)
			writeFile(t, filepath.Dir(file), "targets.yaml", []byte(content))
			time.Sleep(500 * time.Millisecond)
		}
		writeFile(t, filepath.Dir(file), "targets.yaml", []byte("targets:\n- {path: /a, url: http://a}\n- {path: /b, url: http://b}\n- {path: /c, url: http://c}\n"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if registered, withdrawn := session.heard(); registered != "/c " || withdrawn != "" {
			t.Errorf("registered %q, withdrawn %q", registered, withdrawn)
		}
	})
}

// Kubernetes swaps a symbolic link to a folder; the file's own name never changes.
func TestTargetsFileInAConfigMap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		mount := func(version, content string) {
			t.Helper()
			folder := filepath.Join(dir, version)
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			writeFile(t, folder, "targets.yaml", []byte(content))
			if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		mount("..2026_1", "targets: [{path: /a, url: http://a}]")
		file := filepath.Join(dir, "targets.yaml")
		if err := os.Symlink(filepath.Join("..data", "targets.yaml"), file); err != nil {
			t.Fatal(err)
		}
		r := startRig(t, rigOptions{pipe: true, configure: func(c *agent.Config) { c.TargetsFile = file }})
		session := r.session(t)
		synctest.Wait()
		session.heard()
		mount("..2026_2", "targets: [{path: /b, url: http://b}]")
		if err := os.RemoveAll(filepath.Join(dir, "..2026_1")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if registered, withdrawn := session.heard(); registered != "/b " || withdrawn != "/a " {
			t.Errorf("registered %q, withdrawn %q", registered, withdrawn)
		}
	})
}

// What is withdrawn while its registration is under way is withdrawn after it,
// and what comes back is registered after that.
func TestTargetThatComesAndGoesBeforeTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		file := writeFile(t, t.TempDir(), "targets.yaml", []byte("targets: [{path: /a, url: http://a}]"))
		r := startRig(t, rigOptions{pipe: true, configure: func(c *agent.Config) { c.TargetsFile = file }, proxy: func(p *fakeProxy) { p.silent = true }})
		session := r.session(t)
		first := <-session.registered
		write := func(content string) {
			writeFile(t, filepath.Dir(file), "targets.yaml", []byte(content))
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		write("")
		if registered, withdrawn := session.heard(); registered != "" || withdrawn != "/a " {
			t.Errorf("registered %q, withdrawn %q", registered, withdrawn)
		}
		write("targets: [{path: /a, url: http://a2}]")
		second := <-session.registered
		session.send(session.answers(first)) // says nothing about the second
		synctest.Wait()
		if got := r.metric(t, "sallyport_agent_routes", "offered"); got != 1 {
			t.Errorf("offered routes = %v", got)
		}
		session.send(session.answers(second))
		synctest.Wait()
		if got := r.metric(t, "sallyport_agent_routes", "accepted"); got != 1 {
			t.Errorf("accepted routes = %v", got)
		}
	})
}
