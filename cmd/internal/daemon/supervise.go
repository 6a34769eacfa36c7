package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Helper is something that a daemon needs for as long as it works.
type Helper struct {
	Name string
	Run  func(ctx context.Context) error
}

// Supervise runs the daemon's main part and its helpers. When ctx ends only the
// main part is told: while it drains, its certificates stay current and its
// health is still to be asked. The helpers are told once it has returned. A
// helper that ends before stops the main part, for without it the daemon would
// be only half there. Supervise returns when everything has.
func Supervise(ctx context.Context, main func(ctx context.Context) error, helpers ...Helper) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	// Not the child of ctx, so that it outlives it.
	lasting, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()

	failures := make([]error, len(helpers))
	var running sync.WaitGroup
	for i, helper := range helpers {
		running.Go(func() {
			err := helper.Run(lasting)
			if err == nil && lasting.Err() == nil {
				err = fmt.Errorf("%s ended by itself", helper.Name)
			}
			failures[i] = err
			stop()
		})
	}
	err := main(working)
	release()
	running.Wait()
	return errors.Join(append(failures, err)...)
}
