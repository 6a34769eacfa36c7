package page_test

import (
	"bufio"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/cmd/internal/page"
)

// pipes is a listener whose connections are pipes, for which a bubble's clock holds.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// watched is somebody who watches a page in a bubble.
type watched struct {
	conn   net.Conn
	in     *bufio.Reader
	asked  atomic.Int32 // how often the guard was
	closed atomic.Bool  // the guard lets nobody in any more
	panics atomic.Bool
	fault  error // of the stream, after its end
}

// watching serves views to one who watches, until the function returns.
func watching(t *testing.T, view func() (page.View, error), look func(*testing.T, *watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var w watched
		streams := page.NewStreams(time.Second)
		pages := admin.New(func() error { return nil }, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		pages.Pages(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) { w.fault = streams.Serve(out, r, view) }))
		guard := func(*http.Request) (int, string) {
			w.asked.Add(1)
			if w.panics.Load() && w.asked.Load() > 1 {
				panic("a fault of the guard")
			}
			if w.closed.Load() {
				return http.StatusForbidden, "no"
			}
			return http.StatusOK, ""
		}
		listener := make(pipes, 1)
		server := &http.Server{Handler: pages.Guarded(guard), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
		done := make(chan error, 1)
		go func() { done <- server.Serve(listener) }()
		var theirs net.Conn
		w.conn, theirs = net.Pipe()
		listener <- theirs
		if _, err := io.WriteString(w.conn, "GET / HTTP/1.1\r\nHost: proxy\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		w.in = bufio.NewReader(w.conn)
		defer func() {
			w.conn.Close()
			server.Close()
			<-done
		}()
		look(t, &w)
	})
}

// count reads on, until the connection ends, and counts lines.
func (w *watched) count(line string) *atomic.Int32 {
	var n atomic.Int32
	go func() {
		for lines := bufio.NewScanner(w.in); lines.Scan(); {
			if lines.Text() == line {
				n.Add(1)
			}
		}
	}()
	return &n
}

// ended tells whether the connection ends within that time.
func (w *watched) ended(limit time.Duration) bool {
	_ = w.conn.SetReadDeadline(time.Now().Add(limit))
	_, err := io.Copy(io.Discard, w.in)
	var timeout net.Error
	return !errors.As(err, &timeout) || !timeout.Timeout()
}

func part(text string) page.View {
	return page.View{Parts: map[string]template.HTML{"a": template.HTML(text)}}
}

// While a view is made that takes a minute, the guard is asked each second and the client
// hears that we live; and one slow view does not keep the page still for longer than a
// beat afterwards.
func TestSlowView(t *testing.T) {
	t.Parallel()
	var views atomic.Int32
	view := func() (page.View, error) {
		if views.Add(1) == 2 {
			time.Sleep(time.Minute)
		}
		return page.View{}, nil
	}
	watching(t, view, func(t *testing.T, w *watched) {
		beats := w.count("event: beat")
		time.Sleep(time.Minute)
		if asked, heard := w.asked.Load(), beats.Load(); asked < 58 || heard < 4 {
			t.Errorf("in a minute's view the guard was asked %d times, and %d beats came", asked, heard)
		}
		time.Sleep(20 * time.Second)
		if n := views.Load(); n < 4 {
			t.Errorf("%d views: one that was slow holds up the next", n)
		}
	})
}

// Nothing is sent any more a second after the guard has changed its mind, whatever is
// being made, and whether or not the client reads.
func TestEndOfLeave(t *testing.T) {
	t.Parallel()
	const secret = "what only those may see who are let in"
	t.Run("while a view is made", func(t *testing.T) {
		var views atomic.Int32
		view := func() (page.View, error) {
			if views.Add(1) == 1 {
				return part("first"), nil
			}
			time.Sleep(30 * time.Second)
			return part(secret), nil
		}
		watching(t, view, func(t *testing.T, w *watched) {
			time.Sleep(5 * time.Second)
			w.closed.Store(true)
			rest, _ := io.ReadAll(w.in)
			if strings.Contains(string(rest), secret) || !strings.Contains(string(rest), "first") {
				t.Errorf("sent: %q", rest)
			}
		})
	})
	t.Run("while it is written", func(t *testing.T) {
		view := func() (page.View, error) { return part(secret), nil }
		watching(t, view, func(t *testing.T, w *watched) {
			time.Sleep(5 * time.Second) // the pipe holds nothing
			asked := w.asked.Load()
			if asked < 5 {
				t.Errorf("asked %d times", asked)
			}
			w.closed.Store(true)
			time.Sleep(1100 * time.Millisecond)
			if rest, _ := io.ReadAll(w.in); len(rest) != 0 {
				t.Errorf("sent: %q", rest)
			}
		})
	})
}

// A client that reads nothing is not waited for.
func TestClientThatReadsNothing(t *testing.T) {
	t.Parallel()
	watching(t, func() (page.View, error) { return part("first"), nil }, func(t *testing.T, w *watched) {
		time.Sleep(11 * time.Second)
		if asked := w.asked.Load(); !w.ended(0) || asked > 12 {
			t.Errorf("it goes on, asked %d times", asked)
		}
	})
}

// What goes wrong with a view is told to who can log it, and to the client where it still
// can be.
func TestFaultyView(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	t.Run("first", func(t *testing.T) {
		watching(t, func() (page.View, error) { return page.View{}, broken }, func(t *testing.T, w *watched) {
			response, err := http.ReadResponse(w.in, nil)
			if err != nil || response.StatusCode != http.StatusInternalServerError {
				t.Fatal(response, err)
			}
			if synctest.Wait(); !errors.Is(w.fault, broken) {
				t.Error(w.fault)
			}
		})
	})
	t.Run("later", func(t *testing.T) {
		var views atomic.Int32
		view := func() (page.View, error) {
			if views.Add(1) == 1 {
				return part("first"), nil
			}
			return page.View{}, broken
		}
		watching(t, view, func(t *testing.T, w *watched) {
			if !w.ended(10 * time.Second) {
				t.Error("it goes on")
			}
			if synctest.Wait(); !errors.Is(w.fault, broken) {
				t.Error(w.fault)
			}
		})
	})
	t.Run("not where the client has gone", func(t *testing.T) {
		watching(t, func() (page.View, error) { return part("first"), nil }, func(t *testing.T, w *watched) {
			w.conn.Close()
			time.Sleep(time.Minute)
			if synctest.Wait(); w.fault != nil {
				t.Error(w.fault)
			}
		})
	})
}

// A guard that panics ends a stream, and not the proxy.
func TestPanicOfTheGuard(t *testing.T) {
	t.Parallel()
	watching(t, func() (page.View, error) { return part("first"), nil }, func(t *testing.T, w *watched) {
		w.panics.Store(true)
		if !w.ended(5 * time.Second) {
			t.Error("it goes on")
		}
	})
}
