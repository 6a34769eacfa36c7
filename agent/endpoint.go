package agent

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// endpoint is a target made ready to be scraped. It never changes: another
// configuration of the same path is another endpoint.
type endpoint struct {
	target     Target
	url        *url.URL
	credential credential
	transport  *http.Transport
	ownTLS     bool // the transport is this endpoint's alone

	// route is the claim to offer to proxies.
	route *tunnelv1.Route

	health health
}

// newEndpoint reads the files that target names once, so that a fault in them is
// one of the configuration. shared serves targets without a TLS of their own.
func newEndpoint(target Target, shared *http.Transport, idleConns int) (*endpoint, error) {
	u, err := parseURL(target.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	port, err := portOf(u)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	e := &endpoint{
		target:     target,
		url:        u,
		credential: newCredential(&target),
		transport:  shared,
		route: &tunnelv1.Route{
			Path:   target.Path,
			Labels: maps.Clone(target.Labels),
			Target: &tunnelv1.Target{Scheme: u.Scheme, Host: u.Hostname(), Port: port, Path: u.EscapedPath()},
		},
	}
	if err := target.checkFiles(); err != nil {
		return nil, err
	}
	if target.TLS != nil {
		e.transport, e.ownTLS = newTLSTransport(target.TLS, u.Hostname(), idleConns), true
	}
	return e, nil
}

// same says whether e is what target asks for, wherever that now stands.
func (e *endpoint) same(target *Target) bool {
	other := *target
	other.line = e.target.line
	return reflect.DeepEqual(e.target, other)
}

// origin is scheme://host:port of the URL.
func (e *endpoint) origin() string {
	claim := e.route.GetTarget()
	return claim.GetScheme() + "://" + net.JoinHostPort(claim.GetHost(), strconv.Itoa(int(claim.GetPort())))
}

// claimsLike says whether e and other offer the same to a proxy.
func (e *endpoint) claimsLike(other *endpoint) bool { return proto.Equal(e.route, other.route) }

// close ends idle connections that nobody else uses. Scrapes in flight go on.
func (e *endpoint) close() {
	if e.ownTLS {
		e.transport.CloseIdleConnections()
	}
}

// takes says whether a scraper may give the query parameter name.
func (e *endpoint) takes(name string) bool { return slices.Contains(e.target.Params, name) }
