package page

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/style"
)

// Functions are those that templates may use.
func Functions() template.FuncMap {
	return template.FuncMap{
		"ago":      func(t time.Time) template.HTML { return moment(t, "ago") },
		"until":    func(t time.Time) template.HTML { return moment(t, "until") },
		"lasting":  func(t time.Time) template.HTML { return moment(t, "lasting") },
		"over":     func(t time.Time) bool { return !time.Now().Before(t) },
		"size":     Size,
		"duration": Duration,
		"plain":    Plain,
		"lines":    func(s string) string { return style.Plain(s, "\n\t") },
		"count":    Count,
		"anchor":   func(path string) string { return ID("t", path) },
	}
}

// moment is a time as people read it without JavaScript; with it, it says how long ago
// that was, how long it is until then, or for how long it has been so.
func moment(t time.Time, kind string) template.HTML {
	if t.IsZero() {
		return ""
	}
	t = t.UTC()
	// Nothing here is of a peer's choice.
	return template.HTML(fmt.Sprintf(`<time datetime="%s" data-%s title="%s">%s</time>`,
		t.Format(time.RFC3339), kind, t.Format("2006-01-02 15:04:05 UTC"), t.Format("2 Jan 15:04:05")))
}

// Size is a number of bytes in three digits or so.
func Size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for f >= 1000 && unit < 4 {
		f, unit = f/1024, unit+1
	}
	digits := 1
	if f >= 100 {
		digits = 0
	}
	return fmt.Sprintf("%.*f %ciB", digits, f, " KMGT"[unit])
}

// Duration is a number of seconds in three digits or so.
func Duration(seconds float64) string {
	switch {
	case seconds < 0.0995:
		return fmt.Sprintf("%.1f ms", seconds*1000)
	case seconds < 0.9995:
		return fmt.Sprintf("%.0f ms", seconds*1000)
	default:
		return fmt.Sprintf("%.2f s", seconds)
	}
}

// Count is a number with its thousands set apart.
func Count(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// Plain is what a peer wrote, without what a reader does not see: it could make text
// look like another.
func Plain(s string) string { return style.Plain(s, "") }

// ID is an id of an element for a text of a peer's choice.
func ID(prefix, text string) string {
	sum := sha256.Sum256([]byte(text))
	return prefix + "-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:10]))
}
