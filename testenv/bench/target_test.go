package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

// The target speaks HTTP by hand, so net/http must understand it: each body and
// coding, twice over one connection.
func TestTargetIsUnderstood(t *testing.T) {
	t.Parallel()
	some := bodies[:2]
	target, err := newTarget(some)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	go target.serve(far)
	dials := 0
	client := &http.Transport{DisableCompression: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		dials++
		return near, nil
	}}
	t.Cleanup(client.CloseIdleConnections)
	for _, b := range some {
		for range 2 {
			for _, coding := range []string{codingPlain, codingGzip} {
				want, err := b.encoded(coding)
				if err != nil {
					t.Fatal(err)
				}
				request, _ := http.NewRequest(http.MethodGet, "http://target"+b.path(), nil)
				request.Header.Set("Accept-Encoding", coding)
				response, err := client.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(response.Body)
				if err != nil || response.StatusCode != http.StatusOK || !bytes.Equal(got, want) {
					t.Errorf("%s in %s: %s, %d bytes of %d, %v", b.name, coding, response.Status, len(got), len(want), err)
				}
				if known := response.ContentLength >= 0; known != (len(want) <= chunk) {
					t.Errorf("%s in %s: the length is said: %v", b.name, coding, known)
				}
			}
		}
	}
	if dials != 1 {
		t.Errorf("%d connections", dials)
	}
}
