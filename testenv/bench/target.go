package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
)

// target serves the bodies over plain HTTP/1.1. It knows of HTTP what a scrape
// needs and answers from memory, since what it costs is taken from those that
// are measured.
type target struct {
	answers map[string][]byte // by path and coding: head and body
}

// runTarget is the role of the process that is scraped.
func runTarget(ctx context.Context, _ []string) error {
	t, err := newTarget(bodies)
	if err != nil {
		return err
	}
	listener, err := listen(ctx)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go t.serve(conn)
	}
}

func newTarget(bodies []body) (*target, error) {
	t := &target{answers: make(map[string][]byte)}
	for _, b := range bodies {
		for _, coding := range []string{codingPlain, codingGzip} {
			if coding == codingGzip && !b.gzip {
				continue
			}
			answer, err := newAnswer(b, coding)
			if err != nil {
				return nil, err
			}
			t.answers[b.path()+" "+coding] = answer
		}
	}
	return t, nil
}

// chunk is what net/http sends at a time of a body whose length it is not told,
// which is how Go's exporters answer. It says the length of a shorter one.
const chunk = 2 << 10

func newAnswer(b body, coding string) ([]byte, error) {
	data, err := b.encoded(coding)
	if err != nil {
		return nil, err
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
	if coding == codingGzip {
		head += "Content-Encoding: gzip\r\n"
	}
	if b.length || len(data) <= chunk {
		return append(fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n", head, len(data)), data...), nil
	}
	answer := []byte(head + "Transfer-Encoding: chunked\r\n\r\n")
	for len(data) > 0 {
		n := min(len(data), chunk)
		answer = fmt.Appendf(answer, "%x\r\n%s\r\n", n, data[:n])
		data = data[n:]
	}
	return append(answer, "0\r\n\r\n"...), nil
}

// serve answers the requests of one connection until it ends.
func (t *target) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		answer, err := t.answer(in)
		if err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// answer reads the head of a request and finds what answers it.
func (t *target) answer(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(line, " ")
	path, _, _ := strings.Cut(rest, " ")
	coding := codingPlain
	for {
		header, err := in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if len(header) <= 2 {
			break
		}
		name, value, _ := bytes.Cut(header, []byte(":"))
		if bytes.EqualFold(name, []byte("Accept-Encoding")) && bytes.Contains(value, []byte(codingGzip)) {
			coding = codingGzip
		}
	}
	if answer, ok := t.answers[path+" "+coding]; ok {
		return answer, nil
	}
	return []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), nil
}

// listen opens a free port and says on standard output which.
func listen(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening listener: %w", err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	return listener, nil
}
