package proxy_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
	"github.com/seed-951114d4/sallyport/proxy"
)

// recorder is a scraper that takes whatever comes.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) SetWriteDeadline(time.Time) error { return nil }

func head(status uint32) *tunnelv1.Head {
	return &tunnelv1.Head{Status: status, ContentType: "text/plain"}
}

func end(code tunnelv1.End_Code) *tunnelv1.End { return &tunnelv1.End{Code: code} }

// An agent that breaks the contract costs its own scrape and its lane.
// long is a head that says how long the body is.
func long(length uint64) *tunnelv1.Head {
	return &tunnelv1.Head{Status: 200, ContentType: "text/plain", ContentLength: length}
}

func TestAgentBreaksContract(t *testing.T) {
	type replies = []*tunnelv1.LaneReply
	whole := &tunnelv1.LaneReply{Head: head(200), Body: []byte("a 1\n"), End: end(tunnelv1.End_COMPLETE)}
	for name, tt := range map[string]struct {
		replies  replies
		outcome  proxy.Outcome
		reusable bool
	}{
		"whole":               {replies{whole}, proxy.OK, true},
		"in parts":            {replies{{Head: head(200)}, {Body: []byte("a")}, {End: end(tunnelv1.End_COMPLETE)}}, proxy.OK, true},
		"another status":      {replies{{Head: head(503), End: end(tunnelv1.End_COMPLETE)}}, proxy.TargetStatus, true},
		"end without head":    {replies{{End: end(tunnelv1.End_COMPLETE)}}, proxy.AgentGone, false},
		"body before head":    {replies{{Body: []byte("a")}, whole}, proxy.AgentGone, false},
		"end with body":       {replies{{Body: []byte("a"), End: end(tunnelv1.End_TIMEOUT)}}, proxy.AgentGone, false},
		"nothing":             {replies{{}}, proxy.AgentGone, false},
		"two heads":           {replies{{Head: head(200), Body: []byte("a")}, {Head: head(200)}}, proxy.Truncated, false},
		"redirect":            {replies{{Head: head(302), End: end(tunnelv1.End_COMPLETE)}}, proxy.AgentGone, false},
		"status 0":            {replies{{Head: head(0), End: end(tunnelv1.End_COMPLETE)}}, proxy.AgentGone, false},
		"status 101":          {replies{{Head: head(101), End: end(tunnelv1.End_COMPLETE)}}, proxy.AgentGone, false},
		"status 1000":         {replies{{Head: head(1000), End: end(tunnelv1.End_COMPLETE)}}, proxy.AgentGone, false},
		"header injection":    {replies{{Head: &tunnelv1.Head{Status: 200, ContentType: "a\r\nX: y"}, End: end(tunnelv1.End_COMPLETE)}}, proxy.AgentGone, false},
		"unknown end":         {replies{{End: end(99)}}, proxy.AgentGone, true},
		"no code":             {replies{{End: &tunnelv1.End{}}}, proxy.AgentGone, true},
		"no code after head":  {replies{{Head: head(200), Body: []byte("a"), End: &tunnelv1.End{}}}, proxy.Truncated, true},
		"breaks off":          {replies{{Head: head(200), Body: []byte("a")}}, proxy.Truncated, false},
		"over the limit":      {replies{{Head: head(200), Body: make([]byte, 2000), End: end(tunnelv1.End_COMPLETE)}}, proxy.TooLarge, true},
		"over it, in parts":   {replies{{Head: head(200), Body: make([]byte, 900)}, {Body: make([]byte, 900)}, {End: end(tunnelv1.End_COMPLETE)}}, proxy.Truncated, true},
		"as long as said":     {replies{{Head: long(3), Body: []byte("a")}, {Body: []byte("bc"), End: end(tunnelv1.End_COMPLETE)}}, proxy.OK, true},
		"longer than said":    {replies{{Head: long(3), Body: []byte("a")}, {Body: []byte("bcd"), End: end(tunnelv1.End_COMPLETE)}}, proxy.Truncated, false},
		"shorter than said":   {replies{{Head: long(3), Body: []byte("a")}, {Body: []byte("b"), End: end(tunnelv1.End_COMPLETE)}}, proxy.Truncated, false},
		"shorter, at once":    {replies{{Head: long(3), Body: []byte("a"), End: end(tunnelv1.End_COMPLETE)}}, proxy.AgentGone, false},
		"says too much":       {replies{{Head: long(5000), Body: []byte("a")}}, proxy.TooLarge, false},
		"says all there is":   {replies{{Head: long(1 << 63), Body: []byte("a")}}, proxy.TooLarge, false},
		"a body of nothing":   {replies{{Head: head(204), Body: []byte("a"), End: end(tunnelv1.End_COMPLETE)}}, proxy.AgentGone, false},
		"a body after that":   {replies{{Head: head(204)}, {Body: []byte("a"), End: end(tunnelv1.End_COMPLETE)}}, proxy.Truncated, false},
		"nothing, as said":    {replies{{Head: head(204), End: end(tunnelv1.End_COMPLETE)}}, proxy.TargetStatus, true},
		"cancelled by itself": {replies{{End: end(tunnelv1.End_CANCELLED)}}, proxy.AgentGone, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := recorder{httptest.NewRecorder()}
			outcome, reusable, err := proxy.Answer(w, 1000, tt.replies)
			if outcome != tt.outcome || reusable && !tt.reusable {
				t.Errorf("got %q, reusable %v, %v; want %q, %v", outcome, reusable, err, tt.outcome, tt.reusable)
			}
			if len(w.Header()["X"]) > 0 {
				t.Error("a header was injected")
			}
		})
	}
}

// Whatever an agent sends, an answer is taken for whole only if the agent said
// so, within the limit, and the scraper has got every byte of it.
func FuzzReplies(f *testing.F) {
	for _, seed := range [][]*tunnelv1.LaneReply{
		{{Head: head(200), Body: []byte("a 1\n"), End: end(tunnelv1.End_COMPLETE)}},
		{{Head: head(200), Body: []byte("a")}, {Body: []byte("b"), End: end(tunnelv1.End_BROKEN)}},
		{{End: end(tunnelv1.End_TIMEOUT)}},
	} {
		var b bytes.Buffer
		for _, reply := range seed {
			if _, err := protodelim.MarshalTo(&b, reply); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var replies []*tunnelv1.LaneReply
		for in := bytes.NewReader(data); ; {
			reply := new(tunnelv1.LaneReply)
			if err := protodelim.UnmarshalFrom(in, reply); err != nil {
				break
			}
			replies = append(replies, reply)
		}
		const limit = 1000
		w := recorder{httptest.NewRecorder()}
		outcome, _, err := proxy.Answer(w, limit, replies)
		if outcome != proxy.OK && outcome != proxy.TargetStatus {
			if err == nil {
				t.Fatalf("%q without an error", outcome)
			}
			return
		}
		var body []byte
		for _, reply := range replies {
			body = append(body, reply.GetBody()...)
			if e := reply.GetEnd(); e != nil {
				if e.GetCode() != tunnelv1.End_COMPLETE {
					t.Fatalf("taken for whole: %v", proto.MarshalOptions{}.Size(reply))
				}
				break
			}
		}
		if (err == nil) != (outcome == proxy.OK) || len(body) > limit+limit/1024+64 || !bytes.Equal(w.Body.Bytes(), body) {
			t.Fatalf("%q, %v: %d bytes of %d", outcome, err, w.Body.Len(), len(body))
		}
		if (w.Code == http.StatusOK) != (outcome == proxy.OK) {
			t.Fatalf("%q with status %d", outcome, w.Code)
		}
	})
}
