package admin

import (
	"context"
	"net/http"
)

// Guard says whether a request from another machine may be served. Any status but 200
// refuses it, with a line of text.
type Guard func(*http.Request) (status int, text string)

// HealthOnly is the guard of a daemon that has no policy to ask: whoever comes from
// another machine learns whether it lives and whether it is ready, and nothing else.
func HealthOnly(*http.Request) (int, string) {
	return http.StatusForbidden, "only /-/healthy and /-/ready are served here: the rest is on a loopback address"
}

type guardKey struct{}

// guarded lets Still ask the guard again.
func guarded(r *http.Request, guard Guard) *http.Request {
	ctx := context.WithValue(r.Context(), guardKey{}, func() bool {
		status, _ := guard(r)
		return status == http.StatusOK
	})
	return r.WithContext(ctx)
}

// Still tells whether a request that is being answered would be let in now. An answer
// that takes long asks again and again: the policy may have changed, and certificates
// end.
func Still(ctx context.Context) bool {
	ask, ok := ctx.Value(guardKey{}).(func() bool)
	return !ok || ask()
}
