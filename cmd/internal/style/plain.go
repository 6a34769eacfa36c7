package style

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Plain is a text without what a reader does not see, which could make it look like
// another; it keeps those characters besides. What it returns is not escaped.
func Plain(s, besides string) string {
	return strings.Map(func(r rune) rune {
		if seen(r) || strings.ContainsRune(besides, r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// WriteJSON writes a JSON document, without blanks, for people who read it on a terminal:
// what they would not see, and a terminal might obey, can only be in its strings, where
// another way to write it means the same.
func WriteJSON(out *bytes.Buffer, document []byte) {
	for {
		n := 0 // nearly always all there is
		for n < len(document) && document[n]-' ' <= '~'-' ' {
			n++
		}
		out.Write(document[:n])
		if document = document[n:]; len(document) == 0 {
			return
		}
		r, size := utf8.DecodeRune(document)
		switch {
		case seen(r):
			out.WriteRune(r) // what is no character becomes one that says so
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(out, `\u%04x`, r)
		}
		document = document[size:]
	}
}

// seen tells whether a character has a shape. Some letters and marks have none, but they
// print: those that Unicode has a program ignore where it knows no better, the selectors
// of a variant, and a pattern of Braille without a dot.
func seen(r rune) bool {
	return unicode.IsPrint(r) && r != '\u2800' && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
