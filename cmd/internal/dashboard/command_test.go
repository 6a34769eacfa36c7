package dashboard

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/testenv"
)

// The command is one line of visible ASCII that a shell takes for what it says, whatever
// the agent's name holds; the policy's decision by it is the one that was made, on the
// very input.
func TestCommandMakesTheDecisionAgain(t *testing.T) {
	t.Parallel()
	tool := testenv.Build(t, "sallyport")
	names := []string{
		"plain", `'; touch owned; '`, "$(touch owned) `touch owned` \\' \\", "new\nline \x1b[2J", "\u202e \u2028 \U0001F3F0 é", `%s %d "quoted"`,
	}
	for _, name := range names {
		in := authz.RegisterInput{Agent: authz.AgentInput{
			ID: "spiffe://example.org/team-a", Kind: "spiffe", TrustDomain: "example.org", Segments: []string{"team-a"}, Name: name,
			Serial: "0a", SPKISHA256: strings.Repeat("0", 64), RemoteIP: "192.0.2.1", Source: "files",
		}}
		in.Agent.NotAfter = in.Agent.NotAfter.AddDate(2029, 0, 0)
		in.Now = in.Agent.NotAfter.AddDate(0, -1, 0)
		in.Route = authz.RouteClaim{Path: "/team-b", Segments: []string{"team-b"}, Labels: map[string]string{"a": name}, Target: authz.TargetClaim{Scheme: "http", Host: "h", Port: 1, Path: "/"}}
		in.Proxy = authz.ProxyInput{ID: "spiffe://example.org/proxy", TrustDomain: "example.org"}
		command := evalCommand(authz.Status{Name: "builtin:default"}, in.JSON())
		if strings.ContainsFunc(command, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q: it holds what is not visible: %q", name, command)
		}
		shell := exec.Command("sh", "-c", strings.Replace(command, "sallyport", tool, 1))
		shell.Dir = t.TempDir()
		out, err := shell.CombinedOutput()
		if shell.ProcessState == nil || shell.ProcessState.ExitCode() != 1 {
			t.Fatalf("%q: %v\n%s\n%s", name, err, command, out)
		}
		if text := string(out); !strings.HasPrefix(text, "denied\n") || !strings.Contains(text, "input     "+in.Digest()+"\n") {
			t.Errorf("%q: another decision: %s", name, text)
		}
		if left, _ := exec.Command("ls", "-A", shell.Dir).Output(); len(left) > 0 {
			t.Errorf("%q: the shell ran it: %s", name, left)
		}
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"builtin:default", "/etc/sallyport/policy", "-x", "it's", "a b", "", "$HOME", "~root", "a\nb", "é"} {
		out, err := exec.Command("sh", "-c", "printf '%s' "+quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q comes as %q, %v", s, out, err)
		}
	}
}

func TestPlainJSONMeansTheSame(t *testing.T) {
	t.Parallel()
	want := map[string]string{"a'\u2028\U0001F3F0": "\x7f\u0000\"\\é"}
	encoded, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(plainJSON(encoded)), &got); err != nil || len(got) != 1 || got["a'\u2028\U0001F3F0"] != want["a'\u2028\U0001F3F0"] {
		t.Errorf("%q, %v", got, err)
	}
}
