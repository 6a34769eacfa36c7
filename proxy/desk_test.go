package proxy

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// An agent that offers thousands of routes lets others have their turn, and one that
// has hung up has none any more.
func TestOfferOfManyRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, policy, s := newStaged(t)
		p.offers = newDesk(1)
		const many = 1000
		var routes []*tunnelv1.Route
		for i := range many {
			routes = append(routes, claimOf(fmt.Sprintf("/many/%d", i)))
		}
		ctx, hangUp := context.WithCancel(t.Context())
		decided, other := 0, -1
		policy.register = func(in authz.RegisterInput) authz.Decision {
			if in.Route.Path == "/other" {
				other = decided
				return authz.Decision{Allow: true}
			}
			decided++
			switch decided {
			case 1:
				go p.register(t.Context(), s, []*tunnelv1.Route{claimOf("/other")})
				synctest.Wait() // until it is in the queue
			case many / 2:
				hangUp()
			}
			return authz.Decision{Allow: true}
		}
		p.register(ctx, s, routes)
		synctest.Wait()
		if other != offersAtOnce {
			t.Errorf("another agent had its turn after %d decisions", other)
		}
		if decided != many/2 {
			t.Errorf("%d decisions for an agent that hung up after %d", decided, many/2)
		}
	})
}
