package agent

import (
	"context"
	"net"
)

// SetDial has a dial proxies by another way than the network.
func SetDial(a *Agent, dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	a.dial = dial
}
