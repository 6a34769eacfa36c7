package authn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// update puts an answer of the Workload API in force, or tells why not: then what
// there was stays.
func (w *WorkloadAPI) update(answer *workloadapi.X509Context) {
	w.renewing.Lock()
	defer w.renewing.Unlock()
	current := w.held()
	svid, err := w.choose(answer.SVIDs, current)
	if err != nil {
		w.tell(err)
		w.anchor(answer.Bundles, current)
		return
	}
	material, err := w.material(svid.ID.TrustDomain(), pairOf(svid), answer.Bundles, current)
	if err != nil {
		w.tell(fmt.Errorf("SVID %s: %w", svid.ID, err))
		w.anchor(answer.Bundles, current)
		return
	}
	recovered := w.told != ""
	w.told = ""
	newPair := current == nil || current.Certificate != material.Certificate
	if newPair || !current.anchors.equal(material.anchors) {
		w.set(material)
		w.log.Info("Workload API gave an update", "id", material.Identity.String(), "not_after", material.NotAfter(), "new_svid", newPair)
		return
	}
	w.good()
	if recovered {
		w.log.Info("Workload API is back", "id", material.Identity.String(), "not_after", material.NotAfter())
	}
}

// anchor takes over the anchors of an answer whose SVID cannot be used: an authority
// that has left them must not vouch for anybody until there is one that can.
func (w *WorkloadAPI) anchor(bundles *x509bundle.Set, current *Material) {
	if current == nil {
		return
	}
	next, err := w.material(current.anchors.domain, current.Certificate, bundles, current)
	if err != nil || next.anchors.equal(current.anchors) {
		return
	}
	w.replace(next)
	w.log.Info("Workload API gave new anchors", "id", next.Identity.String())
}

// choose picks the SVID to be known by. Where several are given and none was
// asked for, one that is in use already stays in use; at a start there is none.
func (w *WorkloadAPI) choose(svids []*x509svid.SVID, current *Material) (*x509svid.SVID, error) {
	var ids []string
	for _, svid := range svids {
		ids = append(ids, svid.ID.String())
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	want := w.cfg.SPIFFEID.String()
	switch {
	case want != "":
	case len(ids) == 1:
		want = ids[0]
	case current != nil:
		want = current.Identity.String()
	}
	var best *x509svid.SVID
	for _, svid := range svids {
		if svid.ID.String() == want && (best == nil || svid.Certificates[0].NotAfter.After(best.Certificates[0].NotAfter)) {
			best = svid
		}
	}
	if best == nil {
		return nil, &SVIDChoiceError{Want: w.cfg.SPIFFEID.String(), IDs: ids}
	}
	return best, nil
}

func (w *WorkloadAPI) material(domain spiffeid.TrustDomain, pair *tls.Certificate, bundles *x509bundle.Set, current *Material) (*Material, error) {
	a := &Anchors{
		domain: domain, foreign: make(map[spiffeid.TrustDomain]bundle),
		accepted: acceptedDomains(w.cfg.TrustDomains, domain), allowDemo: w.cfg.AllowDemoCA,
		tokens: w.tokens.get(),
	}
	for _, b := range bundles.Bundles() {
		found := bundle{certs: b.X509Authorities(), source: sourceSPIFFE}
		if b.TrustDomain() == domain {
			a.own = found
		} else {
			a.foreign[b.TrustDomain()] = found
		}
	}
	if len(a.own.certs) == 0 {
		return nil, errors.New("no anchors of its trust domain")
	}
	// The same SVID comes again whenever a bundle changes.
	material, err := newMaterial(keep(current.certificate(), pair), w.role, a, current)
	if err != nil {
		return nil, err
	}
	material.requirePQ = w.cfg.RequirePQ
	return material, nil
}

func pairOf(svid *x509svid.SVID) *tls.Certificate {
	pair := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, cert := range svid.Certificates {
		pair.Certificate = append(pair.Certificate, cert.Raw)
	}
	return pair
}
