package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-951114d4/sallyport/authn"
)

// checkTimeout is how long check waits for the Workload API.
const checkTimeout = 10 * time.Second

// Keep is the helper that keeps a source current; renewal is what to do about one that does
// not stay so. It says when there is an identity at first, and when that ends without
// another; it fails where the Workload API gives several and none was chosen: waiting does
// not help then.
func Keep(source authn.Keeper, renewal string, log *slog.Logger) Helper {
	return Helper{Name: "the source of certificates", Run: func(ctx context.Context) error {
		group, running := errgroup.WithContext(ctx)
		group.Go(func() error { return source.Run(running) })
		group.Go(func() error {
			(&expiry{source: source, renewal: renewal, log: log}).watch(running)
			return nil
		})
		group.Go(func() error {
			material, err := authn.Await(running, source)
			var choice *authn.SVIDChoiceError
			switch {
			case err == nil:
				log.Info("identity", "id", material.Identity.String(), "trust_domain", material.TrustDomain, "not_after", material.NotAfter())
			case errors.As(err, &choice):
				return err
			}
			return nil
		})
		return group.Wait()
	}}
}

// outageError: what was to be checked could not be asked. It says nothing about
// the configuration.
type outageError struct{ text string }

func (e *outageError) Error() string { return e.text }

// DescribeIdentity runs the keepers until the source has material, describes that
// and returns it. It waits for the Workload API, but not for ever. The role is our
// own.
func DescribeIdentity(ctx context.Context, w io.Writer, role authn.Role, source authn.Source, keepers ...authn.Keeper) (*authn.Material, error) {
	patience, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var helpers []Helper
	for _, keeper := range keepers {
		helpers = append(helpers, Helper{Name: "the source of certificates", Run: keeper.Run})
	}
	var material *authn.Material
	err := Supervise(patience, func(ctx context.Context) (err error) {
		material, err = authn.Await(ctx, source)
		switch {
		case err != nil && patience.Err() == context.DeadlineExceeded:
			return &outageError{fmt.Sprintf("no certificate within %v: %v", checkTimeout, err)}
		case err != nil && patience.Err() != nil:
			return &outageError{fmt.Sprintf("interrupted: %v", err)}
		case err != nil:
			return err
		}
		return write(w, material.Describe(role).String())
	}, helpers...)
	return material, err
}
