package agent_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/agent"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// metricsText is about size bytes of what an exporter would say.
func metricsText(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "node_cpu_seconds_total{cpu=\"%d\",mode=\"idle\"} %d.%d\n", i%64, i*7919, i%10)
	}
	return b.Bytes()[:size]
}

func gunzip(t testing.TB, body []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("decompressing: %v", err)
	}
	plain, err := io.ReadAll(reader)
	if err != nil {
		t.Fatalf("decompressing: %v", err)
	}
	return plain
}

func TestBodyIsCompressedWhereItPays(t *testing.T) {
	t.Parallel()
	sizes := []int{0, 1, 1023, 1024, 31<<10 - 1, 31 << 10, 31<<10 + 1, 62 << 10, 300_000}
	url := startTarget(t, func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		w.Header().Set("Content-Type", "text/plain")
		if r.URL.Query().Has("identity") {
			w.Header().Set("Content-Encoding", "identity")
		}
		w.Write(metricsText(size))
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url, Params: []string{"size", "identity"}}}})
	lane := r.lane(t)
	for _, size := range sizes {
		for accept, takes := range map[string]bool{
			"gzip": true, "": false, "gzip;q=0": false, "gzip; q=0.5, deflate": true, "*": true,
			"*;q=0": false, "*, gzip;q=0": false, "GZIP": true, "deflate": false, "gzip;q=x": false, "gzipped": false,
		} {
			for _, query := range [][]*tunnelv1.Param{nil, {{Name: "identity"}}} {
				a := scrape(t, lane, &tunnelv1.ScrapeRequest{
					Path: "/a", AcceptEncoding: accept,
					Query: append(query, &tunnelv1.Param{Name: "size", Value: strconv.Itoa(size)}),
				})
				body, want := a.body, takes && size >= 1024
				if got := a.head.GetContentEncoding() == "gzip"; got != want {
					t.Errorf("%d bytes for %q: compressed %v", size, accept, got)
				}
				if want {
					body = gunzip(t, body)
				}
				if a.end.GetCode() != tunnelv1.End_COMPLETE || !bytes.Equal(body, metricsText(size)) {
					t.Errorf("%d bytes for %q: %v, %d bytes", size, accept, a.end, len(body))
				}
				if size < 31<<10 && a.messages != 1 {
					t.Errorf("%d bytes took %d messages", size, a.messages)
				}
			}
		}
	}
}

func TestBodyThatIsCompressedPassesVerbatim(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(metricsText(500_000))
	w.Close()
	url := startTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(packed.Bytes())
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	lane := r.lane(t)
	for _, accept := range []string{"gzip", ""} {
		a := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/a", AcceptEncoding: accept})
		if a.head.GetContentEncoding() != "gzip" || !bytes.Equal(a.body, packed.Bytes()) {
			t.Errorf("for %q: head %v, %d bytes of %d", accept, a.head, len(a.body), packed.Len())
		}
	}
}

// A body cut anywhere is never told to be whole.
func TestBodyCutAnywhereIsNeverWhole(t *testing.T) {
	t.Parallel()
	text := metricsText(100_000)
	url := startTarget(t, func(w http.ResponseWriter, r *http.Request) {
		cut, _ := strconv.Atoi(r.URL.Query().Get("cut"))
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		if r.URL.Query().Get("how") == "chunked" {
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", cut)
			conn.Write(text[:cut])
			io.WriteString(conn, "\r\n") // and not the last chunk
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(text))
		conn.Write(text[:cut])
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url, Params: []string{"cut", "how"}}}})
	lane := r.lane(t)
	const chunk = 31 << 10
	for _, cut := range []int{1, 100, 1023, 1024, 4096, chunk - 1, chunk, chunk + 1, 2 * chunk, 3*chunk - 1, 3 * chunk, 99_999} {
		for _, how := range []string{"length", "chunked"} {
			for _, accept := range []string{"", "gzip"} {
				a := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/a", AcceptEncoding: accept, Query: []*tunnelv1.Param{
					{Name: "cut", Value: strconv.Itoa(cut)}, {Name: "how", Value: how},
				}})
				if a.end.GetCode() != tunnelv1.End_BROKEN {
					t.Errorf("cut at %d (%s, %q): %v", cut, how, accept, a.end)
				}
				if cut < chunk && (a.head != nil || len(a.body) > 0) {
					t.Errorf("cut at %d (%s, %q): head %v and %d bytes", cut, how, accept, a.head, len(a.body))
				}
				if accept == "gzip" && len(a.body) > 0 {
					unpacker, err := gzip.NewReader(bytes.NewReader(a.body))
					if err == nil {
						_, err = io.Copy(io.Discard, unpacker)
					}
					if err == nil {
						t.Errorf("cut at %d (%s): the compressed stream looks whole", cut, how)
					}
				}
			}
		}
	}
}

// heapPeak samples the live heap, of the agent, the fake proxy and the target
// together.
func heapPeak(peak *uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	*peak = max(*peak, sample[0].Value.Uint64())
}

func TestBodyOf50MBNeedsNoMemory(t *testing.T) {
	const size = 50 << 20
	block := metricsText(64 << 10)
	url := startTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		for range size / len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	lane := r.lane(t)
	for _, accept := range []string{"", "gzip"} {
		scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/b", AcceptEncoding: accept}) // warm
		runtime.GC()
		var before, peak uint64
		heapPeak(&before)
		if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", AcceptEncoding: accept, TimeoutMs: 60_000, MaxBodyBytes: size}); err != nil {
			t.Fatal(err)
		}
		body, messages := 0, 0
		for {
			msg, err := lane.stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			body += len(msg.GetBody())
			if messages++; messages%16 == 0 {
				heapPeak(&peak)
			}
			if end := msg.GetEnd(); end != nil {
				if end.GetCode() != tunnelv1.End_COMPLETE {
					t.Errorf("end = %v", end)
				}
				break
			}
		}
		grown := int64(peak) - int64(before)
		t.Logf("%q: %d bytes in %d messages, the heap grew by %d KiB", accept, body, messages, grown>>10)
		if grown > 12<<20 {
			t.Errorf("%q: the heap grew by %d MiB", accept, grown>>20)
		}
		if accept == "" && body != size {
			t.Errorf("%d bytes came through", body)
		}
	}
}

// Answers of scrapes at the same time do not cross.
func TestBodiesOfManyLanesDoNotCross(t *testing.T) {
	t.Parallel()
	url := startTarget(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat(r.URL.Query().Get("id"), 20_000))
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url, Params: []string{"id"}}}})
	session := r.session(t)
	session.wantLanes(8)
	done := make(chan error)
	for i := range 8 {
		lane := receive(t, session.lanes, "a lane")
		go func() {
			for j := range 10 {
				id := fmt.Sprintf("%d-%d;", i, j)
				req := &tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 20_000, Query: []*tunnelv1.Param{{Name: "id", Value: id}}}
				if j%2 == 0 {
					req.AcceptEncoding = "gzip"
				}
				if err := lane.request(req); err != nil {
					done <- err
					return
				}
				a, err := lane.collect(true)
				if err != nil {
					done <- err
					return
				}
				body := a.body
				if j%2 == 0 {
					unpacker, err := gzip.NewReader(bytes.NewReader(body))
					if err != nil {
						done <- err
						return
					}
					body, _ = io.ReadAll(unpacker)
				}
				if string(body) != strings.Repeat(id, 20_000) {
					done <- fmt.Errorf("lane %d scrape %d got another's %.20q", i, j, body)
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A coding in a second line of the header counts like one in the first.
func TestCodingsInSeveralLines(t *testing.T) {
	t.Parallel()
	url := startTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header()["Content-Encoding"] = []string{"identity", "gzip"}
		w.Write(metricsText(5000))
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	a := scrape(t, r.lane(t), &tunnelv1.ScrapeRequest{Path: "/a", AcceptEncoding: "gzip"})
	if coding := a.head.GetContentEncoding(); coding != "identity, gzip" || !bytes.Equal(a.body, metricsText(5000)) {
		t.Errorf("%q, %d bytes", coding, len(a.body))
	}
}
