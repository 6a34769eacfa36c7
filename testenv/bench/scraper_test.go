package main

import (
	"bufio"
	"strings"
	"testing"
)

// A subject that answers fast and wrong must not win.
func TestScraperNoticesWrongAnswers(t *testing.T) {
	t.Parallel()
	const ok, length, chunks = "HTTP/1.1 200 OK\r\n", "Content-Length: 10\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"
	for _, test := range []struct {
		name, answer string
		right        bool
	}{
		{"whole", ok + length + "0123456789", true},
		{"whole, in chunks", ok + chunks + "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n", true},
		{"another status", "HTTP/1.1 503 Service Unavailable\r\n" + length + "0123456789", false},
		{"another coding", ok + "Content-Encoding: gzip\r\n" + length + "0123456789", false},
		{"too short", ok + "Content-Length: 9\r\n\r\n012345678", false},
		{"too short, in chunks", ok + chunks + "4\r\n0123\r\n0\r\n\r\n", false},
		{"too long", ok + "Content-Length: 11\r\n\r\n0123456789a", false},
		{"too long, in chunks", ok + chunks + "b\r\n0123456789a\r\n0\r\n\r\n", false},
		{"cut", ok + length + "01234", false},
		{"cut between chunks", ok + chunks + "a\r\n0123456789\r\n", false},
		{"a byte differs", ok + length + "0123x56789", false},
		{"a byte of a chunk differs", ok + chunks + "4\r\n012x\r\n6\r\n456789\r\n0\r\n\r\n", false},
		{"of no known length", ok + "\r\n0123456789", false},
	} {
		s := &scraper{in: bufio.NewReader(strings.NewReader(test.answer)), want: []byte("0123456789"), coding: codingPlain}
		if err := s.read(true); (err == nil) != test.right {
			t.Errorf("%s: %v", test.name, err)
		}
		if test.right && s.got.Load() != 10 {
			t.Errorf("%s: counted %d bytes", test.name, s.got.Load())
		}
	}
}
