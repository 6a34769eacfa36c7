package agent_test

import (
	"bufio"
	"fmt"
	"net"
	"testing"

	"github.com/seed-951114d4/sallyport/agent"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// bareTarget answers every request with the same bytes and allocates nothing, so
// that what a benchmark counts is the agent's.
func bareTarget(b *testing.B, body []byte) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	answer := append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(body)), body...)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for {
					line, err := in.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) == 2 { // the end of the request
						if _, err := conn.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

var benchRequest = &tunnelv1.ScrapeRequest{
	Path: "/a", TimeoutMs: 10_000, MaxBodyBytes: 64 << 20, UserAgent: "Prometheus/3.5.0",
	Accept: "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
}

// BenchmarkScrape is the agent's part of a scrape: no tunnel.
func BenchmarkScrape(b *testing.B) {
	for _, size := range []int{2 << 10, 100 << 10, 1 << 20} {
		for _, accept := range []string{"", "gzip"} {
			b.Run(fmt.Sprintf("size=%dKiB/accept=%s", size>>10, accept), func(b *testing.B) {
				cfg := validConfig()
				cfg.Targets = agent.Targets{{Path: "/a", URL: bareTarget(b, metricsText(size))}}
				a, err := agent.New(cfg, agent.Parts{})
				if err != nil {
					b.Fatal(err)
				}
				sent := 0
				scrape := agent.Scraper(b, a, func(r *tunnelv1.LaneReply) error {
					sent += len(r.GetBody())
					return nil
				})
				request := &tunnelv1.ScrapeRequest{
					Path: benchRequest.Path, TimeoutMs: benchRequest.TimeoutMs, MaxBodyBytes: benchRequest.MaxBodyBytes,
					Accept: benchRequest.Accept, UserAgent: benchRequest.UserAgent, AcceptEncoding: accept,
				}
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					if err := scrape(b.Context(), request); err != nil {
						b.Fatal(err)
					}
				}
				if sent == 0 {
					b.Fatal("nothing was sent")
				}
			})
		}
	}
}

// BenchmarkTunnel is a scrape through a real session, with the fake proxy's part.
func BenchmarkTunnel(b *testing.B) {
	for _, lanes := range []int{1, 8} {
		b.Run(fmt.Sprintf("lanes=%d", lanes), func(b *testing.B) {
			r := startRig(b, rigOptions{targets: agent.Targets{{Path: "/a", URL: bareTarget(b, metricsText(2<<10))}}})
			session := r.session(b)
			session.wantLanes(uint32(lanes))
			pool := make(chan *fakeLane, lanes)
			for range lanes {
				pool <- receive(b, session.lanes, "a lane")
			}
			b.ReportAllocs()
			b.SetParallelism(lanes)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					lane := <-pool
					if err := lane.request(benchRequest); err != nil {
						b.Error(err)
						return
					}
					if a, err := lane.collect(false); err != nil || a.end.GetCode() != tunnelv1.End_COMPLETE {
						b.Errorf("%v %v", a.end, err)
						return
					}
					pool <- lane
				}
			})
		})
	}
}
