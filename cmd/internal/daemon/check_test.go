package daemon_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/cmd/internal/config"
	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
	"github.com/seed-951114d4/sallyport/cmd/internal/logging"
)

// silent is a source that never has anything, for a cause.
type silent struct{ cause error }

func (s silent) Material() (*authn.Material, error) { return nil, s.cause }
func (silent) Changed() <-chan struct{}             { return nil }
func (s silent) Anchors() (*authn.Anchors, error)   { return nil, s.cause }
func (s silent) Health() authn.Health               { return authn.Health{Material: s.cause} }
func (silent) Run(ctx context.Context) error        { return untilDone(ctx) }

// checked is a job that is checked alone.
type checked func(ctx context.Context, w io.Writer) error

func (c checked) Check(ctx context.Context, w io.Writer) error { return c(ctx, w) }
func (checked) Run(context.Context) error                      { return errors.New("a check ran the daemon") }

// checkOf runs a program's check. prepare may log.
func checkOf(ctx context.Context, prepare func(*slog.Logger), job checked) (status int, stdout, stderr string) {
	var settings struct{ Log logging.Config }
	var out, err strings.Builder
	status = daemon.Program{
		Name: "test", Settings: &settings, Logging: &settings.Log,
		Prepare: func(_ context.Context, log *slog.Logger, _ *config.Faults) daemon.Job {
			prepare(log)
			return job
		},
	}.Main(ctx, []string{"check"}, nil, &out, &err)
	return status, out.String(), err.String()
}

func nothing(*slog.Logger) {}

// TestOutageIsNoFault: a Workload API that does not answer says nothing about the
// configuration, and check says how long it waited.
func TestOutageIsNoFault(t *testing.T) {
	t.Parallel()
	down := silent{errors.New("waiting for the Workload API at unix:///x: Unavailable: no such file")}
	job := func(ctx context.Context, w io.Writer) error {
		_, err := daemon.DescribeIdentity(ctx, w, authn.Client, down, down)
		return err
	}
	for name, test := range map[string]struct {
		stop bool
		want string
	}{
		"outage":      {false, "test: the check could not be finished: no certificate within 10s: " + down.cause.Error() + "\n"},
		"interrupted": {true, "test: the check could not be finished: interrupted: " + down.cause.Error() + "\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			if test.stop {
				stop()
			}
			status, stdout, stderr := checkOf(ctx, nothing, job)
			if status != daemon.ExitFailed || stdout != "" || stderr != test.want {
				t.Errorf("%s: exit status %d, %q, %q", name, status, stdout, stderr)
			}
		})
	}
}

// TestCheckWritesNoLog: people read what check writes, so a warning is a line like
// the others.
func TestCheckWritesNoLog(t *testing.T) {
	t.Parallel()
	status, stdout, stderr := checkOf(t.Context(), func(log *slog.Logger) {
		log.Info("certificate files loaded")
		log.Warn("key file is open to its group", "file", "key.pem")
	}, func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "identity      none\n")
		return err
	})
	want := "identity      none\nwarning       key file is open to its group (file key.pem)\nthe configuration is good\n"
	if status != daemon.ExitStopped || stdout != want || stderr != "" {
		t.Errorf("exit status %d, %q, %q", status, stdout, stderr)
	}
}
