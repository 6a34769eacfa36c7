package dashboard

import (
	"cmp"
	"slices"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/authz"
	"github.com/seed-951114d4/sallyport/cmd/internal/page"
	"github.com/seed-951114d4/sallyport/proxy"
)

// inForce is what decides, and who the proxy is.
type inForce struct {
	authz.Status
	Check     string
	Decisions []proxy.DecisionCount
	ID        string
	Sources   []source
}

// source is where certificates of one side come from.
type source struct {
	Side string
	authn.Health
}

// policy is the page of the policy in force and of the proxy's own identity.
func (d *Dashboard) policy() (page.View, error) {
	v := page.View{Title: "Policy", Here: "/policy", Body: "policy"}
	p := inForce{Status: d.Policy(), Decisions: d.Proxy.Decisions(), ID: d.ID(), Sources: d.sources()}
	p.Check = "sallyport policy check " + quote(p.Name)
	for _, part := range []string{"in-force", "decisions", "identity"} {
		if err := d.frame.Part(&v, part, part, p); err != nil {
			return v, err
		}
	}
	return v, nil
}

// sources are those of the proxy's certificates, always in one order: what changes places
// is read to people again and again.
func (d *Dashboard) sources() (all []source) {
	for side, health := range d.Sources {
		all = append(all, source{side, health()})
	}
	slices.SortFunc(all, func(a, b source) int { return cmp.Compare(b.Side, a.Side) })
	return all
}
