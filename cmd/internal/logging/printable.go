package logging

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable lets nothing but printable text through to a handler that writes for
// people. What is logged holds words of strangers: names in certificates that were
// refused, what an agent calls itself, a path that was asked for. A terminal would obey
// them, and tint takes an escape sequence for a colour that was meant.
type printable struct{ next slog.Handler }

// Enabled implements slog.Handler.
func (p printable) Enabled(ctx context.Context, level slog.Level) bool {
	return p.next.Enabled(ctx, level)
}

// Handle implements slog.Handler. Messages of ours are constant; libraries that log
// through the standard logger have what a peer sent in theirs.
func (p printable) Handle(ctx context.Context, record slog.Record) error {
	shown := slog.NewRecord(record.Time, record.Level, printableText(record.Message), record.PC)
	record.Attrs(func(a slog.Attr) bool {
		shown.AddAttrs(printableAttr(a))
		return true
	})
	return p.next.Handle(ctx, shown)
}

// WithAttrs implements slog.Handler.
func (p printable) WithAttrs(attrs []slog.Attr) slog.Handler {
	return printable{p.next.WithAttrs(printableAttrs(attrs))}
}

// WithGroup implements slog.Handler.
func (p printable) WithGroup(name string) slog.Handler {
	return printable{p.next.WithGroup(printableText(name))}
}

func printableAttrs(attrs []slog.Attr) []slog.Attr {
	shown := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		shown[i] = printableAttr(a)
	}
	return shown
}

// printableAttr writes out what may hold text; numbers and times stay what they are.
func printableAttr(a slog.Attr) slog.Attr {
	shown := slog.Attr{Key: printableText(a.Key), Value: a.Value.Resolve()}
	switch shown.Value.Kind() {
	case slog.KindString:
		shown.Value = slog.StringValue(printableText(shown.Value.String()))
	case slog.KindAny:
		shown.Value = slog.StringValue(printableText(fmt.Sprintf("%+v", shown.Value.Any())))
	case slog.KindGroup:
		shown.Value = slog.GroupValue(printableAttrs(shown.Value.Group())...)
	}
	return shown
}

// printableText writes each character that does not print as \u and its number, and
// the lines of a text one after the other. Bytes that are no UTF-8, and what stands for
// them, become \ufffd, because tint cuts a text off there. It writes \x1b otherwise,
// because tint makes the character of that again.
func printableText(text string) string {
	var b strings.Builder
	for _, r := range strings.TrimRight(text, "\n") {
		switch {
		case r == '\n':
			b.WriteString("; ")
		case r == '\t':
			b.WriteByte(' ')
		case r == utf8.RuneError || !unicode.IsPrint(r) && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return strings.ReplaceAll(b.String(), `\x1b`, `\u001b`)
}
