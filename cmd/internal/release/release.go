// Package release tells which build of the software this is. It reads what the
// Go tool stamped into the binary, so that there is no version to keep by hand.
package release

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Version returns the module's version: a tag, or a pseudo-version that names
// the commit; "devel" where the binary was built outside a repository.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

// Print writes one line that names the program and its build.
func Print(w io.Writer, program string) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	_, err := fmt.Fprintf(w, "%s %s (%s%s %s/%s)\n", program, Version(), revision(info), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// revision tells the commit that the binary was built from, and whether the files
// were as committed; "" where the Go tool stamped none, and where the version is a
// pseudo-version, which tells both.
func revision(info *debug.BuildInfo) string {
	hash, dirty := "", ""
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			hash = setting.Value[:min(len(setting.Value), 12)]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			dirty = "+dirty"
		}
	}
	if hash == "" || strings.Contains(info.Main.Version, hash) {
		return ""
	}
	return "revision " + hash + dirty + ", "
}

// Metric returns sallyport_build_info, which is always 1.
func Metric(program string) prometheus.Collector {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "sallyport_build_info",
		Help:        "Which build this is; always 1.",
		ConstLabels: prometheus.Labels{"program": program, "version": Version(), "go_version": runtime.Version()},
	})
	gauge.Set(1)
	return gauge
}
