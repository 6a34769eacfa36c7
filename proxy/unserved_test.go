package proxy

import (
	"fmt"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
)

// What is not served is told of once in a while, and whoever wants ever more of it fills
// neither the log nor the memory.
func TestUnservedIsNewsOnce(t *testing.T) {
	var u unserved
	now := time.Now()
	wanted := func(path string, after time.Duration) bool {
		return u.news(wish{authn.AnonymousIdentity(), path, NotFound}, now.Add(after))
	}
	if !wanted("/a", 0) || wanted("/a", time.Minute) || !wanted("/b", time.Minute) || !wanted("/a", 2*time.Hour) {
		t.Error("not told once in a while")
	}
	told := 0
	for i := range 10 * maxUnserved {
		if wanted(fmt.Sprint("/", i), 2*time.Hour) {
			told++
		}
	}
	if told > maxUnservedPerScraper || len(u.told) > maxUnservedPerScraper {
		t.Errorf("told of %d, remembers %d", told, len(u.told))
	}
	other := func(i int, after time.Duration) bool {
		id, err := authn.SPIFFEIdentity(spiffeid.RequireFromString(fmt.Sprint("spiffe://example.org/", i)))
		if err != nil {
			t.Fatal(err)
		}
		return u.news(wish{id, "/a", NotFound}, now.Add(after))
	}
	if !other(0, 2*time.Hour) {
		t.Error("one has taken another's place")
	}
	for i := range 10 * maxUnserved {
		other(i, 2*time.Hour)
	}
	if len(u.told) > maxUnserved || len(u.of) > len(u.told) {
		t.Errorf("remembers %d of %d", len(u.told), len(u.of))
	}
	if !wanted("/later", 4*time.Hour) || !other(-1, 4*time.Hour) || len(u.told) != 2 || len(u.of) != 2 {
		t.Errorf("told of nothing any more, or remembers %d of %d", len(u.told), len(u.of))
	}
}
