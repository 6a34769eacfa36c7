package agent

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// SetDial has a dial proxies by another way than the network.
func SetDial(a *Agent, dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	a.dial = dial
}

// Dials has a connect to addr, waits for that to fail, and then for as long as ctx
// lasts. It returns how often the connection was dialled.
func Dials(ctx context.Context, a *Agent, addr string) (int, error) {
	material, err := a.identity.Material()
	if err != nil {
		return 0, err
	}
	c, err := a.newConnection(addr, material)
	if err != nil {
		return 0, err
	}
	defer c.close()
	_, _, err = c.greet(ctx, a.hello())
	if err == nil {
		return 0, errors.New("a session began")
	}
	_, _ = c.client.Control(ctx, grpc.WaitForReady(true))
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dials, nil
}

// Offer is what a offers to proxies.
func Offer(a *Agent) []*tunnelv1.Route {
	var routes []*tunnelv1.Route
	for _, e := range a.table.load().endpoints {
		routes = append(routes, e.route)
	}
	return routes
}

// ParseTargetsFile parses the content of a targets file in the folder /dir.
func ParseTargetsFile(text []byte) (Targets, error) { return parseTargetsFile(text, "/dir") }

// EndingOf is what the proxy is told of a target's error.
func EndingOf(ctx context.Context, err error) (tunnelv1.End_Code, string) {
	e := endingOf(ctx, time.Now(), err)
	return e.code, e.reason
}

// Sayable, TakesCoding and PassableCoding are of use without an agent.
var (
	Sayable        = sayable
	TakesCoding    = takesCoding
	PassableCoding = passableCoding
)

// Scraper answers requests of a's targets, through send and without a tunnel.
func Scraper(t testing.TB, a *Agent, send func(*tunnelv1.LaneReply) error) func(context.Context, *tunnelv1.ScrapeRequest) error {
	t.Cleanup(a.table.close)
	out := &reply{send: func(raw *tunnelv1.RawReply) error {
		body := raw.Body.Materialize()
		raw.Body.Free()
		return send(&tunnelv1.LaneReply{Head: raw.Head, Body: body, End: raw.End})
	}}
	return func(ctx context.Context, req *tunnelv1.ScrapeRequest) error { return a.scraper.scrape(ctx, req, out) }
}
