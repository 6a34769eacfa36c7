package authz

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A change is in force after at most pollInterval, settleTime and the time to compile
// and test it, which is some hundred milliseconds. Polling sees what file notification
// misses, such as the link that Kubernetes swaps under a ConfigMap.
const (
	pollInterval = 500 * time.Millisecond
	// settleTime is how long a change must stand still, so that files which are
	// written one after another count together.
	settleTime = 150 * time.Millisecond
	// retryInterval is when a policy that did not load is tried again: on a machine
	// too busy to answer the samples in time, it may well have been right.
	retryInterval = 30 * time.Second
)

// Keeper keeps the policy of a place in force: a change replaces the old policy once
// it has passed all that [Compile] demands, and otherwise leaves it.
type Keeper struct {
	place   Place
	opts    Options
	log     *slog.Logger
	engine  *Engine
	metrics *keeperMetrics
	pace    pace

	mu     sync.Mutex // guards status
	status Status

	// Only Run's goroutine uses these.
	inForce parcel
	sum     [sha256.Size]byte // of the content in force
	pending sight             // seen once
	refused sight             // seen twice, and does not load
	retryAt time.Time
}

// pace is how often a Keeper looks.
type pace struct{ poll, settle, retry time.Duration }

// sight is what a look found, in a form that can be compared. The zero sight is that
// of no look.
type sight struct {
	sum [sha256.Size]byte
	err string
}

// NewKeeper loads the policy of the place and puts it in force. It is an error where
// it does not load.
func NewKeeper(ctx context.Context, place Place, opts Options, log *slog.Logger, reg prometheus.Registerer) (*Keeper, error) {
	c, got, err := readPlace(place)
	if err != nil {
		return nil, err
	}
	p, err := compileFiles(ctx, got.files, opts)
	if err != nil {
		return nil, err
	}
	k := &Keeper{
		place: place, opts: opts, log: log, engine: new(Engine),
		pace: pace{poll: pollInterval, settle: settleTime, retry: retryInterval},
	}
	if k.metrics, err = newKeeperMetrics(k, reg); err != nil {
		return nil, err
	}
	k.use(p, got, c.sum)
	return k, nil
}

// Engine decides with the policy in force.
func (k *Keeper) Engine() *Engine { return k.engine }

// Run looks at the place until ctx ends, and puts changes in force.
func (k *Keeper) Run(ctx context.Context) error {
	if k.place.Kind() == kindBuiltin {
		<-ctx.Done()
		return nil
	}
	timer := time.NewTimer(k.pace.poll)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if k.look(ctx) {
			timer.Reset(k.pace.settle)
		} else {
			timer.Reset(k.pace.poll)
		}
	}
}

// look reads the place, and acts once it found the same twice. It says whether the
// next look should come soon.
func (k *Keeper) look(ctx context.Context) (soon bool) {
	c, err := k.place.look()
	seen := sight{sum: c.sum}
	if err != nil {
		seen = sight{err: err.Error()}
	}
	before := k.pending
	k.pending = sight{}
	switch {
	case seen == sight{sum: k.sum}:
		k.whole()
	case seen == k.refused && time.Now().Before(k.retryAt):
	case seen == k.refused || seen == before:
		k.take(ctx, seen, c, err)
	default:
		k.pending = seen
		return true
	}
	return false
}

// take puts what was found in force, or says why not.
func (k *Keeper) take(ctx context.Context, seen sight, c content, err error) {
	var p *Policy
	var got parcel
	if err == nil {
		got, err = k.place.unpack(c)
	}
	if err == nil && k.place.Kind() == kindBundle {
		err = checkSuccessor(k.inForce, got)
	}
	if err != nil {
		err = fmt.Errorf("reading policy: %w", err)
	} else {
		p, err = compileFiles(ctx, got.files, k.opts)
	}
	switch {
	case ctx.Err() != nil: // the end of the proxy, not a fault of the policy
	case err != nil:
		k.refuse(seen, got, err)
	default:
		k.use(p, got, c.sum)
	}
}

// use puts p in force.
func (k *Keeper) use(p *Policy, got parcel, sum [sha256.Size]byte) {
	first, previous := k.engine.Policy() == nil, k.engine.Revision()
	// A bundle may say of the same files that they are a later revision.
	same := got.sum == k.inForce.sum
	k.sum, k.refused, k.inForce = sum, sight{}, got
	k.inForce.files = nil

	k.mu.Lock()
	k.status = Status{
		Name: k.place.Name(), Kind: k.place.Kind(), Revision: p.Revision(),
		BundleRevision: got.revision, Signed: got.signed, LoadedAt: time.Now(),
	}
	if !same {
		k.engine.Replace(p)
	}
	k.mu.Unlock()

	if got.unverified {
		k.log.Warn("bundle is signed, but without a key its signature is not verified", "policy", k.place.Name())
	}
	if first {
		return
	}
	k.metrics.reloads.Inc()
	k.log.Info("policy replaced", "policy", k.place.Name(), "revision", p.Revision(),
		"previous", previous, "bundle_revision", got.revision)
}

// refuse leaves the old policy in force. It says why once, not at every try.
func (k *Keeper) refuse(seen sight, got parcel, err error) {
	k.metrics.failures.Inc()
	k.refused, k.retryAt = seen, time.Now().Add(k.pace.retry)
	failure := &Failure{At: time.Now(), Error: boundFailure(err.Error())}
	if got.files != nil {
		failure.Revision = revisionOf(got.files)
	}
	k.mu.Lock()
	old := k.status.Failure
	known := old != nil && old.Error == failure.Error && old.Revision == failure.Revision
	if !known {
		k.status.Failure = failure
	}
	k.mu.Unlock()
	if !known {
		k.log.Error("policy does not load, the one in force stays", "policy", k.place.Name(),
			"revision", k.engine.Revision(), "err", failure.Error)
	}
}

// whole is told that the place holds what is in force.
func (k *Keeper) whole() {
	if k.refused == (sight{}) {
		return
	}
	k.refused = sight{}
	k.mu.Lock()
	k.status.Failure = nil
	k.mu.Unlock()
	k.log.Info("policy is again the one in force", "policy", k.place.Name(), "revision", k.engine.Revision())
}
