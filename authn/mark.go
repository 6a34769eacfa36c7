package authn

import (
	"crypto/x509"
	"encoding/asn1"
)

// demoMark is under the enterprise number that RFC 5612 keeps for examples: no
// authority of anyone's bears it by accident.
var demoMark = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 83, 1}

// DemoMark returns the object identifier of the extension that the demo's CA
// bears. Its key lies in a folder that anybody may read about, so outside the
// demo an anchor or a chain with it is refused.
func DemoMark() asn1.ObjectIdentifier { return append(asn1.ObjectIdentifier(nil), demoMark...) }

func anyMarked(certs []*x509.Certificate) bool {
	for _, cert := range certs {
		for _, extension := range cert.Extensions {
			if extension.Id.Equal(demoMark) {
				return true
			}
		}
	}
	return false
}
