package daemon_test

import (
	"testing"

	"github.com/seed-951114d4/sallyport/cmd/internal/daemon"
)

func TestListenersOnOnePort(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		first, second string
		clash         bool
	}{
		{":8443", ":8443", true}, {":8443", ":50051", false}, {":8443", "127.0.0.1:8443", true}, {"[::]:8443", "10.0.0.1:8443", true},
		{"10.0.0.1:8443", "10.0.0.2:8443", false}, {"10.0.0.1:8443", "[::ffff:10.0.0.1]:8443", true}, {"localhost:1", "127.0.0.1:1", true},
		{"a:1", "a:1", true}, {"a:1", "b:1", false}, {":0", ":0", false}, {":08443", ":8443", true}, {"8443", "8443", false},
		{":http", ":http", false}, {":1", "off", false},
	} {
		err := daemon.CheckDistinct(daemon.ListenAddr{Variable: "A", Addr: test.first}, daemon.ListenAddr{Variable: "B", Addr: test.second})
		if (err != nil) != test.clash {
			t.Errorf("%s and %s: %v", test.first, test.second, err)
		}
	}
}
