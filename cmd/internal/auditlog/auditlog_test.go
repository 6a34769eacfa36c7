package auditlog_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/auditlog"
)

func TestSink(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"stderr", "stdout", "off", "audit.log", "/var/log/off"} {
		var sink auditlog.Sink
		if err := sink.UnmarshalText([]byte(text)); err != nil || string(sink) != text {
			t.Errorf("%s: %q, %v", text, sink, err)
		}
	}
	for _, text := range []string{"OFF", "Stderr"} {
		var sink auditlog.Sink
		if sink.UnmarshalText([]byte(text)) == nil {
			t.Errorf("took %q for a file", text)
		}
	}
	off := auditlog.Off.Log()
	if off != nil || off.Check() != nil || off.Open() != nil || off.Close() != nil {
		t.Error("off is not off")
	}
}

// TestFileIsRotated: a file that is moved away or removed is made again, nothing is
// lost, and only the owner reads it.
func TestFileIsRotated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "audit.log")
	synctest.Test(t, func(t *testing.T) {
		log := auditlog.Sink(name).Log()
		if err := log.Check(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(name); err == nil {
			t.Error("checking made a file")
		}
		if err := log.Open(); err != nil {
			t.Fatal(err)
		}
		write := func(text string) {
			t.Helper()
			if _, err := log.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		want := func(name, text string) {
			t.Helper()
			if got, err := os.ReadFile(name); err != nil || string(got) != text {
				t.Errorf("%s holds %q, %v; want %q", name, got, err, text)
			}
		}
		write("1\n")
		if err := os.Rename(name, name+".1"); err != nil {
			t.Fatal(err)
		}
		write("2\n")
		time.Sleep(2 * time.Second)
		write("3\n")
		want(name+".1", "1\n2\n")
		want(name, "3\n")
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		write("4\n")
		want(name, "4\n")
		if err := log.Close(); err != nil {
			t.Error(err)
		}

		again := auditlog.Sink(name).Log()
		if err := again.Check(); err != nil {
			t.Error(err)
		}
		if _, err := again.Write([]byte("5\n")); err != nil {
			t.Error(err)
		}
		want(name, "4\n5\n")
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCheckFindsFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{dir, filepath.Join(dir, "absent", "audit.log")} {
		log := auditlog.Sink(name).Log()
		if log.Check() == nil || log.Open() == nil {
			t.Errorf("%s: no fault", name)
		}
		if _, err := log.Write([]byte("x")); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no pipes here:", err)
	}
	if auditlog.Sink(pipe).Log().Check() == nil {
		t.Error("a pipe is taken for a file")
	}
}
