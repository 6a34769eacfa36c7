package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// screen is where the demo tells its story. Colours appear on a terminal only.
type screen struct {
	w      io.Writer
	colour bool
	number int // steps begun
	checks int // facts that were checked
}

func newScreen(w io.Writer) *screen {
	file, ok := w.(*os.File)
	return &screen{w: w, colour: ok && term.IsTerminal(int(file.Fd()))}
}

// The colours, as terminals number them.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s *screen) paint(colour, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s *screen) say(format string, args ...any) {
	fmt.Fprintf(s.w, format+"\n", args...)
}

func (s *screen) title() {
	s.say("%s  Prometheus scrapes targets behind a firewall that opens no port.\n", s.paint(bold, "Sallyport"))
	s.say("%s", s.paint(cyan, "    Prometheus ──── https ───▶ proxy ◀─── gRPC, mTLS ──┊── agent ───▶ target"))
	s.say("%s", s.paint(faint, "                                                    firewall"))
}

func (s *screen) heading(text string) { s.say("\n%s", s.paint(bold, text)) }

// step runs one step of the story under its heading, and says so if it failed.
func (s *screen) step(title string, do func() error) error {
	s.number++
	s.heading(fmt.Sprintf("%d. %s", s.number, title))
	err := do()
	if err != nil {
		s.say("   %s %v", s.paint(red, "✗"), err)
	}
	return err
}

// ok tells a fact that was checked.
func (s *screen) ok(format string, args ...any) {
	s.checks++
	s.say("   %s %s", s.paint(green, "✓"), fmt.Sprintf(format, args...))
}

func (s *screen) note(format string, args ...any) {
	s.say("     %s", s.paint(faint, fmt.Sprintf(format, args...)))
}

func (s *screen) quote(text string) { s.say("       %s", s.paint(yellow, text)) }

// command shows something to type, and what it shows.
func (s *screen) command(text, about string) {
	if about != "" {
		s.say("   %s", s.paint(faint, "# "+about))
	}
	s.say("   %s", text)
}
