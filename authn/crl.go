package authn

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"
)

// crls are certificate revocation lists, each of the authority that signed it. An
// authority without one is not asked: its certificates pass. Immutable; nil where
// none are configured.
type crls struct{ lists []crl }

// crl is one list, in the state of its file.
type crl struct {
	*revocations
	file string
	// broken: the file cannot be read any more. What it said last still counts
	// against a certificate, but no longer for one.
	broken bool
}

// revocations are one list as it was signed.
type revocations struct {
	*x509.RevocationList
	revoked map[string]bool // by the bytes of the serial number
	scope   []byte          // of an issuing distribution point; nil: everything

	mu sync.Mutex
	// signed remembers signatures by the issuer's certificate: they cost most.
	signed map[[sha256.Size]byte]signature
}

// maxIssuers is more than one authority's name has certificates.
const maxIssuers = 64

// check asks about every certificate of a verified chain but the root, which
// nobody revokes but who takes it out of the anchors.
func (c *crls) check(chain []*x509.Certificate, t trial) error {
	if c == nil {
		return nil
	}
	for i, cert := range chain[:len(chain)-1] {
		if err := c.ask(cert, chain[i+1], t); err != nil {
			return err
		}
	}
	return nil
}

// ask looks a certificate up in what its issuer says. An issuer may have divided
// its list: then every part counts, and of each the newest.
func (c *crls) ask(cert, issuer *x509.Certificate, t trial) error {
	var unknown error
	parts := make(map[string]crl)
	for _, l := range c.lists {
		if !l.concerns(issuer) {
			continue
		}
		if err := l.signature(issuer).err; err != nil {
			unknown = fmt.Errorf("CRL %s bears the name of an authority in the chain, but: %w", l.file, err)
			continue
		}
		// One that is not yet valid has no say while an older one is.
		if best, ok := parts[string(l.scope)]; !ok || l.newer(best, t.now) {
			parts[string(l.scope)] = l
		}
	}
	for _, l := range parts {
		if l.revoked[string(cert.SerialNumber.Bytes())] {
			return fail(Revoked, fmt.Errorf("certificate with the serial %x is revoked by CRL %s", cert.SerialNumber, l.file))
		}
		if err := l.trouble(t.now); err != nil {
			unknown = err
		}
	}
	if unknown != nil && !t.live {
		return fail(RevocationUnknown, unknown)
	}
	return nil
}

// concerns is true of the issuer's lists. After a change of its key an authority
// has the same name, but not the same key identifier. That alone proves nothing: a
// key that was signed across may have one in each of its certificates, and it is the
// peer that chooses which of them to send.
func (l *revocations) concerns(issuer *x509.Certificate) bool {
	if !bytes.Equal(l.RawIssuer, issuer.RawSubject) {
		return false
	}
	return len(l.AuthorityKeyId) == 0 || len(issuer.SubjectKeyId) == 0 || bytes.Equal(l.AuthorityKeyId, issuer.SubjectKeyId) ||
		l.signature(issuer).fits
}

// signature is that of a list as one certificate of its issuer has it.
type signature struct {
	fits bool  // the key
	err  error // why it proves nothing, such as a key that may sign no lists
}

func (l *revocations) signature(issuer *x509.Certificate) signature {
	key := sha256.Sum256(issuer.Raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	found, known := l.signed[key]
	if !known {
		err := issuer.CheckSignature(l.SignatureAlgorithm, l.RawTBSRevocationList, l.Signature)
		found = signature{fits: err == nil, err: l.CheckSignatureFrom(issuer)}
		if len(l.signed) >= maxIssuers {
			clear(l.signed)
		}
		l.signed[key] = found
	}
	return found
}

func (l crl) newer(other crl, now time.Time) bool {
	if begun, otherBegun := !now.Before(l.ThisUpdate), !now.Before(other.ThisUpdate); begun != otherBegun {
		return begun
	}
	return l.ThisUpdate.After(other.ThisUpdate)
}

// trouble is why the list proves nobody good.
func (l crl) trouble(now time.Time) error {
	switch {
	case l.broken:
		return fmt.Errorf("CRL %s cannot be read", l.file)
	case now.After(l.NextUpdate):
		return fmt.Errorf("CRL %s of %.128q is out of date since %s", l.file, l.Issuer, l.NextUpdate.UTC().Format(time.RFC3339))
	case now.Before(l.ThisUpdate):
		return fmt.Errorf("CRL %s of %.128q is not valid before %s", l.file, l.Issuer, l.ThisUpdate.UTC().Format(time.RFC3339))
	}
	return nil
}

// state tells when the first list will be out of date, and what is wrong now.
func (c *crls) state(now time.Time) (next time.Time, trouble string) {
	if c == nil {
		return next, ""
	}
	for _, l := range c.lists {
		if next.IsZero() || l.NextUpdate.Before(next) {
			next = l.NextUpdate
		}
		if err := l.trouble(now); err != nil && trouble == "" {
			trouble = err.Error()
		}
	}
	return next, trouble
}

// parseCRLs reads all lists of a PEM text, or the one of a DER file.
func parseCRLs(text []byte) ([]*revocations, error) {
	begin := []byte("-----BEGIN X509 CRL-----")
	if !bytes.Contains(text, []byte("-----BEGIN ")) {
		one, err := parseCRL(text)
		return []*revocations{one}, err
	}
	var lists []*revocations
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		one, err := parseCRL(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("CRL %d: %w", len(lists)+1, err)
		}
		lists = append(lists, one)
	}
	switch {
	case bytes.Contains(text, begin):
		return nil, fmt.Errorf("CRL %d is cut short", len(lists)+1)
	case len(lists) == 0:
		return nil, errors.New("no CRL in it")
	}
	return lists, nil
}

func parseCRL(der []byte) (*revocations, error) {
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("parsing CRL: %w", err)
	}
	if !parsed.NextUpdate.After(parsed.ThisUpdate) {
		return nil, errors.New("CRL does not say when it will be out of date")
	}
	one := &revocations{RevocationList: parsed, revoked: make(map[string]bool), signed: make(map[[sha256.Size]byte]signature)}
	for _, extension := range parsed.Extensions {
		switch {
		case extension.Id.Equal(idDistributionPoint):
			if err := checkScope(extension.Value); err != nil {
				return nil, err
			}
			one.scope = extension.Value
		case extension.Id.Equal(idDeltaCRL):
			return nil, errors.New("CRL holds changes only: want the complete one")
		case extension.Critical:
			return nil, fmt.Errorf("CRL has the critical extension %v, which is unknown here", extension.Id)
		}
	}
	for _, entry := range parsed.RevokedCertificateEntries {
		for _, extension := range entry.Extensions {
			if extension.Critical {
				return nil, fmt.Errorf("an entry of the CRL has the critical extension %v, which is unknown here", extension.Id)
			}
		}
		one.revoked[string(entry.SerialNumber.Bytes())] = true
	}
	parsed.RevokedCertificateEntries = nil // The map is all that is asked.
	return one, nil
}

// RFC 5280, sections 5.2.4 and 5.2.5.
var (
	idDeltaCRL          = asn1.ObjectIdentifier{2, 5, 29, 27}
	idDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// checkScope takes a list that names the place where it is to be had, as those of
// many authorities do, and refuses one for some kinds of certificates, for some
// reasons, or of other issuers.
func checkScope(value []byte) error {
	var scope asn1.RawValue
	rest, err := asn1.Unmarshal(value, &scope)
	if err != nil || len(rest) != 0 || scope.Tag != asn1.TagSequence || !scope.IsCompound {
		return errors.New("issuing distribution point of the CRL is malformed")
	}
	for rest = scope.Bytes; len(rest) > 0; {
		var field asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &field); err != nil {
			return errors.New("issuing distribution point of the CRL is malformed")
		}
		if field.Class != asn1.ClassContextSpecific || field.Tag != 0 {
			return errors.New("CRL is partial or indirect: want the complete one of its authority")
		}
	}
	return nil
}
