package proxy

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
)

// An identity offers what it may hold at once, and is then slowed down; another is not.
func TestOffersArePaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		agent, other := testIdentity(t, "agent"), testIdentity(t, "other")
		paces := newPaces(Config{MaxRoutesPerSession: 10, MaxSessionsPerIdentity: 2})
		took := func(id authn.Identity, n int) time.Duration {
			began := time.Now()
			if err := paces.wait(t.Context(), id, n); err != nil {
				t.Error(err)
			}
			return time.Since(began)
		}
		if d := took(agent, 40); d != 0 {
			t.Errorf("what it may hold took %v", d)
		}
		if d := took(agent, 50); d != time.Second {
			t.Errorf("fifty more took %v", d)
		}
		if d := took(other, 1); d != 0 {
			t.Errorf("another waited for %v", d)
		}
		if paces.sweep(time.Now().Add(time.Minute)); len(paces.each) != 0 {
			t.Errorf("%d are remembered", len(paces.each))
		}
	})
}

func testIdentity(t *testing.T, name string) authn.Identity {
	t.Helper()
	id, err := authn.SPIFFEIdentity(spiffeid.RequireFromString("spiffe://example.org/" + name))
	if err != nil {
		t.Fatal(err)
	}
	return id
}
