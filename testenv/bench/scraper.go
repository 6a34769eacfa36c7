package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
)

// scraper is one connection of a Prometheus. It is written for this suite alone,
// because it shares the machine with what it measures: the request is bytes made
// once, the answer is read in place.
type scraper struct {
	conn    *tls.Conn
	in      *bufio.Reader
	request []byte
	want    []byte // the body, as it must arrive
	coding  string
	got     atomic.Int64 // bytes of bodies that have arrived
}

// dial connects a scraper for one body in one coding.
func (b *bench) dial(ctx context.Context, addr string, load *load) (*scraper, error) {
	pool, err := b.certs.anchors()
	if err != nil {
		return nil, err
	}
	pair, err := b.certs.pair("scraper")
	if err != nil {
		return nil, err
	}
	want, err := b.expected(load)
	if err != nil {
		return nil, err
	}
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Control: load.control},
		Config: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: serverName, Certificates: []tls.Certificate{pair},
		},
	}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting scraper: %w", err)
	}
	return &scraper{
		conn: conn.(*tls.Conn), in: bufio.NewReaderSize(conn, 64<<10), want: want, coding: load.coding,
		request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Prometheus/3.5.0\r\n"+
			"Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n"+
			"Accept-Encoding: %s\r\nX-Prometheus-Scrape-Timeout-Seconds: 60\r\n\r\n", load.body.path(), serverName, load.coding),
	}, nil
}

// scrape does one scrape. Its length is always checked, its bytes if compare.
func (s *scraper) scrape(compare bool) error {
	if err := s.ask(); err != nil {
		return err
	}
	return s.read(compare)
}

func (s *scraper) ask() error {
	if _, err := s.conn.Write(s.request); err != nil {
		return fmt.Errorf("sending request: %w", err)
	}
	return nil
}

func (s *scraper) read(compare bool) error {
	head, err := s.readHead()
	if err != nil {
		return fmt.Errorf("reading head: %w", err)
	}
	rest := s.want
	if head.chunked {
		rest, err = s.readChunks(rest, compare)
	} else if head.length != len(rest) {
		return fmt.Errorf("the body has %d bytes, not %d", head.length, len(rest))
	} else {
		rest, err = s.readBytes(rest, head.length, compare)
	}
	if err != nil {
		return fmt.Errorf("reading body: %w", err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("the body lacks %d bytes", len(rest))
	}
	return nil
}

// head is what must be known of an answer's.
type head struct {
	length  int
	chunked bool
}

func (s *scraper) readHead() (head, error) {
	h := head{length: -1}
	line, err := s.in.ReadSlice('\n')
	if err != nil {
		return h, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return h, fmt.Errorf("status %q", line)
	}
	coding := codingPlain
	for {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return h, err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if h.length, err = strconv.Atoi(string(value)); err != nil {
				return h, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			h.chunked = bytes.Equal(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Content-Encoding")):
			coding = string(value)
		}
	}
	if coding != s.coding {
		return h, fmt.Errorf("the body is in %s, not %s", coding, s.coding)
	}
	return h, nil
}

// readChunks reads a body in chunks and returns what of want has not come.
func (s *scraper) readChunks(want []byte, compare bool) ([]byte, error) {
	for {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return want, err
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return want, fmt.Errorf("parsing size of a chunk: %w", err)
		}
		if size > 0 {
			if want, err = s.readBytes(want, int(size), compare); err != nil {
				return want, err
			}
		}
		// The end of the chunk's line, or of the trailers, of which there are none.
		if line, err = s.in.ReadSlice('\n'); err != nil {
			return want, err
		}
		if len(line) != 2 {
			return want, errors.New("a chunk does not end where it should")
		}
		if size == 0 {
			return want, nil
		}
	}
}

// readBytes reads n bytes that want begins with and returns the rest of it.
func (s *scraper) readBytes(want []byte, n int, compare bool) ([]byte, error) {
	if n > len(want) {
		return want, fmt.Errorf("the body has at least %d bytes too many", n-len(want))
	}
	for n > 0 {
		if _, err := s.in.Peek(1); err != nil {
			return want, err
		}
		some, err := s.in.Peek(min(n, s.in.Buffered()))
		if err != nil {
			return want, err
		}
		if compare && !bytes.Equal(some, want[:len(some)]) {
			return want, errors.New("the body differs from what the target sent")
		}
		m, err := s.in.Discard(len(some))
		if err != nil {
			return want, err
		}
		s.got.Add(int64(m))
		want, n = want[m:], n-m
	}
	return want, nil
}
