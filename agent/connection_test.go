package agent_test

import (
	"context"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/agent"
)

// A connection that failed is not dialled again by gRPC, which would do so without a
// pause until it is closed: a fleet that loses its proxy would do nothing else.
func TestConnectionDialsOnce(t *testing.T) {
	t.Parallel()
	listener := listen(t)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	a, err := agent.New(agent.Config{
		ProxyAddrs: []string{listener.Addr().String()}, Targets: agent.Targets{someTarget},
		MaxConcurrentScrapes: 1, MaxResponseBytes: 1 << 20,
	}, agent.Parts{Identity: newRealm(t).agent, ProxyID: usualProxy})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	dials, err := agent.Dials(ctx, a, listener.Addr().String())
	// gRPC may begin once more before it has told of the failure.
	if err != nil || dials > 2 {
		t.Errorf("dialled %d times, %v", dials, err)
	}
}
