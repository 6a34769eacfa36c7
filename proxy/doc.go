// Package proxy is the outer half of Sallyport: it admits the sessions of
// agents, owns the routes that they register, and serves scrapes by lending each
// to a lane of the session that holds its route.
//
// cmd/sallyport-proxy wires it to certificates, a policy and two listeners.
// It refuses whatever the policy does not allow, never learns a target's URL as
// anything but the agent's claim, and never looks into a scrape's body.
package proxy
