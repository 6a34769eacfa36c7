// Package page is what the pages of the admin listener have in common: their frame and
// looks, how values are written for people, and how a page that is watched stays
// current. Only commands import it.
//
// A page works without JavaScript, fetches nothing from elsewhere, and everything in it
// that a peer chose has gone through html/template. With JavaScript it is watched: the
// same URL, asked for as an event stream, sends what has changed, rendered by the same
// templates.
package page

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"

	"github.com/seed-951114d4/sallyport/cmd/internal/style"
)

//go:embed assets layout.html
var files embed.FS

// Frame renders pages of one program.
type Frame struct {
	templates *template.Template
	program   string
	nav       []Link
	version   string
}

// Link is an entry of the navigation.
type Link struct{ Href, Text string }

// NewFrame parses the program's own templates, which may use those of this package and
// the functions of Functions.
func NewFrame(program, version string, nav []Link, own fs.FS) (*Frame, error) {
	templates, err := template.New(program).Funcs(Functions()).ParseFS(files, "layout.html")
	if err == nil {
		templates, err = templates.ParseFS(own, "*.html")
	}
	if err != nil {
		return nil, fmt.Errorf("parsing the pages of %s: %w", program, err)
	}
	return &Frame{templates: templates, program: program, nav: nav, version: version}, nil
}

// View is a page at one moment. What is in Parts and Lists is sent again when it
// changes; the body, a template of that name with the view as its data, says where it
// goes and has what never changes.
type View struct {
	Title string
	Body  string
	// Here is the entry of the navigation that the page belongs to.
	Here string
	// Status is of the answer; 0 is 200.
	Status int
	// Data is for the body.
	Data  any
	Parts map[string]template.HTML
	Lists map[string][]Item
}

// Item is an element of a list. Its HTML is one element with that id.
type Item struct {
	ID   string
	HTML template.HTML
}

// Part renders a template into a part of a view.
func (f *Frame) Part(v *View, id, name string, data any) error {
	html, err := f.render(name, data)
	if err != nil {
		return err
	}
	if v.Parts == nil {
		v.Parts = make(map[string]template.HTML)
	}
	v.Parts[id] = html
	return nil
}

// Add renders a template into an item of a list, which it makes if id is "".
func (f *Frame) Add(v *View, list, id, name string, data any) error {
	if v.Lists == nil {
		v.Lists = make(map[string][]Item)
	}
	if id == "" {
		v.Lists[list] = nil
		return nil
	}
	html, err := f.render(name, data)
	if err != nil {
		return err
	}
	v.Lists[list] = append(v.Lists[list], Item{ID: id, HTML: html})
	return nil
}

func (f *Frame) render(name string, data any) (template.HTML, error) {
	var out bytes.Buffer
	if err := f.templates.ExecuteTemplate(&out, name, data); err != nil {
		return "", fmt.Errorf("rendering %s: %w", name, err)
	}
	// What html/template has written is HTML.
	return template.HTML(strings.TrimSpace(out.String())), nil
}

// layout is the data of the frame around a body.
type layout struct {
	View
	Program, Version string
	Nav              []Link
	HTML             template.HTML
	// Beat is that of streams, in milliseconds.
	Beat int64
}

// Write answers with the whole page.
func (f *Frame) Write(w http.ResponseWriter, v View) error {
	body, err := f.render(v.Body, v)
	if err != nil {
		return err
	}
	html, err := f.render("layout", layout{View: v, Program: f.program, Version: f.version, Nav: f.nav, HTML: body, Beat: beat.Milliseconds()})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if v.Status != 0 {
		w.WriteHeader(v.Status)
	}
	_, _ = w.Write([]byte(html))
	return nil
}

// Asset answers with a file that pages link to, if there is one of that path.
func Asset(w http.ResponseWriter, path string) bool {
	if path != "/assets/live.js" {
		return style.Asset(w, path)
	}
	content, err := files.ReadFile(strings.TrimPrefix(path, "/"))
	if err != nil {
		return false
	}
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = w.Write(content)
	return true
}
