package agent_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-951114d4/sallyport/agent"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// hangingTarget answers with first and then with nothing, until it tells that
// its request is dropped.
func hangingTarget(t testing.TB, first string) (url string, asked, dropped chan struct{}) {
	t.Helper()
	asked, dropped = make(chan struct{}, 16), make(chan struct{}, 16)
	url = startTarget(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		if first != "" {
			io.WriteString(w, first)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
		dropped <- struct{}{}
	})
	return url, asked, dropped
}

func TestCancelDropsTheTargetRequest(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{
		"before the head": "", "in the first chunk": "a 1\n", "in the body": strings.Repeat("a 1\n", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, asked, dropped := hangingTarget(t, first)
			r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
			lane := r.lane(t)
			for range 3 {
				if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 60_000}); err != nil {
					t.Fatal(err)
				}
				receive(t, asked, "the target's request")
				if err := lane.cancel(); err != nil {
					t.Fatal(err)
				}
				receive(t, dropped, "the end of the target's request")
				a, err := lane.collect(false)
				if err != nil || a.end.GetCode() != tunnelv1.End_CANCELLED {
					t.Errorf("answer = %v, %v", a.end, err)
				}
			}
			if strings.Contains(r.log.String(), "scraping a target fails") {
				t.Error("a cancel was told as the target's failure")
			}
		})
	}
}

// A proxy that stopped reading because Prometheus did can still cancel: it reads
// on until the end.
func TestCancelOfAnAnswerThatNobodyReads(t *testing.T) {
	t.Parallel()
	dropped := make(chan struct{})
	url := startTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(dropped)
		for {
			if _, err := w.Write(metricsText(64 << 10)); err != nil {
				return
			}
		}
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}, configure: func(c *agent.Config) {
		c.MaxResponseBytes = 1 << 40
	}})
	lane := r.lane(t)
	if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 60_000}); err != nil {
		t.Fatal(err)
	}
	if _, err := lane.stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := lane.cancel(); err != nil {
		t.Fatal(err)
	}
	receive(t, dropped, "the end of the target's request")
	for {
		msg, err := lane.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if end := msg.GetEnd(); end != nil {
			if end.GetCode() != tunnelv1.End_CANCELLED {
				t.Errorf("end = %v", end)
			}
			return
		}
	}
}

func TestCancelWithoutAScrapeMeansNothing(t *testing.T) {
	t.Parallel()
	url := startTarget(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a 1\n") })
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	lane := r.lane(t)
	for range 3 {
		if err := lane.cancel(); err != nil {
			t.Fatal(err)
		}
		if err := lane.stream.Send(&tunnelv1.LaneRequest{}); err != nil { // of a newer contract
			t.Fatal(err)
		}
		if a := scrape(t, lane, &tunnelv1.ScrapeRequest{Path: "/a"}); a.end.GetCode() != tunnelv1.End_COMPLETE {
			t.Errorf("end = %v", a.end)
		}
	}
}

func TestSecondScrapeOnABusyLaneEndsIt(t *testing.T) {
	t.Parallel()
	url, asked, dropped := hangingTarget(t, "")
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	session := r.session(t)
	lane := receive(t, session.lanes, "a lane")
	if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 60_000}); err != nil {
		t.Fatal(err)
	}
	receive(t, asked, "the target's request")
	if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 60_000}); err != nil {
		t.Fatal(err)
	}
	receive(t, dropped, "the end of the target's request")
	if _, err := lane.collect(false); status.Code(err) != codes.Canceled {
		t.Errorf("the lane ended by %v", err)
	}
	receive(t, session.lanes, "a lane in its place")
}

func TestBrokenLaneDropsTheTargetRequest(t *testing.T) {
	t.Parallel()
	url, asked, dropped := hangingTarget(t, strings.Repeat("a 1\n", 20_000))
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	session := r.session(t)
	for _, end := range []error{nil, status.Error(codes.Unavailable, "gone")} {
		lane := receive(t, session.lanes, "a lane")
		if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", TimeoutMs: 60_000}); err != nil {
			t.Fatal(err)
		}
		receive(t, asked, "the target's request")
		lane.end <- end
		receive(t, dropped, "the end of the target's request")
	}
	receive(t, session.lanes, "a lane in their place")
	if strings.Contains(r.log.String(), "scraping a target fails") {
		t.Error("a broken lane was told as the target's failure")
	}
}

// A proxy leaves out headers that are those of the request before.
func TestRequestRefersToTheOneBefore(t *testing.T) {
	t.Parallel()
	asked := make(chan http.Header, 8)
	url := startTarget(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header
		io.WriteString(w, "a 1\n")
	})
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: url}}})
	session := r.session(t)
	lane := receive(t, session.lanes, "a lane")
	headers := func(request *tunnelv1.ScrapeRequest) [3]string {
		request.Path = "/a"
		if a := scrape(t, lane, request); a.end.GetCode() != tunnelv1.End_COMPLETE {
			t.Fatalf("end = %v", a.end)
		}
		h := receive(t, asked, "the target's request")
		return [3]string{h.Get("Accept"), h.Get("Accept-Encoding"), h.Get("User-Agent")}
	}
	first := headers(&tunnelv1.ScrapeRequest{Accept: "text/plain", UserAgent: "one"})
	for range 2 {
		if again := headers(&tunnelv1.ScrapeRequest{SameHeaders: true}); again != first || first != [3]string{"text/plain", "", "one"} {
			t.Errorf("first %q, again %q", first, again)
		}
	}
	if none := headers(&tunnelv1.ScrapeRequest{}); none != [3]string{} {
		t.Errorf("a request without headers has %q", none)
	}
	if none := headers(&tunnelv1.ScrapeRequest{SameHeaders: true}); none != [3]string{} {
		t.Errorf("one like it has %q", none)
	}
}

func TestFirstRequestRefersToNone(t *testing.T) {
	t.Parallel()
	r := startRig(t, rigOptions{targets: agent.Targets{{Path: "/a", URL: "http://127.0.0.1:1/"}}})
	session := r.session(t)
	lane := receive(t, session.lanes, "a lane")
	if err := lane.request(&tunnelv1.ScrapeRequest{Path: "/a", SameHeaders: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := lane.collect(false); err == nil {
		t.Error("it was answered")
	}
	receive(t, session.lanes, "a lane in its place")
}
