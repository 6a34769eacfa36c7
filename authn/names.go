package authn

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
)

// altNames are a certificate's subject alternative names that could be an
// identity, byte for byte as they were signed.
type altNames struct {
	uris []string
	dns  []string
}

// idSubjectAltName is RFC 5280, section 4.2.1.6; the tags are of GeneralName.
var idSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

const (
	tagDNSName = 2
	tagURI     = 6
)

// readNames reads the extension itself: crypto/x509 keeps a URI as url.URL, whose
// String drops an empty fragment and lower-cases the scheme, so it may be another
// name than the one that the CA signed.
func readNames(cert *x509.Certificate) (altNames, error) {
	var names altNames
	for _, extension := range cert.Extensions {
		if !extension.Id.Equal(idSubjectAltName) {
			continue
		}
		var sequence asn1.RawValue
		rest, err := asn1.Unmarshal(extension.Value, &sequence)
		if err != nil || len(rest) != 0 || !sequence.IsCompound || sequence.Tag != asn1.TagSequence || sequence.Class != asn1.ClassUniversal {
			return altNames{}, errors.New("subject alternative names are malformed")
		}
		for rest = sequence.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				return altNames{}, errors.New("subject alternative names are malformed")
			}
			names.add(name)
		}
	}
	return names, nil
}

func (n *altNames) add(name asn1.RawValue) {
	if name.Class != asn1.ClassContextSpecific {
		return
	}
	switch name.Tag {
	case tagURI:
		n.uris = append(n.uris, string(name.Bytes))
	case tagDNSName:
		n.dns = append(n.dns, string(name.Bytes))
	}
}
