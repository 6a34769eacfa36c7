package proxy

import (
	"fmt"
	"testing"
	"time"

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
	if told > maxUnserved || len(u.told) > maxUnserved {
		t.Errorf("told of %d, remembers %d", told, len(u.told))
	}
	if !wanted("/later", 4*time.Hour) {
		t.Error("told of nothing any more")
	}
}
