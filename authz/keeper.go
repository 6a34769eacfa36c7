package authz

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Keeper keeps the policy of a place in force.
type Keeper struct {
	place  Place
	opts   Options
	log    *slog.Logger
	engine *Engine

	mu     sync.Mutex
	status Status
}

// Status is what a Keeper has in force, and what it refused since.
type Status struct {
	Name string `json:"name"`
	// Kind is "builtin", "folder" or "bundle".
	Kind     string `json:"kind"`
	Revision string `json:"revision"`
	// BundleRevision is that of the bundle's manifest.
	BundleRevision string `json:"bundle_revision,omitempty"`
	// Signed says that the bundle's signature was verified.
	Signed   bool      `json:"signed"`
	LoadedAt time.Time `json:"loaded_at"`
	// Failure is why what the place holds now is not in force; nil where it is.
	Failure *Failure `json:"failure,omitempty"`
}

// Failure is a policy that did not load.
type Failure struct {
	At time.Time `json:"at"`
	// Revision is that of the policy that did not load, empty where it could not be read.
	Revision string `json:"revision,omitempty"`
	Error    string `json:"error"`
}

// NewKeeper loads the policy of the place. It is an error where it does not load.
func NewKeeper(ctx context.Context, place Place, opts Options, log *slog.Logger, reg prometheus.Registerer) (*Keeper, error) {
	p, err := Load(ctx, place, opts)
	if err != nil {
		return nil, err
	}
	return &Keeper{
		place: place, opts: opts, log: log, engine: NewEngine(p),
		status: Status{Name: place.Name(), Kind: place.Kind(), Revision: p.Revision(), LoadedAt: time.Now()},
	}, nil
}

// Engine decides with the policy in force.
func (k *Keeper) Engine() *Engine { return k.engine }

// Status is the present one.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// Run puts changes in force until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
