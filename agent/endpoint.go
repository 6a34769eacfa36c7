package agent

import (
	"errors"
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
	transport  http.RoundTripper
	ownTLS     *http.Transport // the transport, where it is this endpoint's alone

	// route is the claim to offer to proxies.
	route *tunnelv1.Route

	health health
}

// newEndpoint reads the files that target names once, so that a fault in them is
// one of the configuration. The ways are those of the table.
func newEndpoint(target Target, by ways) (*endpoint, error) {
	if target.isSelf() {
		return newSelfEndpoint(target, by.self)
	}
	u, err := parseURL(target.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	port, err := portOf(u)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	e := &endpoint{
		target:     target,
		url:        u,
		credential: newCredential(&target),
		transport:  by.shared,
		route: &tunnelv1.Route{
			Path:   target.Path,
			Labels: maps.Clone(target.Labels),
			Target: claimOf(u, port),
		},
	}
	if err := target.checkFiles(); err != nil {
		return nil, err
	}
	if target.TLS != nil {
		e.ownTLS = newTLSTransport(target.TLS, u.Hostname(), by.idleConns)
		e.transport = e.ownTLS
	}
	return e, nil
}

// claimOf is what proxies are told of a target's URL.
func claimOf(u *url.URL, port uint32) *tunnelv1.Target {
	return &tunnelv1.Target{Scheme: u.Scheme, Host: u.Hostname(), Port: port, Path: u.EscapedPath()}
}

func newSelfEndpoint(target Target, self http.RoundTripper) (*endpoint, error) {
	if self == nil {
		return nil, errors.New("url: self: this agent was given no metrics to serve")
	}
	return &endpoint{
		target: target, url: selfRequestURL(), transport: self,
		route: &tunnelv1.Route{Path: target.Path, Labels: maps.Clone(target.Labels), Target: selfClaim()},
	}, nil
}

// same says whether e is what target asks for, wherever that now stands.
func (e *endpoint) same(target *Target) bool {
	other := *target
	other.line = e.target.line
	return reflect.DeepEqual(e.target, other)
}

// shown is what may be shown of the URL, and no more than proxies are told: no user, no
// query. Or self.
func (e *endpoint) shown() string {
	if e.target.isSelf() {
		return selfURL
	}
	claim := e.route.GetTarget()
	return claim.GetScheme() + "://" + net.JoinHostPort(claim.GetHost(), strconv.Itoa(int(claim.GetPort()))) + claim.GetPath()
}

// claimsLike says whether e and other offer the same to a proxy.
func (e *endpoint) claimsLike(other *endpoint) bool { return proto.Equal(e.route, other.route) }

// close ends idle connections that nobody else uses. Scrapes in flight go on.
func (e *endpoint) close() {
	if e.ownTLS != nil {
		e.ownTLS.CloseIdleConnections()
	}
}

// takes says whether a scraper may give the query parameter name.
func (e *endpoint) takes(name string) bool { return slices.Contains(e.target.Params, name) }
