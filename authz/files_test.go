package authz_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/seed-951114d4/sallyport/authz"
)

// volume is a folder as the kubelet mounts a ConfigMap: the files are in a folder with
// a time stamp, "..data" links to it, and each visible name links into "..data".
type volume struct {
	t    *testing.T
	root string
}

func newVolume(t *testing.T, stamp string, files map[string]string) volume {
	t.Helper()
	v := volume{t: t, root: t.TempDir()}
	v.publish(stamp, files)
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		if err := os.Symlink("..data/"+top, filepath.Join(v.root, top)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	return v
}

// publish writes a version and switches "..data" to it in one step.
func (v volume) publish(stamp string, files map[string]string) {
	v.t.Helper()
	for name, content := range files {
		path := filepath.Join(v.root, stamp, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			v.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			v.t.Fatal(err)
		}
	}
	tmp := filepath.Join(v.root, "..data_tmp")
	if err := os.Symlink(stamp, tmp); err != nil {
		v.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(v.root, "..data")); err != nil {
		v.t.Fatal(err)
	}
}

func versioned(version string) map[string]string {
	return map[string]string{
		"register.rego": `package sallyport.register
allow := true
reasons contains data.version
reasons contains data.sub.version
reasons contains "` + version + `"`,
		"scrape.rego":   denyScrape,
		"data.json":     `{"version": "` + version + `"}`,
		"sub/data.yaml": `version: "` + version + `"`,
	}
}

func TestConfigMapIsReadOnce(t *testing.T) {
	t.Parallel()
	v := newVolume(t, "..2026_01_01_00_00_00.1", versioned("one"))
	p := mustCompile(t, os.DirFS(v.root), authz.Options{})
	d := p.Register(t.Context(), node())
	if !d.Allow || len(d.Reasons) != 1 || d.Reasons[0] != "one" {
		t.Fatalf("%+v", d)
	}

	plain := t.TempDir()
	if err := os.CopyFS(plain, os.DirFS(filepath.Join(v.root, "..data"))); err != nil {
		t.Fatal(err)
	}
	if same := mustCompile(t, os.DirFS(plain), authz.Options{}); same.Revision() != p.Revision() {
		t.Errorf("revision %s as a volume, %s as a folder", p.Revision(), same.Revision())
	}

	v.publish("..2026_01_01_00_00_00.2", versioned("two"))
	d = mustCompile(t, os.DirFS(v.root), authz.Options{}).Register(t.Context(), node())
	if len(d.Reasons) != 1 || d.Reasons[0] != "two" || d.Revision == p.Revision() {
		t.Errorf("after the switch: %+v", d)
	}
}

// openHook calls f before a file is opened.
type openHook struct {
	fs.ReadLinkFS
	f func(name string)
}

func (h openHook) Open(name string) (fs.File, error) {
	h.f(name)
	return h.ReadLinkFS.Open(name)
}

func TestConfigMapSwitchedWhileItIsRead(t *testing.T) {
	t.Parallel()
	v := newVolume(t, "..2026_01_01_00_00_00.1", versioned("one"))
	switches := 0
	fsys := openHook{os.DirFS(v.root).(fs.ReadLinkFS), func(name string) {
		if strings.HasSuffix(name, "register.rego") {
			switches++
			v.publish(fmt.Sprintf("..2026_01_01_00_00_01.%d", switches), versioned(fmt.Sprint(switches)))
		}
	}}
	d := mustCompile(t, fsys, authz.Options{}).Register(t.Context(), node())
	if switches == 0 {
		t.Fatal("never switched")
	}
	if len(d.Reasons) != 1 {
		t.Errorf("a mix of two versions: %q", d.Reasons)
	}
}

// The kubelet removes a version right after it switched to the next.
func TestConfigMapVersionGoesAwayWhileItIsRead(t *testing.T) {
	t.Parallel()
	v := newVolume(t, "..2026_01_01_00_00_00.1", versioned("one"))
	gone := false
	fsys := openHook{os.DirFS(v.root).(fs.ReadLinkFS), func(name string) {
		if strings.HasSuffix(name, "register.rego") && !gone {
			gone = true
			v.publish("..2026_01_01_00_00_00.2", versioned("two"))
			if err := os.RemoveAll(filepath.Join(v.root, "..2026_01_01_00_00_00.1")); err != nil {
				t.Error(err)
			}
		}
	}}
	d := mustCompile(t, fsys, authz.Options{}).Register(t.Context(), node())
	if !gone || len(d.Reasons) != 1 || d.Reasons[0] != "two" {
		t.Errorf("%+v", d)
	}
}

func TestWhatIsRead(t *testing.T) {
	t.Parallel()
	bad := "this is neither Rego nor data: {"
	p := mustCompile(t, folder(map[string]string{
		"register.rego":       "package sallyport.register\nallow if { data.a.b.x == 1; data.a.b.y == 2; data.a.z == 3; data.w == 4 }",
		"a/b/one.json":        `{"x": 1}`,
		"a/b/two.yml":         "# a comment\ny: 2\n",
		"a/three.yaml":        "z: 3",
		"four.json":           `{"w": 4}`,
		"README.md":           bad,
		"LICENSE":             bad,
		".manifest":           bad,
		".signatures.json":    bad,
		".git/config.json":    bad,
		"a/.hidden.rego":      bad,
		"..2026/data.json":    bad,
		"a/b/register.rego~":  bad,
		"a/b/notes.json.orig": bad,
	}), authz.Options{})
	if d := p.Register(t.Context(), node()); !d.Allow {
		t.Errorf("%+v", d)
	}
}

func TestDataThatDoesNotLoad(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("d/", 20) + "x.json"
	tests := []struct {
		name  string
		files map[string]string
		words []string
	}{
		{"JSON syntax", map[string]string{"d.json": "{\n\"a\": 1,\n}"}, []string{"d.json:3:"}},
		{"JSON cut off", map[string]string{"d.json": "{\n\"a\": [1,"}, []string{"d.json:2:"}},
		{"JSON and more", map[string]string{"d.json": "{}\n{}"}, []string{"d.json:2:"}},
		{"JSON empty", map[string]string{"d.json": ""}, []string{"d.json:1:"}},
		{"JSON key twice", map[string]string{"d.json": "{\"revoked\": [{}, null],\n\"a\": {\"revoked\": 1},\n\"revoked\": []}"}, []string{"d.json:3:", `"revoked" stands twice`}},
		{"JSON key twice, deep", map[string]string{"d.json": "{\"a\": [[], {\"b\": {},\n\"b\": 1}]}"}, []string{"d.json:2:", `"b" stands twice`}},
		{"JSON array", map[string]string{"d.json": "[1]"}, []string{"d.json: a data file must hold one object"}},
		{"YAML syntax", map[string]string{"d.yaml": "a: 1\nb: [\n"}, []string{"d.yaml: ", "line"}},
		{"YAML key twice", map[string]string{"d.yaml": "a: 1\nb: {c: 1}\na: 2"}, []string{"d.yaml:3:", `"a" stands twice`}},
		{"YAML key twice, deep", map[string]string{"d.yml": "a:\n- {b: 1}\n- b: 1\n  b: 2"}, []string{"d.yml:4:", `"b" stands twice`}},
		{"YAML second document", map[string]string{"d.yaml": "a: 1\n---\nb: 2"}, []string{"d.yaml:2:", "second document"}},
		{"YAML empty", map[string]string{"d.yaml": "# nothing"}, []string{"d.yaml: a data file must hold one object"}},
		{"YAML scalar", map[string]string{"d.yaml": "x"}, []string{"d.yaml: a data file must hold one object"}},
		{"YAML bomb", map[string]string{"d.yaml": bomb()}, []string{"d.yaml: ", "excessive aliasing"}},
		{"two values of one key", map[string]string{"a.json": `{"x": {"y": 1}}`, "x/b.json": `{"y": 2}`}, []string{"x/b.json: data.x.y is set by another file already"}},
		{"object in the place of a value", map[string]string{"a.json": `{"x": 1}`, "x/b.json": `{"y": 2}`}, []string{"data.x is set by another file already"}},
		{"too deep", map[string]string{deep: "{}"}, []string{"folders deep"}},
		{"too large", map[string]string{"d.json": strings.Repeat(" ", 16<<20+1)}, []string{"d.json: larger than 16 MiB"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mustNotCompile(t, folder(tt.files), tt.words...)
		})
	}
}

// bomb is YAML whose aliases grow to 10^9 strings.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i, name := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		before := "*a" + string(rune('0'+i))
		b.WriteString("a" + name + ": &a" + name + " [" + strings.TrimSuffix(strings.Repeat(before+",", 10), ",") + "]\n")
	}
	return b.String()
}

func TestYAMLAliasesLoad(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"register.rego": "package sallyport.register\nallow if { data.b.x == 1; data.c.y == 2; data.day == \"2026-01-02\" }",
		"d.yaml":        "a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\nday: 2026-01-02",
	}), authz.Options{})
	if d := p.Register(t.Context(), node()); !d.Allow {
		t.Errorf("%+v", d)
	}
}

func TestFoldersThatDoNotLoad(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T) string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, folder(nil)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	t.Run("absent", func(t *testing.T) {
		mustNotCompile(t, os.DirFS(filepath.Join(t.TempDir(), "none")), "no such file")
	})
	t.Run("a file", func(t *testing.T) {
		mustNotCompile(t, os.DirFS(filepath.Join(write(t), "register.rego")), "reading folder")
	})
	t.Run("links in a circle", func(t *testing.T) {
		dir := write(t)
		if err := os.Symlink(".", filepath.Join(dir, "again")); err != nil {
			t.Fatal(err)
		}
		mustNotCompile(t, os.DirFS(dir), "links in a circle")
	})
	t.Run("dangling link", func(t *testing.T) {
		dir := write(t)
		if err := os.Symlink("gone.rego", filepath.Join(dir, "deny.rego")); err != nil {
			t.Fatal(err)
		}
		mustNotCompile(t, os.DirFS(dir), "deny.rego", "no such file")
	})
	t.Run("named pipe", func(t *testing.T) {
		dir := write(t)
		if err := syscall.Mkfifo(filepath.Join(dir, "pipe.rego"), 0o644); err != nil {
			t.Fatal(err)
		}
		mustNotCompile(t, os.DirFS(dir), "pipe.rego: not a regular file")
	})
	t.Run("far too many entries", func(t *testing.T) {
		m := folder(nil).(fstest.MapFS)
		for i := range 10_001 {
			m["n"+strings.Repeat("x", i%100)+string(rune('a'+i/100%26))+string(rune('a'+i/2600))] = &fstest.MapFile{}
		}
		mustNotCompile(t, m, "more than 10000 entries")
	})
}
