package logging

import (
	"bytes"
	"io"

	"github.com/seed-951114d4/sallyport/cmd/internal/style"
)

// lines writes lines of JSON so that a terminal on which somebody reads them obeys
// nothing in their strings: encoding/json leaves control characters beyond ASCII, and
// those that turn text around, as they are.
type lines struct{ to io.Writer }

// Write takes one line, which ends with a newline.
func (l lines) Write(line []byte) (int, error) {
	var out bytes.Buffer
	style.WriteJSON(&out, bytes.TrimSuffix(line, []byte("\n")))
	out.WriteByte('\n')
	if _, err := l.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(line), nil
}
