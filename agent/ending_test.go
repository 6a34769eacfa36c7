package agent_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/seed-951114d4/sallyport/agent"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

func TestEndingsTellNoAddress(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 9100}
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: err} }
	read := func(err error) error { return &net.OpError{Op: "read", Net: "tcp", Addr: addr, Err: err} }
	done, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	for name, tt := range map[string]struct {
		ctx    context.Context
		err    error
		code   tunnelv1.End_Code
		reason string
	}{
		"refused":       {err: dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), code: tunnelv1.End_UNREACHABLE, reason: "connection refused"},
		"no route":      {err: dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), code: tunnelv1.End_UNREACHABLE, reason: "no route to the host"},
		"no network":    {err: dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), code: tunnelv1.End_UNREACHABLE, reason: "no route to the host"},
		"slow dial":     {err: dial(os.ErrDeadlineExceeded), code: tunnelv1.End_UNREACHABLE, reason: "connecting timed out"},
		"other dial":    {err: dial(errors.New("10.1.2.3")), code: tunnelv1.End_UNREACHABLE, reason: "no connection"},
		"no such host":  {err: dial(&net.DNSError{Err: "no such host", Name: "secret.example", IsNotFound: true}), code: tunnelv1.End_UNREACHABLE, reason: "no such host"},
		"DNS down":      {err: dial(&net.DNSError{Err: "server misbehaving", Name: "secret.example"}), code: tunnelv1.End_UNREACHABLE, reason: "the host name cannot be looked up"},
		"reset":         {err: read(os.NewSyscallError("read", syscall.ECONNRESET)), code: tunnelv1.End_BROKEN, reason: "its answer broke off"},
		"short":         {err: io.ErrUnexpectedEOF, code: tunnelv1.End_BROKEN, reason: "its answer broke off"},
		"plain HTTP":    {err: tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, code: tunnelv1.End_UNREACHABLE, reason: "it does not speak TLS"},
		"alert":         {err: &net.OpError{Op: "remote error", Err: tls.AlertError(42)}, code: tunnelv1.End_UNREACHABLE, reason: "it refused the TLS handshake"},
		"old TLS":       {err: errors.New("tls: server selected unsupported protocol version 301"), code: tunnelv1.End_UNREACHABLE, reason: "the TLS handshake failed"},
		"slow TLS":      {err: errors.New("net/http: TLS handshake timeout"), code: tunnelv1.End_UNREACHABLE, reason: "the TLS handshake timed out"},
		"bad chain":     {err: &tls.CertificateVerificationError{Err: errors.New("secret.example")}, code: tunnelv1.End_REJECTED, reason: "its certificate is not valid"},
		"not a CA":      {err: &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}}, code: tunnelv1.End_REJECTED, reason: "its certificate is not valid"},
		"out of time":   {ctx: late, err: context.DeadlineExceeded, code: tunnelv1.End_TIMEOUT, reason: "gave up after 0.0s"},
		"in time, late": {ctx: late, err: dial(syscall.ECONNREFUSED), code: tunnelv1.End_TIMEOUT, reason: "gave up after 0.0s"},
		"cancelled":     {ctx: done, err: context.Canceled, code: tunnelv1.End_CANCELLED, reason: "cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := tt.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			if code, reason := agent.EndingOf(ctx, tt.err); code != tt.code || reason != tt.reason {
				t.Errorf("%v %q, want %v %q", code, reason, tt.code, tt.reason)
			}
		})
	}
}

func TestContentCodings(t *testing.T) {
	for _, tt := range []struct {
		coding, accept string
		want           bool
	}{
		{"gzip", "", true}, {"x", "", false}, {"br", "gzip, br;q=0.1", true}, {"br", "br;q=0", false}, {"zstd", "*", true},
		{"gzip, gzip", "", true}, {"gzip, br", "gzip", false}, {"identity", "", true}, {"", "", false}, {"gzip,", "*", false},
		{"a b", "*", false}, {"*", "*", false}, {strings.Repeat("gzip,", 20) + "gzip", "*", false},
	} {
		if got := agent.PassableCoding(tt.coding, tt.accept); got != tt.want {
			t.Errorf("%q for %q: %v", tt.coding, tt.accept, got)
		}
	}
}

// A proxy's Accept-Encoding and a target's Content-Encoding may be anything.
func FuzzCodings(f *testing.F) {
	f.Add("gzip;q=0.5, *;q=0", "gzip, br")
	f.Add(";;;=,=;q=", ",")
	f.Fuzz(func(t *testing.T, accept, coding string) {
		takes := agent.TakesCoding(accept, "gzip")
		if takes && !strings.Contains(strings.ToLower(accept), "gzip") && !strings.Contains(accept, "*") {
			t.Errorf("%q takes gzip", accept)
		}
		if agent.PassableCoding(coding, accept) && (len(coding) > 64 || !utf8.ValidString(coding)) {
			t.Errorf("%q may pass", coding)
		}
	})
}

func FuzzSayable(f *testing.F) {
	f.Add("a\nb\x1b[31m\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		said := agent.Sayable(s, 40)
		if len(said) > 3*40+3 || !utf8.ValidString(said) || strings.ContainsAny(said, "\r\n\x1b\u202e\u2028") {
			t.Errorf("%q is said as %q", s, said)
		}
		if len(s) <= 40 && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) && said != s {
			t.Errorf("%q is said as %q", s, said)
		}
	})
}
