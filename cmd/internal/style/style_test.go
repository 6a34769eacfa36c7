package style_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/cmd/internal/style"
)

// unseen are what a reader does not see: controls of a terminal, what turns the direction
// of text, and letters and marks without a shape.
var unseen = []rune{
	'\x00', '\x1b', '\n', '\x7f', '\u009b', '\u00ad', '\u00a0', '\u200b', '\u200d', '\u2028', '\u202e', '\u2066', '\ufeff', '\U000e0041',
	'\u034f', '\u115f', '\u1160', '\u17b4', '\u17b5', '\u180b', '\u180f', '\u2065', '\u2800', '\u3164', '\uffa0', '\ufff0', '\ufe0f', '\U000e0100', '\U000e01ef',
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for _, r := range unseen {
		if got := style.Plain("team-a"+string(r), ""); got != "team-a\ufffd" {
			t.Errorf("%U becomes %+q", r, got)
		}
	}
	const seen = "team-a/Zürich 東京 प्रोमेथियस 한국어 ✓ 🚀 \ufffd"
	if got := style.Plain(seen, ""); got != seen {
		t.Errorf("%q becomes %q", seen, got)
	}
	if got := style.Plain("a\n\tb\r", "\n\t"); got != "a\n\tb\ufffd" {
		t.Errorf("%q", got)
	}
}

// A JSON document stays the same, and holds nothing that a reader does not see.
func TestWriteJSON(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "plain", "Zürich 東京 🚀", "a" + string(unseen) + "ü" + string(unseen) + "z"} {
		document, err := json.Marshal(map[string]string{text: text})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		style.WriteJSON(&out, document)
		if strings.ContainsAny(out.String(), string(unseen)) {
			t.Errorf("%+q", out.String())
		}
		var back map[string]string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || back[text] != text {
			t.Errorf("%v: %q becomes %q", err, text, back)
		}
	}
}
