package authn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SVIDChoiceError: the Workload API gives SVIDs, but which one to use is not
// clear, or the one that was chosen is not among them. SVIDs come in no order, so
// there is no first. It is a fault of the configuration.
type SVIDChoiceError struct {
	// Want is SALLYPORT_SPIFFE_ID, "" where it is not set.
	Want string
	// IDs are those on offer, sorted.
	IDs []string
}

func (e *SVIDChoiceError) Error() string {
	if e.Want == "" {
		return fmt.Sprintf("SALLYPORT_SPIFFE_ID: the Workload API gives several SVIDs, choose one of %s", strings.Join(e.IDs, ", "))
	}
	return fmt.Sprintf("SALLYPORT_SPIFFE_ID: the Workload API does not give %s, but %s", e.Want, strings.Join(e.IDs, ", "))
}

// Await returns the first material of a source that is running. It waits through
// whatever can pass, and returns a *SVIDChoiceError at once. When ctx is done the
// error is the source's last, which says more than that time is up.
func Await(ctx context.Context, source Source) (*Material, error) {
	for {
		changed := source.Changed()
		material, err := source.Material()
		var choice *SVIDChoiceError
		if err == nil || errors.As(err, &choice) {
			return material, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// Description is what a `check` command prints of a daemon's material.
type Description struct {
	// ID is our own identity, or all names where there is none.
	ID          string
	NotAfter    time.Time
	TrustDomain string
	// Anchors are those of every accepted trust domain, sorted by name.
	Anchors []AnchorDescription
	// CRLs is how many revocation lists there are, CRLNextUpdate when the first will
	// be out of date. Revocation tells of one that lets nobody in.
	CRLs          int
	CRLNextUpdate time.Time
	Revocation    string
	// Unproved says why our own certificate does not verify against our own
	// anchors; "" where it does. Peers with the same anchors will refuse it.
	Unproved string
}

// AnchorDescription is of one trust domain; its name is "" for anchors that vouch
// for DNS names only.
type AnchorDescription struct {
	TrustDomain string
	Count       int
	// NotAfter is the latest of them.
	NotAfter time.Time
}

// Describe tells what there is of public interest. The role is our own.
func (m *Material) Describe(role Role) Description {
	leaf := m.Certificate.Leaf
	d := Description{ID: m.Identity.String(), NotAfter: m.NotAfter(), TrustDomain: m.TrustDomain}
	if d.ID == "" {
		names := slices.Clone(leaf.DNSNames)
		for _, ip := range leaf.IPAddresses {
			names = append(names, ip.String())
		}
		d.ID = strings.Join(names, ", ")
	}
	if m.anchors.domain.IsZero() {
		d.Anchors = append(d.Anchors, describeAnchors("", m.anchors.own))
	}
	for _, domain := range m.anchors.accepted {
		d.Anchors = append(d.Anchors, describeAnchors(domain.Name(), m.anchors.of(domain)))
	}
	if m.anchors.crls != nil {
		d.CRLs = len(m.anchors.crls.lists)
		d.CRLNextUpdate, d.Revocation = m.anchors.crls.state(time.Now())
	}
	if err := m.verifyOwn(role); err != nil {
		d.Unproved = err.Error()
	}
	return d
}

func describeAnchors(domain string, b bundle) AnchorDescription {
	d := AnchorDescription{TrustDomain: domain, Count: len(b.certs)}
	for _, cert := range b.certs {
		if cert.NotAfter.After(d.NotAfter) {
			d.NotAfter = cert.NotAfter
		}
	}
	return d
}

// String is for people, one fact per line.
func (d Description) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "identity      %s\n", d.ID)
	fmt.Fprintf(&text, "valid until   %s\n", d.NotAfter.UTC().Format(time.RFC3339))
	fmt.Fprintf(&text, "trust domain  %s\n", cmp.Or(d.TrustDomain, "none"))
	for _, a := range d.Anchors {
		fmt.Fprintf(&text, "accepts       %s: anchors %d, the last valid until %s\n", cmp.Or(a.TrustDomain, "DNS names"), a.Count, a.NotAfter.UTC().Format(time.RFC3339))
	}
	if d.CRLs > 0 {
		fmt.Fprintf(&text, "revocation    CRLs %d, the first is out of date at %s\n", d.CRLs, d.CRLNextUpdate.UTC().Format(time.RFC3339))
	}
	if d.Revocation != "" {
		fmt.Fprintf(&text, "warning       handshakes are refused: %s\n", d.Revocation)
	}
	if d.Unproved != "" {
		fmt.Fprintf(&text, "warning       own certificate against own anchors: %s\n", d.Unproved)
	}
	return text.String()
}
