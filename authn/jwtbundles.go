package authn

import (
	"context"
	"slices"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// tokenKeys are the keys of JWT-SVIDs, all trust domains', as the Workload API gave
// them last. They come on a stream of their own, before or after the first SVID.
type tokenKeys struct {
	mu   sync.Mutex
	set  *jwtbundle.Set
	told string // why there are none, or no newer; "" when all is well
}

func (k *tokenKeys) get() *jwtbundle.Set {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set
}

// put is false where nothing has changed.
func (k *tokenKeys) put(set *jwtbundle.Set) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = ""
	if k.set != nil && slices.EqualFunc(k.set.Bundles(), set.Bundles(), (*jwtbundle.Bundle).Equal) {
		return false
	}
	k.set = set
	return true
}

// tell is false where it was told already.
func (k *tokenKeys) tell(cause string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	news := k.told != cause
	k.told = cause
	return news
}

func (k *tokenKeys) trouble() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.told
}

// subscribeTokens makes one subscription and returns why it ended.
func (w *WorkloadAPI) subscribeTokens(ctx context.Context) error {
	s := &tokenSubscription{subscription{source: w}}
	return s.run(ctx, func(ctx context.Context, client *workloadapi.Client) error {
		return client.WatchJWTBundles(ctx, s)
	})
}

type tokenSubscription struct{ subscription }

func (s *tokenSubscription) OnJWTBundlesUpdate(set *jwtbundle.Set) {
	s.overdue.Stop()
	s.source.updateTokens(set)
}

func (s *tokenSubscription) OnJWTBundlesWatchError(err error) { s.fail(err, s.source.tellTokens) }

func (w *WorkloadAPI) updateTokens(set *jwtbundle.Set) {
	w.renewing.Lock()
	defer w.renewing.Unlock()
	if !w.tokens.put(set) {
		return
	}
	w.log.Info("Workload API gave keys of bearer tokens", "trust_domains", set.Len())
	if held := w.held(); held != nil {
		next, a := *held, *held.anchors
		a.tokens, next.anchors = set, &a
		w.replace(&next)
	}
}

func (w *WorkloadAPI) tellTokens(err error) {
	if cause := causeOf(err); w.tokens.tell(cause) {
		w.log.Warn("no keys of bearer tokens from the Workload API: those it gave stay in force", "cause", cause)
	}
}

// Health implements Keeper.
func (w *WorkloadAPI) Health() Health {
	health := w.holder.Health()
	health.Tokens = w.tokens.trouble()
	return health
}
