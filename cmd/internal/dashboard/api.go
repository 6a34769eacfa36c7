package dashboard

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/admin"
	"github.com/seed-951114d4/sallyport/proxy"
)

// Mount has a server of the admin listener show the pages, and the same as lists.
func Mount(server *admin.Server, parts Parts) error {
	d, err := New(parts)
	if err != nil {
		return err
	}
	server.Pages(d)
	admin.ListWhole(server, "policy", nil, func(admin.Query) []authz.Status { return []authz.Status{d.Policy()} })
	admin.List(server, "routes", routeFilters, d.listRoutes)
	admin.List(server, "scrapes", routeFilters, d.listScrapes)
	admin.List(server, "sessions", []string{"state", "owner", "q"}, d.listSessions)
	admin.ListWhole(server, "refusals", []string{"owner", "route"}, d.listRefusals)
	admin.ListWhole(server, "handshakes", nil, func(admin.Query) []Stranger { return d.Strangers() })
	return nil
}

// routeFilters are the parameters of a list of routes, and of one of their scrapes.
var routeFilters = []string{"state", "owner", "outcome", "route", "q"}

func routeQuery(q admin.Query) (proxy.RouteQuery, error) {
	outcomes := []string{""}
	for _, info := range proxy.Outcomes() {
		outcomes = append(outcomes, string(info.Outcome))
	}
	query := proxy.RouteQuery{
		Path: q.Get("route"), State: q.Get("state"), Owner: q.Get("owner"), Outcome: proxy.Outcome(q.Get("outcome")),
		Search: q.Get("q"), After: q.After, Limit: q.Limit,
	}
	return query, errors.Join(oneOf(q, "state", "", "served", "well", "failing", "gone"), oneOf(q, "outcome", outcomes...), query.Validate())
}

func oneOf(q admin.Query, name string, values ...string) error {
	if slices.Contains(values, q.Get(name)) {
		return nil
	}
	return fmt.Errorf("%s is none of %v", name, values[1:])
}

func (d *Dashboard) listRoutes(q admin.Query) ([]proxy.RouteInfo, string, error) {
	query, err := routeQuery(q)
	if err != nil {
		return nil, "", err
	}
	page := d.Proxy.Browse(query)
	return page.Routes, page.Next, nil
}

func (d *Dashboard) listScrapes(q admin.Query) ([]proxy.ScrapeInfo, string, error) {
	query, err := routeQuery(q)
	if err != nil {
		return nil, "", err
	}
	scrapes, next := d.Proxy.Scrapes(query)
	return scrapes, next, nil
}

func (d *Dashboard) listSessions(q admin.Query) ([]proxy.SessionInfo, string, error) {
	query := proxy.SessionQuery{State: q.Get("state"), Owner: q.Get("owner"), Search: q.Get("q"), After: q.After, Limit: q.Limit}
	if err := errors.Join(oneOf(q, "state", "", "live", "draining"), query.Validate()); err != nil {
		return nil, "", err
	}
	infos, next := d.Proxy.BrowseSessions(query)
	return infos, next, nil
}

func (d *Dashboard) listRefusals(q admin.Query) []proxy.RefusalInfo {
	other := func(r proxy.RefusalInfo) bool {
		return q.Get("owner") != "" && r.Identity != q.Get("owner") || q.Get("route") != "" && r.Route != q.Get("route")
	}
	return slices.DeleteFunc(d.Proxy.Refusals(), other)
}
