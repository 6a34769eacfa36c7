package proxy

import (
	"sync"
	"time"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
	"google.golang.org/grpc"
)

// lane is one bidirectional stream of a session. Its handler is parked for as
// long as the lane lives; the goroutine of the scrape that has borrowed it sends
// and receives on it directly, so that a scrape crosses no channel.
type lane struct {
	stream grpc.BidiStreamingServer[tunnelv1.LaneReply, tunnelv1.LaneRequest]
	// end is closed to end the stream, which fails whatever is under way on it.
	end  chan struct{}
	once sync.Once
	// idleSince belongs to the pool.
	idleSince time.Time
	// headers are those of the last request. They belong to who has borrowed the lane.
	headers sentHeaders
	// keepsHeaders: the agent knows those, and they need not be sent again.
	keepsHeaders bool
}

// sentHeaders are what of a scraper's headers crosses the tunnel.
type sentHeaders struct{ accept, acceptEncoding, userAgent string }

func newLane(stream grpc.BidiStreamingServer[tunnelv1.LaneReply, tunnelv1.LaneRequest], keepsHeaders bool) *lane {
	return &lane{stream: stream, end: make(chan struct{}), keepsHeaders: keepsHeaders}
}

// park is the lane's handler: it returns when the lane is closed from either
// side, and the stream ends with it.
func (l *lane) park() {
	select {
	case <-l.end:
	case <-l.stream.Context().Done():
	}
}

// close ends the stream; a Recv under way returns an error. It may be called
// more than once.
func (l *lane) close() { l.once.Do(func() { close(l.end) }) }

// start begins a scrape. It leaves out of the request what the agent knows from
// the one before.
func (l *lane) start(request *tunnelv1.ScrapeRequest) error {
	headers := sentHeaders{request.GetAccept(), request.GetAcceptEncoding(), request.GetUserAgent()}
	if l.keepsHeaders && headers == l.headers {
		request.Accept, request.AcceptEncoding, request.UserAgent = "", "", ""
		request.SameHeaders = headers != sentHeaders{}
	}
	l.headers = headers
	return l.stream.Send(&tunnelv1.LaneRequest{Kind: &tunnelv1.LaneRequest_Scrape{Scrape: request}})
}

// cancel asks the agent to drop the scrape under way.
func (l *lane) cancel() {
	if err := l.stream.Send(&tunnelv1.LaneRequest{Kind: &tunnelv1.LaneRequest_Cancel{Cancel: &tunnelv1.Cancel{}}}); err != nil {
		l.close()
	}
}
