package proxy

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/seed-951114d4/sallyport/authn"
)

// One look at the routes does not keep them in memory for good.
func TestBrowsingKeepsNoRoutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &Proxy{routes: newTable(1), sessions: newSessions(1, 1), paces: newPaces(Config{})}
		p.routes.routes["/a"] = &route{path: "/a", owner: authn.AnonymousIdentity()}
		kept := weak.Make(p.routes.routes["/a"])
		ctx, stop := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer stop()
		go p.sweep(ctx)
		if p.CountRoutes(RouteQuery{}).Gone != 1 {
			t.Error("the route is not counted")
		}
		clear(p.routes.routes)
		p.routes.changes++
		time.Sleep(2 * browsingPause)
		synctest.Wait()
		runtime.GC()
		if kept.Value() != nil {
			t.Error("a route that is gone stays in memory")
		}
		runtime.KeepAlive(p)
	})
}
