package authn_test

import (
	"bytes"
	"encoding/pem"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/seed-951114d4/sallyport/pki"
)

// book keeps what is logged.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func (b *book) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (b *book) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// lines returns those that contain the text.
func (b *book) lines(text string) []string {
	var found []string
	for line := range strings.Lines(b.all()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// checkSecret looks for the key in what was said.
func checkSecret(t *testing.T, said string, leaf *pki.Leaf) {
	t.Helper()
	block, _ := pem.Decode(keyPEM(t, leaf))
	key := string(keyPEM(t, leaf))
	for _, secret := range []string{"PRIVATE KEY", string(block.Bytes), strings.Split(key, "\n")[1][:24]} {
		if strings.Contains(said, secret) {
			t.Errorf("%q tells of the key", said)
		}
	}
}
