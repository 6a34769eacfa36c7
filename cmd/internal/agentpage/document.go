package agentpage

import (
	"bytes"
	"fmt"
	"html"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/style"
)

// document is the page as it is written, at one moment.
type document struct {
	out bytes.Buffer
	now time.Time
}

func newDocument() *document { return &document{now: time.Now()} }

// markup is HTML that stands in this source. A constant becomes one by itself and a
// string variable does not compile as one, so that no value gets past text.
type markup string

func (d *document) markup(m markup) { d.out.WriteString(string(m)) }

// text writes a value, whoever chose it, so that it is only text: between tags, or in
// an attribute within double quotes.
func (d *document) text(s string) { d.out.WriteString(html.EscapeString(style.Plain(s, ""))) }

// value writes a value between markup.
func (d *document) value(before markup, s string, after markup) {
	d.markup(before)
	d.text(s)
	d.markup(after)
}

// given is value, if there is one.
func (d *document) given(before markup, s string, after markup) {
	if s != "" {
		d.value(before, s, after)
	}
}

// chip is a state in a word, with the shape and colour of kind.
func (d *document) chip(kind markup, state string) {
	d.markup(`<span class="chip ` + kind + `"><span class="shape" aria-hidden="true"></span>`)
	d.value("", state, `</span>`)
}

func (d *document) alert(title, text string) {
	d.value(`<div class="alert" role="alert"><strong>`, title, `</strong> `)
	d.value("", text, "</div>\n")
}

// ago says how long ago a time was, or in how long it will be.
func (d *document) ago(t time.Time) {
	if since := d.now.Sub(t); since < 0 {
		d.moment(t, "in "+span(-since))
	} else {
		d.moment(t, span(since)+" ago")
	}
}

// lasting says for how long something has been so.
func (d *document) lasting(since time.Time) {
	d.moment(since, "for "+span(max(d.now.Sub(since), 0)))
}

func (d *document) moment(t time.Time, words string) {
	if t.IsZero() {
		return
	}
	t = t.UTC()
	d.value(`<time datetime="`, t.Format(time.RFC3339), `" `)
	d.value(`title="`, t.Format("2006-01-02 15:04:05 UTC"), `">`)
	d.value("", words, `</time>`)
}

// span is a length of time in one unit or two, as the dashboard's script says it.
func span(length time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case length >= day:
		return units(length, day, "d", time.Hour, "h")
	case length >= time.Hour:
		return units(length, time.Hour, "h", time.Minute, "min")
	case length >= time.Minute:
		return units(length, time.Minute, "min", time.Second, "s")
	}
	return fmt.Sprintf("%d s", length/time.Second)
}

func units(length, large time.Duration, largeName string, small time.Duration, smallName string) string {
	whole, rest := length/large, length%large/small
	if whole >= 10 || rest == 0 {
		return fmt.Sprintf("%d %s", whole, largeName)
	}
	return fmt.Sprintf("%d %s %d %s", whole, largeName, rest, smallName)
}
