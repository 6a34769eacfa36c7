package proxy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/authz"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// What an identity has the proxy remember of its claims is bounded over all its sessions,
// and free again when it is withdrawn, replaced by less, or lost.
func TestClaimsAreBounded(t *testing.T) {
	t.Parallel()
	table := newTable(100)
	table.claims = 10_000
	open := func() *session {
		return &session{identity: testIdentity(t, "agent"), routes: make(map[string]*grant)}
	}
	register := func(s *session, path string, size int) error {
		claim := &tunnelv1.Route{Path: path, Labels: map[string]string{"x": strings.Repeat("l", size)}}
		return table.register(newGrant(s, claim, authz.Decision{Allow: true}), func() bool { return true })
	}
	one, other := open(), open()
	for i := range 9 {
		s := one
		if i%2 == 1 {
			s = other
		}
		if err := register(s, fmt.Sprint("/", i), 1000); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := register(other, "/more", 1000); !errors.Is(err, errClaims) {
		t.Errorf("more than it may: %v", err)
	}
	if err := register(&session{identity: testIdentity(t, "another"), routes: make(map[string]*grant)}, "/another", 1000); err != nil {
		t.Errorf("another identity: %v", err)
	}
	table.withdraw(one, "/0")
	if err := register(one, "/2", 1); err != nil {
		t.Error(err)
	}
	if err := register(one, "/more", 2000); err != nil {
		t.Errorf("after a withdrawal: %v", err)
	}
	table.lose(one, time.Now(), "")
	table.lose(other, time.Now(), "")
	table.prune(time.Now().Add(time.Hour))
	if n := table.owners[one.identity]; n != nil {
		t.Errorf("nothing is held, and %+v counted", *n)
	}
}
