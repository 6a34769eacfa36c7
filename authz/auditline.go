package authz

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/prometheus/client_golang/prometheus"
)

// auditLine is a line of the audit log. Fields are added, never renamed.
type auditLine struct {
	Time        string   `json:"time"`
	Action      string   `json:"action"`
	Effect      string   `json:"effect"`
	Identity    string   `json:"identity"`
	Serial      string   `json:"serial"`
	Route       string   `json:"route"`
	RemoteIP    string   `json:"remote_ip"`
	Allow       bool     `json:"allow"`
	Reasons     []string `json:"reasons"`
	Fault       string   `json:"fault,omitempty"`
	Revision    string   `json:"revision"`
	InputSHA256 string   `json:"input_sha256"`
	DecisionID  string   `json:"decision_id"`
	TLSGroup    string   `json:"tls_group,omitempty"`
	TLSSuite    string   `json:"tls_suite,omitempty"`
	NotAfter    string   `json:"not_after,omitempty"`
	Count       int      `json:"count,omitempty"`
	Various     bool     `json:"various,omitempty"`
}

// Bounds of a line's texts in bytes; the longest identity has 2048.
const (
	maxAuditText  = 2048
	maxAuditShort = 128
)

func (f folded) line() auditLine {
	e := f.event
	line := auditLine{
		Time:       e.Time.UTC().Format(time.RFC3339Nano),
		Action:     harmless(e.Action, maxAuditShort),
		Effect:     harmless(string(e.Effect), maxAuditShort),
		Identity:   harmless(e.Identity, maxAuditText),
		Serial:     harmless(e.Serial, maxAuditShort),
		Route:      harmless(e.Route, maxAuditText),
		RemoteIP:   harmless(e.RemoteIP, maxAuditShort),
		Allow:      e.Decision.Allow,
		Reasons:    []string{},
		Fault:      faultWord(e.Decision.Fault),
		Revision:   harmless(e.Decision.Revision, maxAuditShort),
		DecisionID: harmless(e.Decision.ID, maxAuditShort),
		TLSGroup:   harmless(e.TLSGroup, maxAuditShort),
		TLSSuite:   harmless(e.TLSSuite, maxAuditShort),
		Count:      f.count,
		Various:    f.various,
	}
	if !e.NotAfter.IsZero() {
		line.NotAfter = e.NotAfter.UTC().Format(time.RFC3339)
	}
	for _, reason := range e.Decision.Reasons[:min(len(e.Decision.Reasons), maxReasons)] {
		line.Reasons = append(line.Reasons, harmless(reason, maxReasonBytes))
	}
	if e.Digest != nil {
		line.InputSHA256 = harmless(e.Digest(), maxAuditShort)
	}
	return line
}

// harmless is s in at most limit bytes of printable UTF-8. JSON would escape a line
// feed, but neither a terminal's C1 controls nor what turns the direction of text.
func harmless(s string, limit int) string {
	const ellipsis = "…"
	cut := len(s) > limit
	if cut {
		s = s[:limit]
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, s)
	if !cut && len(s) <= limit {
		return s
	}
	end := min(len(s), limit-len(ellipsis))
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}

// faultWord tells the kind of a fault. The fault itself may quote data or input: it
// is for the log of the proxy, where the decision's ID finds it.
func faultWord(err error) string {
	var (
		eval   *topdown.Error
		answer *answerError
	)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrUndefined):
		return "undefined"
	case errors.Is(err, ErrLate):
		return "timeout"
	case errors.Is(err, errPanic):
		return "panic"
	case errors.As(err, &answer):
		return "bad_answer"
	case errors.As(err, &eval):
		return strings.TrimPrefix(eval.Code, "eval_")
	}
	return "not_evaluated"
}

// auditWriter writes lines to a sink that may fail.
type auditWriter struct {
	sink    io.Writer
	log     *slog.Logger
	dropped prometheus.Counter

	failed bool // the last line could not be written
	torn   bool // and a part of it was
	lost   int
	untold int // events that came too fast, of which no line tells yet
}

func (w *auditWriter) write(f folded) { w.writeFor(f, max(f.count, 1)) }

// writeLoss says how many events have no line because they came too fast, so many more
// than it was told before. They are counted as dropped already. What cannot be said now
// is said the next time.
func (w *auditWriter) writeLoss(more int) {
	w.untold += more
	if w.untold == 0 {
		return
	}
	if w.writeFor(folded{event: &Event{Time: time.Now(), Effect: Lost}, count: w.untold, various: true}, 0) {
		w.untold = 0
	}
}

// writeFor writes a line that stands for so many events; false: it could not.
func (w *auditWriter) writeFor(f folded, events int) bool {
	var out bytes.Buffer
	if w.torn {
		out.WriteByte('\n')
	}
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(f.line())
	if err == nil {
		var n int
		n, err = w.sink.Write(out.Bytes())
		w.torn = err != nil && (n > 0 || w.torn)
	}
	switch {
	case err != nil:
		w.dropped.Add(float64(events))
		w.lost += events
		if !w.failed {
			w.failed = true
			w.log.Error("the audit log cannot be written", "error", err)
		}
	case w.failed:
		w.log.Info("the audit log is written again", "lost", w.lost)
		w.failed, w.lost = false, 0
	}
	return err == nil
}
