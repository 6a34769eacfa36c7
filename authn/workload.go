package authn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// firstAnswer: a Workload API that is well answers a subscription at once, be
	// it with a refusal. One that hangs is asked again.
	firstAnswer = 10 * time.Second
	// A subscription that held this long was a good one: start over with short
	// delays after it.
	settled = 5 * time.Second
)

// WorkloadAPI is the source of SPIFFE mode. It subscribes to the Workload API
// and, whatever the API answers, subscribes again for ever: what looks final to a
// client may be an entry that is registered a minute later.
type WorkloadAPI struct {
	*holder
	cfg  Config
	role Role
	log  *slog.Logger

	// Only the goroutine of SVIDs touches it: the cause that was logged last, ""
	// when all is well.
	told string

	// renewing is held by who makes material of the material in force.
	renewing sync.Mutex
	tokens   tokenKeys
}

// NewWorkloadAPI validates the configuration. There is material once Run has
// heard from the Workload API.
func NewWorkloadAPI(cfg Config, role Role, log *slog.Logger) (*WorkloadAPI, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Socket == "" {
		return nil, errors.New("SPIFFE_ENDPOINT_SOCKET: is not set")
	}
	waiting := fmt.Errorf("waiting for the Workload API at %s", cfg.Socket)
	return &WorkloadAPI{holder: newHolder(waiting), cfg: cfg, role: role, log: log}, nil
}

// Run keeps a subscription until ctx is done, and one to the keys of tokens where
// the configuration wants them.
func (w *WorkloadAPI) Run(ctx context.Context) error {
	var running sync.WaitGroup
	if w.cfg.JWTBundles {
		running.Go(func() { keepAsking(ctx, w.subscribeTokens, w.tellTokens) })
	}
	keepAsking(ctx, w.subscribe, func(err error) {
		// That it asks anew is no news; what it hears, or that it hears nothing, is.
		if err != errStale {
			w.tell(err)
		}
	})
	running.Wait()
	return nil
}

// keepAsking subscribes again and again until ctx is done, and tells why each
// subscription ended.
func keepAsking(ctx context.Context, subscribe func(context.Context) error, tell func(error)) {
	var delays backoff
	for {
		began := time.Now()
		err := subscribe(ctx)
		if ctx.Err() != nil {
			return
		}
		tell(err)
		if time.Since(began) >= settled {
			delays.reset()
		}
		timer := time.NewTimer(delays.next())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// subscribe makes one subscription and returns why it ended.
func (w *WorkloadAPI) subscribe(ctx context.Context) error {
	s := &subscription{source: w}
	return s.run(ctx, func(ctx context.Context, client *workloadapi.Client) error {
		return client.WatchX509Context(ctx, s)
	})
}

var (
	errNoAnswer = fmt.Errorf("no answer within %v", firstAnswer)
	errStale    = errors.New("no successor in time")
)

// subscription is told what happens on one stream, all by one goroutine. The
// library's watch would try again by itself after most errors; it ends at the first
// here.
type subscription struct {
	source  *WorkloadAPI
	end     context.CancelCauseFunc
	overdue *time.Timer
	err     error
}

// run watches on a connection of its own: the delays between attempts are ours alone
// then, and a socket that was made anew is found.
func (s *subscription) run(ctx context.Context, watch func(context.Context, *workloadapi.Client) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client, err := workloadapi.New(ctx,
		workloadapi.WithAddr(s.source.cfg.Socket),
		workloadapi.WithDialOptions(grpc.WithNoProxy(), grpc.WithDisableServiceConfig()))
	if err != nil {
		return err
	}
	defer client.Close()
	s.end = cancel
	s.overdue = time.AfterFunc(firstAnswer, func() { cancel(errNoAnswer) })
	// Not the timer of now: an answer replaces it.
	defer func() { s.overdue.Stop() }()
	err = watch(ctx, client)
	switch cause := context.Cause(ctx); {
	case cause == errNoAnswer || cause == errStale:
		return cause
	case s.err != nil:
		return s.err
	default:
		return err
	}
}

func (s *subscription) OnX509ContextUpdate(update *workloadapi.X509Context) {
	s.overdue.Stop()
	s.source.update(update)
	s.overdue = time.AfterFunc(max(time.Until(s.source.due()), firstAnswer), func() { s.end(errStale) })
}

// due is when a successor should have come long since: Workload APIs renew an SVID
// at half its life. An open stream that brings none by then may be one that nobody
// is at the other end of any more, so it is worth asking anew.
func (w *WorkloadAPI) due() time.Time {
	held := w.held()
	if held == nil {
		return time.Time{}
	}
	leaf := held.Certificate.Leaf
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 6)
}

// OnX509ContextWatchError also hears of answers that cannot be parsed: these
// leave the stream as it is.
func (s *subscription) OnX509ContextWatchError(err error) { s.fail(err, s.source.tell) }

func (s *subscription) fail(err error, tell func(error)) {
	if _, ok := status.FromError(err); !ok && !errors.Is(err, io.EOF) {
		s.overdue.Stop()
		tell(err)
		return
	}
	s.err = err
	s.end(nil)
}

// tell makes a cause known: to whoever asks for material, and to the log, once
// for as long as it stays the same.
func (w *WorkloadAPI) tell(err error) {
	var choice *SVIDChoiceError
	gone := status.Code(err) == codes.PermissionDenied || err.Error() == noSVIDs
	if errors.As(err, &choice) {
		gone = true
	} else {
		err = fmt.Errorf("waiting for the Workload API at %s: %s", w.cfg.Socket, causeOf(err))
	}
	held := w.held()
	if gone {
		w.withdraw(err)
	} else {
		w.fault(err)
	}
	if cause := err.Error(); cause != w.told {
		w.told = cause
		switch {
		case held == nil:
			w.log.Warn("no identity from the Workload API", "cause", cause, "hint", socketHint)
		case gone:
			w.log.Warn("our SVID was withdrawn: it serves until its end", "cause", cause, "not_after", held.NotAfter(),
				"hint", "it has no registration entry any more: make one, or stop this daemon")
		default:
			w.log.Warn("no update from the Workload API: what it gave serves until its end", "cause", cause, "not_after", held.NotAfter(), "hint", socketHint)
		}
	}
}

const socketHint = "see that the SPIRE agent runs and is well, has an entry for this daemon, and that SPIFFE_ENDPOINT_SOCKET is its socket"

// noSVIDs is what the library says of an answer without any.
const noSVIDs = "no SVIDs in response"

func causeOf(err error) string {
	s, ok := status.FromError(err)
	switch {
	case errors.Is(err, io.EOF):
		return "the stream ended"
	case !ok:
		return err.Error()
	case s.Code() == codes.PermissionDenied:
		return fmt.Sprintf("%s: %s (is this workload registered?)", s.Code(), s.Message())
	default:
		return fmt.Sprintf("%s: %s", s.Code(), s.Message())
	}
}
