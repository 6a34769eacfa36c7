package authz

import "time"

// SetPace makes k look that often. It is to be called before Run.
func (k *Keeper) SetPace(poll, settle time.Duration) {
	k.pace.poll, k.pace.settle = poll, settle
}
