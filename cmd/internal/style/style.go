// Package style is how the pages of both daemons look, and how they write what a peer
// chose. It is apart from package page because the agent must not link a template
// package: those look methods up by name, so the linker keeps every exported one.
package style

import (
	"embed"
	"net/http"
	"strings"
)

//go:embed assets
var files embed.FS

// assets are the types of what pages link to.
var assets = map[string]string{
	"/assets/style.css": "text/css; charset=utf-8",
	"/assets/mark.svg":  "image/svg+xml",
}

// Asset answers with a file that pages link to, if there is one of that path.
func Asset(w http.ResponseWriter, path string) bool {
	kind, ok := assets[path]
	if !ok {
		return false
	}
	content, err := files.ReadFile(strings.TrimPrefix(path, "/"))
	if err != nil {
		return false
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(content)
	return true
}
