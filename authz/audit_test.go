package authz_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/authz"
)

// auditing is an audit log under test. It runs within a bubble of synctest.
type auditing struct {
	*authz.Audit
	t    *testing.T
	out  *record
	log  *bytes.Buffer
	reg  *prom.Registry
	stop func()
}

// record is a sink that keeps each line, or fails.
type record struct {
	mu    sync.Mutex
	calls []string
	fail  func(p []byte) (int, error)
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail(p)
	}
	r.calls = append(r.calls, string(p))
	return len(p), nil
}

func newAuditing(t *testing.T) *auditing {
	t.Helper()
	a := &auditing{t: t, out: new(record), log: new(bytes.Buffer), reg: prom.NewRegistry()}
	var err error
	if a.Audit, err = authz.NewAudit(a.out, slog.New(slog.NewTextHandler(a.log, nil)), a.reg); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *auditing) start() {
	ctx, cancel := context.WithCancel(a.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	a.stop = func() {
		a.t.Helper()
		cancel()
		if err := <-done; err != nil {
			a.t.Error(err)
		}
	}
}

// lines are what was written since the last call, decoded.
func (a *auditing) lines() []map[string]any {
	a.t.Helper()
	a.out.mu.Lock()
	defer a.out.mu.Unlock()
	var lines []map[string]any
	for _, text := range a.out.calls {
		if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
			a.t.Errorf("no single line: %q", text)
		}
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			a.t.Fatalf("%v in %q", err, text)
		}
		lines = append(lines, line)
	}
	a.out.calls = nil
	return lines
}

func (a *auditing) counter(name string) float64 {
	a.t.Helper()
	families, err := a.reg.Gather()
	if err != nil {
		a.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	a.t.Fatalf("no metric %s", name)
	return 0
}

func denial(route string) authz.Event {
	return authz.Event{
		Time: time.Unix(1_700_000_000, 7), Action: "register", Effect: authz.Denied,
		Identity: "spiffe://example.org/team-a/node", Serial: "0a1b", Route: route, RemoteIP: "192.0.2.1",
		Decision: authz.Decision{ID: "ID1", Reasons: []string{"outside of /team-a"}, Revision: "r1"},
		Digest:   func() string { return "d1" },
	}
}

func TestAuditLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAuditing(t)
		a.start()
		a.Record(denial("/team-b"))
		granted := denial("/team-a/node")
		granted.Time, granted.Effect, granted.Decision = time.Time{}, authz.Registered, authz.Decision{ID: "ID2", Allow: true, Revision: "r1"}
		granted.Digest = nil
		a.Record(granted)
		a.stop()
		want := []string{
			`{"time":"2023-11-14T22:13:20.000000007Z","action":"register","effect":"denied",` +
				`"identity":"spiffe://example.org/team-a/node","serial":"0a1b","route":"/team-b","remote_ip":"192.0.2.1",` +
				`"allow":false,"reasons":["outside of /team-a"],"revision":"r1","input_sha256":"d1","decision_id":"ID1"}` + "\n",
			`{"time":"2000-01-01T00:00:00Z","action":"register","effect":"registered",` +
				`"identity":"spiffe://example.org/team-a/node","serial":"0a1b","route":"/team-a/node","remote_ip":"192.0.2.1",` +
				`"allow":true,"reasons":[],"revision":"r1","input_sha256":"","decision_id":"ID2"}` + "\n",
		}
		for i, line := range a.out.calls {
			if line != want[i] {
				t.Errorf("got  %swant %s", line, want[i])
			}
		}
		if len(a.out.calls) != len(want) || a.counter("sallyport_proxy_audit_events_total") != 2 {
			t.Errorf("%d lines", len(a.out.calls))
		}
	})
}

// TestAuditFoldsDenials: the first at once, the others as a number, and nothing else
// is ever folded.
func TestAuditFoldsDenials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAuditing(t)
		a.start()
		for i := range 10 {
			e := denial("/team-b")
			e.Decision.ID = fmt.Sprint("ID", i)
			a.Record(e)
			taken := denial("/team-b")
			taken.Effect, taken.Decision.Allow = authz.Revoked, false
			a.Record(taken)
		}
		for _, change := range []func(*authz.Event){
			func(e *authz.Event) { e.Action = "session" },
			func(e *authz.Event) { e.Effect = authz.Refused },
			func(e *authz.Event) { e.Identity += "2" },
			func(e *authz.Event) { e.Route += "/x" },
			func(e *authz.Event) { e.Decision.Reasons = []string{"another"} },
			func(e *authz.Event) { e.Decision.Revision = "r2" },
			func(e *authz.Event) { e.Decision.Fault = authz.ErrUndefined },
		} {
			e := denial("/team-b")
			change(&e)
			a.Record(e)
		}
		synctest.Wait()
		first := a.lines()
		if len(first) != 1+10+7 || first[0]["decision_id"] != "ID0" {
			t.Errorf("%d lines at once: %v", len(first), first)
		}
		for _, line := range first {
			if line["count"] != nil {
				t.Errorf("a count: %v", line)
			}
		}

		time.Sleep(12 * time.Second)
		synctest.Wait()
		counts := a.lines()
		if len(counts) != 1 || counts[0]["count"] != 9.0 || counts[0]["decision_id"] != "ID9" || counts[0]["route"] != "/team-b" {
			t.Errorf("after 10 s: %v", counts)
		}
		a.Record(denial("/team-b")) // goes on: no line of its own
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if counts = a.lines(); len(counts) != 1 || counts[0]["count"] != 1.0 {
			t.Errorf("10 s later: %v", counts)
		}
		time.Sleep(12 * time.Second)
		a.Record(denial("/team-b")) // after a quiet time it is news
		synctest.Wait()
		if again := a.lines(); len(again) != 1 || again[0]["count"] != nil {
			t.Errorf("later: %v", again)
		}
		a.Record(denial("/team-b"))
		a.stop()
		if last := a.lines(); len(last) != 1 || last[0]["count"] != 1.0 {
			t.Errorf("at the end: %v", last)
		}
	})
}

// TestAuditFloodIsBounded: one identity that is denied for ever new paths fills
// neither memory nor disk, hides nobody else, and nothing goes uncounted.
func TestAuditFloodIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAuditing(t)
		const flood = 100_000
		for i := range flood {
			a.Record(denial(fmt.Sprintf("/x/%d", i)))
		}
		for i := range 5000 {
			e := denial("/y")
			e.Identity = fmt.Sprint("spiffe://example.org/", i)
			a.Record(e)
		}
		for i := range 10_000 {
			e := denial(fmt.Sprintf("/z/%d", i))
			e.Effect = authz.Revoked
			a.Record(e)
		}
		a.start()
		synctest.Wait()
		a.stop()
		total, various, revoked := 0.0, 0, 0
		lines := a.lines()
		for _, line := range lines {
			count, ok := line["count"].(float64)
			if !ok {
				count = 1
			}
			total += count
			if line["effect"] == "revoked" {
				revoked++
			}
			if line["various"] == true {
				various++
				if line["route"] != "" || line["decision_id"] != "" || line["action"] != "register" {
					t.Errorf("various: %v", line)
				}
			}
		}
		if total != flood+15_000 || revoked != 10_000 || various != 2 || len(lines) > 10_000+4100 {
			t.Errorf("%d lines tell of %v events, %d revoked, %d various", len(lines), total, revoked, various)
		}
		if lost := a.counter("sallyport_proxy_audit_dropped_total"); lost != 0 {
			t.Errorf("%v lost", lost)
		}
	})
}

// TestAuditNeverBlocks: without a writer the queue fills, and what is lost is counted,
// in the audit log itself too.
func TestAuditNeverBlocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAuditing(t)
		const events = 50_000
		for range events {
			e := denial("/a")
			e.Effect = authz.Revoked
			a.Record(e)
		}
		a.start()
		a.stop()
		lines, lost := a.lines(), a.counter("sallyport_proxy_audit_dropped_total")
		written, last := len(lines)-1, lines[len(lines)-1]
		if last["effect"] != "lost" || last["count"] != lost || last["route"] != "" {
			t.Errorf("of %v lost the last line says %v", lost, last)
		}
		if log := a.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, fmt.Sprint("lost=", lost)) {
			t.Errorf("logged %s", log)
		}
		if written == 0 || lost == 0 || float64(written)+lost != events {
			t.Errorf("%d written, %v lost of %d", written, lost, events)
		}
		a.Record(denial("/a"))
		if again := a.counter("sallyport_proxy_audit_dropped_total"); again != lost+1 {
			t.Errorf("after the end: %v lost, then %v", lost, again)
		}
	})
}

// TestAuditTellsOfLossOnce: a sink that fails just as it would be told how much was lost
// is told when it can be, of all that was lost by then.
func TestAuditTellsOfLossOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAuditing(t)
		revoked := func(events int) {
			for range events {
				e := denial("/a")
				e.Effect = authz.Revoked
				a.Record(e)
			}
		}
		sink := func(f func(p []byte) (int, error)) {
			a.out.mu.Lock()
			defer a.out.mu.Unlock()
			a.out.fail = f
		}
		lines := 0
		sink(func(p []byte) (int, error) {
			if strings.Contains(string(p), `"effect":"lost"`) {
				return 0, errors.New("no space left")
			}
			lines++
			return len(p), nil
		})
		revoked(20_000)
		a.start()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		a.out.mu.Lock() // nothing can be written
		revoked(20_000)
		a.out.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		sink(nil)
		time.Sleep(10 * time.Second)
		a.stop()
		told := a.lines()
		if len(told) != 1 || told[0]["effect"] != "lost" || told[0]["count"] != float64(40_000-lines) {
			t.Errorf("of %d lost it is told %v", 40_000-lines, told)
		}
		if lost := a.counter("sallyport_proxy_audit_dropped_total"); lost != float64(40_000-lines) {
			t.Errorf("%v lost of %d", lost, 40_000-lines)
		}
		if log := a.log.String(); strings.Count(log, "faster than") != 2 {
			t.Errorf("logged %s", log)
		}
	})
}

func TestAuditOff(t *testing.T) {
	t.Parallel()
	var none *authz.Audit
	none.Record(denial("/a"))
	off, err := authz.NewAudit(nil, slog.New(slog.DiscardHandler), prom.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	off.Record(denial("/a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := off.Run(ctx); err != nil {
		t.Error(err)
	}
}

// TestAuditSinkFails: a full disk is told once, its losses are counted, and what was
// torn does not spoil the line after it.
func TestAuditSinkFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAuditing(t)
		a.start()
		var file bytes.Buffer
		a.out.fail = func(p []byte) (int, error) {
			n, _ := file.Write(p[:5])
			return n, errors.New("no space left")
		}
		for i := range 3 {
			a.Record(denial(fmt.Sprint("/", i)))
			synctest.Wait()
		}
		a.out.mu.Lock()
		a.out.fail = file.Write
		a.out.mu.Unlock()
		a.Record(denial("/3"))
		a.stop()
		if lost := a.counter("sallyport_proxy_audit_dropped_total"); lost != 3 {
			t.Errorf("%v lost", lost)
		}
		if log := a.log.String(); strings.Count(log, "\n") != 2 || !strings.Contains(log, "no space left") || !strings.Contains(log, "lost=3") {
			t.Errorf("logged %s", log)
		}
		texts := strings.Split(strings.TrimSpace(file.String()), "\n")
		if last := texts[len(texts)-1]; !json.Valid([]byte(last)) {
			t.Errorf("the line after is spoilt: %q", file.String())
		}
	})
}

// TestAuditNamesFaults: a fault may quote the policy's data or what a peer says, so
// the line has its kind alone.
func TestAuditNamesFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ rego, want string }{
		"undefined":         {`allow if input.route.path != "/boom"`, "undefined"},
		"conflict":          {"allow := true\nallow := false if input.route.path == \"/boom\"", "conflict_error"},
		"builtin":           {`allow if { input.route.path == "/boom"; to_number("hunter2") == 1 }`, "builtin_error"},
		"builtin under not": {"allow if not bad\nbad if { input.route.path == \"/boom\"; to_number(\"hunter2\") == 1 }", "builtin_error"},
		"type":              {`allow := "hunter2" if input.route.path == "/boom"`, "bad_answer"},
		"limits":            {"allow := true\nlimits := {\"hunter2\": 1} if input.route.path == \"/boom\"", "bad_answer"},
		"no package":        {"", "undefined"},
		"panic":             {"allow := true", "panic"},
		"endless": {`allow if { input.route.path == "/boom"
			some i in numbers.range(1, 1000000); some j in numbers.range(1, 1000000); i + j < 0 }`, "timeout"},
		"no turn": {"allow := true", "not_evaluated"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := mustCompile(t, folder(map[string]string{"register.rego": "package sallyport.register\n" + denyUnless(c.rego)}),
				authz.Options{Timeout: 300 * time.Millisecond})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			switch name {
			case "panic":
				p.Hook(func() { panic("hunter2") })
			case "no turn":
				cancel()
			}
			in := node()
			in.Route.Path = "/boom"
			e := denial("/boom")
			e.Decision = p.Register(ctx, in)
			if name == "no package" {
				e.Decision = p.Admin(ctx, operator())
			}
			line := written(t, e)
			if !strings.Contains(line, `"fault":"`+c.want+`"`) || strings.Contains(line, "hunter2") || !strings.Contains(line, `"allow":false`) {
				t.Errorf("fault %v is written as %s", e.Decision.Fault, line)
			}
		})
	}
}

func denyUnless(rego string) string {
	if rego == "" {
		return "allow := false"
	}
	return rego
}

// written is the line of one event.
func written(t testing.TB, e authz.Event) string {
	t.Helper()
	var out bytes.Buffer
	a, err := authz.NewAudit(&out, slog.New(slog.DiscardHandler), prom.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	a.Record(e)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// FuzzAuditLine: whatever a peer calls itself and its routes, a line is one line, is
// JSON, prints, is of bounded length, and has each field once.
func FuzzAuditLine(f *testing.F) {
	f.Add("spiffe://example.org/a", "/a", "no")
	f.Add("a\n{\"time\":\"forged\"}", "/\x00\u2028\u202e\u009b31m", "\xff\"}\r\n")
	f.Add(strings.Repeat("ü", 4000), strings.Repeat("\\", 4000), strings.Repeat("\"", 300))
	f.Fuzz(func(t *testing.T, identity, route, reason string) {
		e := denial(route)
		e.Identity, e.Serial, e.RemoteIP, e.Decision.Reasons = identity, reason, route, []string{reason, identity}
		line := written(t, e)
		body, ok := strings.CutSuffix(line, "\n")
		if !ok || strings.ContainsFunc(body, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(body) {
			t.Errorf("not one printable line: %q", line)
		}
		if len(line) > 16<<10 {
			t.Errorf("%d bytes", len(line))
		}
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		var into struct {
			Time, Action, Effect, Identity, Serial, Route, Revision string
			RemoteIP                                                string `json:"remote_ip"`
			InputSHA256                                             string `json:"input_sha256"`
			DecisionID                                              string `json:"decision_id"`
			Allow                                                   bool
			Reasons                                                 []string
		}
		if err := decoder.Decode(&into); err != nil {
			t.Errorf("%v in %q", err, line)
		}
		if _, err := decoder.Token(); err != io.EOF {
			t.Errorf("something after the object: %q", line)
		}
		if into.DecisionID != "ID1" || len(into.Reasons) != 2 || into.Allow {
			t.Errorf("forged: %q", line)
		}
	})
}

// digestOf is how anybody else would get the digest.
func digestOf(t *testing.T, document ast.Value) string {
	t.Helper()
	value, err := ast.JSON(document)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(bytes.TrimSpace(out.Bytes()))
	return hex.EncodeToString(sum[:])
}

func TestDigest(t *testing.T) {
	t.Parallel()
	visit := authz.SessionInput{Agent: node().Agent, Now: node().Now}
	for name, c := range map[string]struct {
		digest   string
		document ast.Value
	}{
		"register": {node().Digest(), node().Document()},
		"scrape":   {prometheus().Digest(), prometheus().Document()},
		"admin":    {operator().Digest(), operator().Document()},
		"empty":    {authz.RegisterInput{Now: node().Now}.Digest(), authz.RegisterInput{Now: node().Now}.Document()},
	} {
		if want := digestOf(t, c.document); c.digest != want {
			t.Errorf("%s: %s, want %s", name, c.digest, want)
		}
	}
	in := node()
	if in.Digest() != node().Digest() {
		t.Error("the same input has another digest")
	}
	in.Agent.Serial += "0"
	if in.Digest() == node().Digest() {
		t.Error("another input has the same digest")
	}
	other := visit
	other.Agent = in.Agent
	if a, b := visit.Digest(), other.Digest(); a == b || len(a) != 64 {
		t.Errorf("of sessions: %q, %q", a, b)
	}
}

// FuzzDigest: whatever a peer claims, the digest is that of the document as JSON.
func FuzzDigest(f *testing.F) {
	f.Add("/a", "name", "value")
	f.Add("\x00\u2028\xff\"\\", "<&>", "\x7f\u0085")
	f.Fuzz(func(t *testing.T, path, name, value string) {
		in := node()
		in.Route.Path, in.Route.Segments, in.Route.Labels = path, []string{value, path}, map[string]string{name: value, value: name}
		if got, want := in.Digest(), digestOf(t, in.Document()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// BenchmarkAuditRecord is what a decision pays that is written down: a denial that is
// folded, and one that is queued.
func BenchmarkAuditRecord(b *testing.B) {
	for name, effect := range map[string]authz.Effect{"folded": authz.Denied, "queued": authz.Revoked} {
		b.Run(name, func(b *testing.B) {
			a, err := authz.NewAudit(io.Discard, slog.New(slog.DiscardHandler), prom.NewRegistry())
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			e := denial("/team-b")
			e.Effect = effect
			b.ReportAllocs()
			for b.Loop() {
				a.Record(e)
			}
			cancel()
			if err := <-done; err != nil {
				b.Error(err)
			}
		})
	}
}

// BenchmarkAuditLine is what the writer does for a line, digest included.
func BenchmarkAuditLine(b *testing.B) {
	in := node()
	e := denial("/team-b")
	e.Effect, e.Digest = authz.Revoked, in.Digest
	ended, cancel := context.WithCancel(b.Context())
	cancel()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		a, err := authz.NewAudit(io.Discard, slog.New(slog.DiscardHandler), prom.NewRegistry())
		if err != nil {
			b.Fatal(err)
		}
		for range 1000 {
			a.Record(e)
		}
		b.StartTimer()
		if err := a.Run(ended); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/line")
}
