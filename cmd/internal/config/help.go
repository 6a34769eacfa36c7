package config

import (
	"fmt"
	"io"
	"strings"
)

// Help writes the variables for a terminal, as part of --help.
func Help(w io.Writer, structs ...any) error {
	var text strings.Builder
	for _, v := range Variables(structs...) {
		fmt.Fprintf(&text, "  %s", v.Name)
		switch {
		case v.Required:
			text.WriteString("  (required)")
		case v.Shown != "":
			fmt.Fprintf(&text, "  (default: %s)", v.Shown)
		}
		text.WriteByte('\n')
		help := v.Help
		if v.Instead != "" {
			help += "; " + v.Instead + " wins"
		}
		for _, line := range wrap(help, 72) {
			fmt.Fprintf(&text, "      %s\n", line)
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// Table writes the variables as a Markdown table, as the README shows them.
func Table(w io.Writer, structs ...any) error {
	var text strings.Builder
	text.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, v := range Variables(structs...) {
		shown := v.Shown
		switch {
		case v.Required:
			shown = "required"
		case v.Default != "" && v.Shown == v.Default:
			shown = "`" + shown + "`"
		}
		name := "`" + v.Name + "`"
		if v.Instead != "" {
			name += ", or `" + v.Instead + "`, which wins"
		}
		fmt.Fprintf(&text, "| %s | %s | %s |\n", name, shown, strings.ReplaceAll(v.Help, "|", `\|`))
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// wrap breaks text at blanks into lines of at most width bytes, where words allow.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
