package proxy

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
)

// An identity offers what it may hold twice over at once. Then each of its sessions is
// slowed down, by its own offers and not by the others', so that all are answered in time;
// another identity is not.
func TestOffersArePaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		agent, other := testIdentity(t, "agent"), testIdentity(t, "other")
		paces := newPaces(Config{MaxRoutesPerSession: 1000, MaxSessionsPerIdentity: 16})
		took := func(id authn.Identity, n int) time.Duration {
			began := time.Now()
			if err := paces.wait(t.Context(), id, n); err != nil {
				t.Error(err)
			}
			return time.Since(began)
		}
		if d := took(agent, 2*16*1000); d != 0 {
			t.Errorf("what it may hold took %v", d)
		}
		began := time.Now()
		var sessions sync.WaitGroup
		for range 16 {
			sessions.Go(func() {
				for range 20 {
					if d := took(agent, 50); d > time.Second {
						t.Errorf("fifty more took %v", d)
					}
				}
			})
		}
		sessions.Wait()
		if d := time.Since(began); d < 18*time.Second || d > 20*time.Second {
			t.Errorf("a thousand more in each session took %v", d)
		}
		if d := took(other, 1); d != 0 {
			t.Errorf("another waited for %v", d)
		}
		if fast := paces.sweep(time.Now()); len(fast) != 1 || fast[0].identity != agent || fast[0].slowed < 15*20*50 {
			t.Errorf("%+v", fast)
		}
		if paces.sweep(time.Now().Add(time.Hour)); len(paces.each) != 0 {
			t.Errorf("%d are remembered", len(paces.each))
		}
	})
}

// What goes well takes no line from what goes wrong.
func TestWarningsHaveLinesOfTheirOwn(t *testing.T) {
	t.Parallel()
	id, paces := testIdentity(t, "agent"), newPaces(Config{})
	for range 2 * lineBurst {
		paces.mayLog(id, false)
	}
	if !paces.mayLog(id, true) {
		t.Error("a warning is left out")
	}
}

func testIdentity(t *testing.T, name string) authn.Identity {
	t.Helper()
	id, err := authn.SPIFFEIdentity(spiffeid.RequireFromString("spiffe://example.org/" + name))
	if err != nil {
		t.Fatal(err)
	}
	return id
}
