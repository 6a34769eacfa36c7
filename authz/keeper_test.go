package authz_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/seed-951114d4/sallyport/authz"
)

// inForceWithin is what the operator is promised.
const inForceWithin = 2 * time.Second

// shelf is a folder whose content a test replaces in one step.
type shelf struct {
	content atomic.Pointer[fs.FS]
	opened  func(name string) // called before a file is opened, if set
}

func newShelf(files map[string]string) *shelf {
	s := new(shelf)
	s.put(files)
	return s
}

func (s *shelf) put(files map[string]string) {
	fsys := folder(files)
	s.content.Store(&fsys)
}

func (s *shelf) Open(name string) (fs.File, error) {
	if s.opened != nil {
		s.opened(name)
	}
	return (*s.content.Load()).Open(name)
}

// saying is a policy that allows and gives its name as the reason.
func saying(name string) map[string]string {
	return map[string]string{
		"register.rego": "package sallyport.register\n\nallow := true\n\nreasons contains data.name\n",
		"data.json":     fmt.Sprintf(`{"name": %q}`, name),
	}
}

// broken is one with a fault in line 3 of register.rego.
func broken(name string) map[string]string {
	return map[string]string{"register.rego": "package sallyport.register\n\nallow if " + name + "_undefined\n"}
}

// kept is a Keeper with what it says.
type kept struct {
	*authz.Keeper
	t   *testing.T
	reg *prom.Registry
	log *lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func keep(t *testing.T, place authz.Place) kept {
	t.Helper()
	k := kept{t: t, reg: prom.NewRegistry(), log: new(lockedBuffer)}
	var err error
	log := slog.New(slog.NewTextHandler(k.log, nil))
	k.Keeper, err = authz.NewKeeper(t.Context(), place, authz.Options{Timeout: 5 * time.Second}, log, k.reg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// run runs k until the test ends, or until the returned function is called.
func (k kept) run() (stop func()) {
	ctx, cancel := context.WithCancel(k.t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			k.t.Error(err)
		}
	})
	k.t.Cleanup(stop)
	return stop
}

// says is the name of the policy in force.
func (k kept) says() string {
	k.t.Helper()
	d := k.Engine().Register(k.t.Context(), node())
	if !d.Allow || len(d.Reasons) != 1 || d.Fault != nil {
		k.t.Fatalf("%+v", d)
	}
	return d.Reasons[0]
}

// changed waits for a change that was made at the time when, and holds the Keeper to its promise.
func (k kept) changed(signal <-chan struct{}, when time.Time) {
	k.t.Helper()
	select {
	case <-signal:
	case <-time.After(10 * inForceWithin):
		k.t.Fatalf("not in force; the log:\n%s", k.log)
	}
	if took := time.Since(when); took > inForceWithin {
		k.t.Errorf("in force after %s", took)
	}
}

func (k kept) metrics(reloads, failures int) {
	k.t.Helper()
	status := k.Status()
	want := fmt.Sprintf(`# HELP sallyport_proxy_policy_info The revision of the policy in force; always 1.
# TYPE sallyport_proxy_policy_info gauge
sallyport_proxy_policy_info{revision=%q} 1
# HELP sallyport_proxy_policy_loaded_timestamp_seconds When the policy in force was loaded.
# TYPE sallyport_proxy_policy_loaded_timestamp_seconds gauge
sallyport_proxy_policy_loaded_timestamp_seconds %g
# HELP sallyport_proxy_policy_reload_failures_total Policies that did not load, so that the one in force stayed; one that stays broken is tried again and counts again.
# TYPE sallyport_proxy_policy_reload_failures_total counter
sallyport_proxy_policy_reload_failures_total %d
# HELP sallyport_proxy_policy_reloads_total Policies that replaced another.
# TYPE sallyport_proxy_policy_reloads_total counter
sallyport_proxy_policy_reloads_total %d
`, status.Revision, float64(status.LoadedAt.UnixMilli())/1000, failures, reloads)
	families, err := k.reg.Gather()
	if err != nil {
		k.t.Fatal(err)
	}
	var got strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&got, family); err != nil {
			k.t.Fatal(err)
		}
	}
	if got.String() != want {
		k.t.Errorf("got %s\nwant %s", &got, want)
	}
	if status.Revision != k.Engine().Revision() {
		k.t.Errorf("the status is of %s, the engine of %s", status.Revision, k.Engine().Revision())
	}
}

func TestKeeperPutsChangesInForce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(saying("one"))
		k := keep(t, authz.FolderPlace(s, "/etc/policy"))
		stop := k.run()
		defer stop()
		if k.says() != "one" {
			t.Fatal(k.says())
		}
		first := k.Status()
		if first.Name != "/etc/policy" || first.Kind != "folder" || !first.LoadedAt.Equal(time.Now()) || first.Failure != nil {
			t.Errorf("%+v", first)
		}
		k.metrics(0, 0)

		for i, name := range []string{"two", "three"} {
			signal, when := k.Engine().Changed(), time.Now()
			s.put(saying(name))
			k.changed(signal, when)
			if k.says() != name {
				t.Errorf("in force is %s, want %s", k.says(), name)
			}
			k.metrics(i+1, 0)
		}
		if now := k.Status(); now.Revision == first.Revision || !now.LoadedAt.After(first.LoadedAt) {
			t.Errorf("%+v after %+v", now, first)
		}
		if n := strings.Count(k.log.String(), "policy replaced"); n != 2 {
			t.Errorf("logged %d times:\n%s", n, k.log)
		}
		// What stays as it is costs no reload.
		time.Sleep(time.Minute)
		k.metrics(2, 0)
	})
}

func TestKeeperWaitsUntilFilesStandStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(saying("0"))
		k := keep(t, authz.FolderPlace(s, "x"))
		defer k.run()()
		signal := k.Engine().Changed()
		for i := range 50 { // someone copies files, one after another
			time.Sleep(70 * time.Millisecond)
			s.put(saying(fmt.Sprint(i)))
		}
		select {
		case <-signal:
			t.Errorf("%s, which was never whole, is in force", k.says())
		default:
		}
		k.changed(signal, time.Now())
		if k.says() != "49" {
			t.Error(k.says())
		}
		k.metrics(1, 0)
	})
}

func TestBrokenPolicyChangesNothing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files map[string]string
		words []string
	}{
		{"rego", broken("x"), []string{"register.rego:3", "x_undefined"}},
		{"data", map[string]string{"data.json": "{\n\n\"name\": }"}, []string{"data.json:3"}},
		{"test", map[string]string{"x_test.rego": "package x_test\n\ntest_no if false"}, []string{"x_test.rego:3", "test_no"}},
		{"sample", map[string]string{"register.rego": "package sallyport.register\n\nallow if not to_number(input.agent.id)"}, []string{"register.rego:3", "to_number"}},
		{"gone", map[string]string{"register.rego": "package other\n\nx := 1"}, []string{"data.sallyport.register.allow"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShelf(saying("one"))
				k := keep(t, authz.FolderPlace(s, "x"))
				defer k.run()()
				before, signal := k.Status(), k.Engine().Changed()

				s.put(tt.files)
				time.Sleep(inForceWithin)
				when := time.Now()
				k.metrics(0, 1)
				if k.says() != "one" {
					t.Error(k.says())
				}
				after := k.Status()
				failure := after.Failure
				after.Failure = nil
				if after != before || failure == nil {
					t.Fatalf("%+v, before %+v", after, before)
				}
				if failure.Revision == "" || failure.Revision == before.Revision || when.Sub(failure.At) > inForceWithin {
					t.Errorf("%+v", failure)
				}
				for _, word := range tt.words {
					if !strings.Contains(failure.Error, word) || !strings.Contains(k.log.String(), word) {
						t.Errorf("no %q in the status %q or in the log:\n%s", word, failure.Error, k.log)
					}
				}

				// It is tried again now and then, and not spoken of.
				time.Sleep(time.Minute)
				k.metrics(0, 3)
				if n := strings.Count(k.log.String(), "level=ERROR"); n != 1 {
					t.Errorf("%d errors logged:\n%s", n, k.log)
				}

				select {
				case <-signal:
					t.Error("the engine says that the policy changed")
				default:
				}
				s.put(saying("one"))
				time.Sleep(inForceWithin)
				if k.Status() != before {
					t.Errorf("with the old policy back: %+v", k.Status())
				}
				k.metrics(0, 3)

				s.put(tt.files)
				time.Sleep(inForceWithin)
				s.put(saying("two"))
				time.Sleep(inForceWithin)
				if k.says() != "two" || k.Status().Failure != nil {
					t.Errorf("%s, %+v", k.says(), k.Status())
				}
				k.metrics(1, 4)
			})
		})
	}
}

// A second fault is spoken of, where it is another one.
func TestEachFaultIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(saying("one"))
		k := keep(t, authz.FolderPlace(s, "x"))
		defer k.run()()
		for _, name := range []string{"a", "b"} {
			s.put(broken(name))
			time.Sleep(inForceWithin)
			if f := k.Status().Failure; f == nil || !strings.Contains(f.Error, name+"_undefined") {
				t.Errorf("%+v", f)
			}
		}
		k.metrics(0, 2)
		if n := strings.Count(k.log.String(), "level=ERROR"); n != 2 {
			t.Errorf("%d errors logged:\n%s", n, k.log)
		}
	})
}

func TestFolderThatGoesAwayChangesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "policy")
		if err := os.CopyFS(dir, folder(saying("one"))); err != nil {
			t.Fatal(err)
		}
		k := keep(t, authz.FolderPlace(os.DirFS(dir), dir))
		defer k.run()()
		if err := os.Rename(dir, dir+".old"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(inForceWithin)
		f := k.Status().Failure
		if k.says() != "one" || f == nil || f.Revision != "" || !strings.Contains(f.Error, "no such file") {
			t.Errorf("%s, %+v", k.says(), f)
		}
		if err := os.Rename(dir+".old", dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(inForceWithin)
		if f := k.Status().Failure; f != nil {
			t.Errorf("%+v", f)
		}
		k.metrics(0, 1)
	})
}

func TestBuiltinIsNotReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(saying("one"))
		k := keep(t, authz.BuiltinPlace(s, "builtin:default"))
		defer k.run()()
		s.put(saying("two"))
		time.Sleep(time.Minute)
		if k.says() != "one" || k.Status().Kind != "builtin" {
			t.Errorf("%s, %+v", k.says(), k.Status())
		}
	})
}

func TestKeeperDoesNotStartWithABrokenPolicy(t *testing.T) {
	t.Parallel()
	reg := prom.NewRegistry()
	for _, place := range []authz.Place{
		authz.FolderPlace(folder(broken("x")), "x"),
		authz.FolderPlace(os.DirFS(filepath.Join(t.TempDir(), "none")), "none"),
		authz.BundlePlace(filepath.Join(t.TempDir(), "none.tar.gz"), nil),
	} {
		k, err := authz.NewKeeper(t.Context(), place, authz.Options{}, slog.New(slog.DiscardHandler), reg)
		if err == nil || k != nil {
			t.Errorf("%s: a keeper, and the error %v", place.Name(), err)
		}
	}
}

// A stop while a policy is compiled is no fault of the policy.
func TestKeeperStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(saying("one"))
		k := keep(t, authz.FolderPlace(s, "x"))
		s.put(saying("two"))
		ctx, cancel := context.WithCancel(t.Context())
		looks := 0
		s.opened = func(name string) {
			if name != "." {
				return
			}
			// At the second look what it sees is compiled.
			if looks++; looks == 2 {
				cancel()
			}
		}
		if err := k.Run(ctx); err != nil || looks != 2 {
			t.Errorf("%v after %d looks", err, looks)
		}
		k.metrics(0, 0)
		if k.Status().Failure != nil || strings.Contains(k.log.String(), "ERROR") {
			t.Errorf("%+v\n%s", k.Status().Failure, k.log)
		}
	})
}

func TestStatusAsJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got, err := json.Marshal(authz.Status{Name: "p.tar.gz", Kind: "bundle", Revision: "aa", BundleRevision: "7", Signed: true,
		LoadedAt: at, Failure: &authz.Failure{At: at, Revision: "bb", Error: "x.rego:1: no"}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"name":"p.tar.gz","kind":"bundle","revision":"aa","bundle_revision":"7","signed":true,` +
		`"loaded_at":"2026-01-02T03:04:05Z","failure":{"at":"2026-01-02T03:04:05Z","revision":"bb","error":"x.rego:1: no"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEngine(t *testing.T) {
	t.Parallel()
	one, two := mustCompile(t, folder(saying("one")), authz.Options{}), mustCompile(t, folder(saying("two")), authz.Options{})
	e := new(authz.Engine)
	if e.Policy() != nil || e.Revision() != "" || e.Register(t.Context(), node()).Allow {
		t.Error("the zero engine has a policy")
	}
	for _, p := range []*authz.Policy{one, two, nil, one} {
		before := e.Changed()
		if before != e.Changed() {
			t.Error("the channel changes without the policy")
		}
		e.Replace(p)
		select {
		case <-before:
		default:
			t.Error("not told")
		}
		if e.Policy() != p || e.Revision() != p.Revision() {
			t.Errorf("in force is %s, want %s", e.Revision(), p.Revision())
		}
		select {
		case <-e.Changed():
			t.Error("told too early")
		default:
		}
	}
}

// hammer decides with two goroutines until the returned function is called, which
// says how many decisions there were. Each must be wholly of one policy: what its rule,
// its two data files and its revision say must belong together.
func hammer(t *testing.T, e *authz.Engine, revisions *sync.Map) (stop func() int64) {
	ctx, cancel := context.WithCancel(t.Context())
	var count atomic.Int64
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			for ctx.Err() == nil {
				d := e.Register(context.WithoutCancel(ctx), node())
				count.Add(1)
				if !d.Allow || d.Fault != nil || len(d.Reasons) != 1 {
					t.Errorf("an error or a mixed decision: %+v", d)
					return
				}
				if known, _ := revisions.LoadOrStore(d.Reasons[0], d.Revision); known != d.Revision {
					t.Errorf("%s is of %s and of %s", d.Reasons[0], known, d.Revision)
					return
				}
			}
		})
	}
	return func() int64 {
		cancel()
		running.Wait()
		return count.Load()
	}
}

func TestConfigMapSwappedUnderLoad(t *testing.T) {
	t.Parallel()
	stamp := func(i int) string { return fmt.Sprintf("..2026_01_01_00_00_%02d.1", i) }
	v := newVolume(t, stamp(0), versioned("0"))
	k := keep(t, authz.FolderPlace(os.DirFS(v.root), v.root))
	k.SetPace(2*time.Millisecond, time.Millisecond)
	k.run()
	stop := hammer(t, k.Engine(), new(sync.Map))
	const swaps = 12
	for i := 1; i <= swaps; i++ {
		signal, when := k.Engine().Changed(), time.Now()
		v.publish(stamp(i), versioned(fmt.Sprint(i)))
		// As the kubelet does, at once and not caring who still reads.
		if err := os.RemoveAll(filepath.Join(v.root, stamp(i-1))); err != nil {
			t.Fatal(err)
		}
		k.changed(signal, when)
		if t.Failed() {
			break
		}
	}
	if n := stop(); n < swaps {
		t.Errorf("only %d decisions", n)
	}
	k.metrics(swaps, 0)
	if strings.Contains(k.log.String(), "ERROR") || k.Status().Failure != nil {
		t.Errorf("%+v\n%s", k.Status().Failure, k.log)
	}
}

// A plain folder behind a link, as git-sync keeps it: here one look can see two
// versions, and acts on neither.
func TestLinkedFolderSwappedUnderLoad(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	link := filepath.Join(root, "current")
	publish := func(i int) {
		dir := filepath.Join(root, fmt.Sprint(i))
		if err := os.CopyFS(dir, folder(versioned(fmt.Sprint(i)))); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir, link+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+".new", link); err != nil {
			t.Fatal(err)
		}
	}
	publish(0)
	k := keep(t, authz.FolderPlace(os.DirFS(link), link))
	k.SetPace(time.Millisecond, time.Millisecond)
	k.run()
	stop := hammer(t, k.Engine(), new(sync.Map))
	const swaps = 12
	for i := 1; i <= swaps && !t.Failed(); i++ {
		signal, when := k.Engine().Changed(), time.Now()
		publish(i)
		k.changed(signal, when)
	}
	stop()
	k.metrics(swaps, 0)
	if k.Status().Failure != nil {
		t.Errorf("%+v", k.Status().Failure)
	}
}

// The same in the midst of the first looks.
func TestLinkedFolderSwitchedWhileItIsLoaded(t *testing.T) {
	t.Parallel()
	s := newShelf(versioned("0"))
	switches := 0
	s.opened = func(name string) {
		if name == "scrape.rego" && switches < 6 {
			switches++
			s.put(versioned(fmt.Sprint(switches)))
		}
	}
	d := mustCompile(t, s, authz.Options{}).Register(t.Context(), node())
	if len(d.Reasons) != 1 || d.Reasons[0] != "6" {
		t.Errorf("%q", d.Reasons)
	}
}

// At the true pace, once, for the promise to the operator.
func TestConfigMapInForceInTime(t *testing.T) {
	t.Parallel()
	v := newVolume(t, "..2026_01_01_00_00_00.1", versioned("one"))
	k := keep(t, authz.FolderPlace(os.DirFS(v.root), v.root))
	k.run()
	signal, when := k.Engine().Changed(), time.Now()
	v.publish("..2026_01_01_00_00_00.2", versioned("two"))
	k.changed(signal, when)
	if k.says() != "two" {
		t.Error(k.says())
	}
	t.Logf("in force after %s", time.Since(when))
}

// Swapped faster than anybody could read it, a volume still never shows an error, nor
// a mix of two versions.
func TestConfigMapSwappedWithoutPause(t *testing.T) {
	t.Parallel()
	v := newVolume(t, "..2026_a", versioned("a"))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			old, next := "..2026_"+string(rune('a'+i%26)), "..2026_"+string(rune('a'+(i+1)%26))
			v.publish(next, versioned(next))
			if err := os.RemoveAll(filepath.Join(v.root, old)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 30 {
		p, err := authz.Load(t.Context(), authz.FolderPlace(os.DirFS(v.root), v.root), authz.Options{Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		d := p.Register(t.Context(), node())
		if len(d.Reasons) != 1 {
			t.Fatalf("a mix: %q", d.Reasons)
		}
	}
}

// The kubelet first switches the volume and then puts the visible names right.
func TestConfigMapBeforeItsNamesAreRight(t *testing.T) {
	t.Parallel()
	first := map[string]string{"register.rego": denyRegister, "scrape.rego": denyScrape, "old.json": `{"old": 1}`}
	v := newVolume(t, "..2026_a", first)
	v.publish("..2026_b", map[string]string{
		"register.rego": "package sallyport.register\nallow if { data.new == 1; not data.old }",
		"scrape.rego":   denyScrape,
		"new.json":      `{"new": 1}`,
	})
	if d := mustCompile(t, os.DirFS(v.root), authz.Options{}).Register(t.Context(), node()); !d.Allow {
		t.Errorf("the visible names of one version with the files of another: %+v", d)
	}
	// A file that is mounted beside the links counts as well.
	if err := os.WriteFile(filepath.Join(v.root, "beside.json"), []byte(`{"old": 2}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if d := mustCompile(t, os.DirFS(v.root), authz.Options{}).Register(t.Context(), node()); d.Allow {
		t.Error("a file beside the links is passed over")
	}
}
