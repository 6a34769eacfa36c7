package agent

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// lingerTime is how long a lane that drains still takes scrapes: those that the
// proxy sent before it had read our Drain.
const lingerTime = 500 * time.Millisecond

// lane is one stream that carries one scrape at a time. A goroutine receives
// beside the one that scrapes: it hears a cancel during a scrape, and only a
// Recv ever learns that the proxy has ended the stream.
type lane struct {
	stream   tunnelv1.Tunnel_LaneClient
	requests chan scrapeJob // has room for one: the proxy may send the next on our End
	// before are the headers of the last request, nil if there was none: the next one
	// may refer to them. They belong to who receives.
	before *sentHeaders

	mu     sync.Mutex
	busy   bool
	cancel context.CancelFunc // of the scrape under way
}

// sentHeaders are what of a scraper's headers crosses the tunnel.
type sentHeaders struct{ accept, acceptEncoding, userAgent string }

// scrapeJob is a request with the context that a Cancel ends.
type scrapeJob struct {
	ctx    context.Context
	cancel context.CancelFunc
	req    *tunnelv1.ScrapeRequest
}

// runLane opens a lane and answers its scrapes until it ends. It counts them.
func runLane(ctx context.Context, client tunnelv1.TunnelClient, s *scraper, draining <-chan struct{}) (scrapes int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := client.Lane(ctx)
	if err != nil {
		return 0, err
	}
	l := &lane{stream: stream, requests: make(chan scrapeJob, 1)}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	wg.Go(func() { cancel(l.receive(ctx)) })

	out := &reply{send: l.send}
	var linger <-chan time.Time
	for {
		select {
		case job := <-l.requests:
			scrapes++
			err := s.scrape(job.ctx, job.req, out)
			job.cancel()
			if err != nil {
				return scrapes, err
			}
			if linger != nil {
				linger = time.After(lingerTime)
			}
		case <-draining:
			draining = nil
			linger = time.After(lingerTime)
		case <-linger:
			return scrapes, l.hangUp(ctx)
		case <-ctx.Done():
			return scrapes, context.Cause(ctx)
		}
	}
}

// hangUp ends our side and waits for the proxy to have read all of it.
func (l *lane) hangUp(ctx context.Context) error {
	if err := l.stream.CloseSend(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(closeTimeout):
	}
	return nil
}

// receive hands requests to the worker and cancels for the proxy. It returns why
// the lane ended.
func (l *lane) receive(ctx context.Context) error {
	for {
		msg, err := l.stream.Recv()
		if errors.Is(err, io.EOF) {
			return errLaneEnded
		}
		if err != nil {
			return err
		}
		switch kind := msg.GetKind().(type) {
		case *tunnelv1.LaneRequest_Scrape:
			if err := l.complete(kind.Scrape); err != nil {
				return err
			}
			if !l.take(ctx, kind.Scrape) {
				return protocolFault("a scrape on a lane that has one under way")
			}
		case *tunnelv1.LaneRequest_Cancel:
			l.drop()
		}
	}
}

var errLaneEnded = errors.New("the proxy ended the lane")

// complete puts in the headers that the proxy left out.
func (l *lane) complete(req *tunnelv1.ScrapeRequest) error {
	if !req.GetSameHeaders() {
		l.before = &sentHeaders{req.GetAccept(), req.GetAcceptEncoding(), req.GetUserAgent()}
		return nil
	}
	if l.before == nil {
		return protocolFault("a first request that refers to the one before")
	}
	req.Accept, req.AcceptEncoding, req.UserAgent = l.before.accept, l.before.acceptEncoding, l.before.userAgent
	return nil
}

func (l *lane) take(ctx context.Context, req *tunnelv1.ScrapeRequest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy {
		return false
	}
	l.busy = true
	ctx, l.cancel = context.WithCancel(ctx)
	l.requests <- scrapeJob{ctx: ctx, cancel: l.cancel, req: req}
	return true
}

// drop cancels the scrape under way. Without one it means nothing.
func (l *lane) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy {
		l.cancel()
	}
}

// send passes a reply on. With the last of a scrape the lane is free before the
// proxy can know it, for its next request may come at once.
func (l *lane) send(reply *tunnelv1.RawReply) error {
	if reply.End != nil {
		l.mu.Lock()
		l.busy = false
		l.mu.Unlock()
	}
	return l.stream.SendMsg(reply)
}
