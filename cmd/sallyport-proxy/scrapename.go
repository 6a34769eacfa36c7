package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// scrapeName compares the URL to which discovery sends Prometheus with the certificate
// that Prometheus finds there.
type scrapeName struct {
	url   string
	leaf  *x509.Certificate
	names string // all that the certificate is for
}

func newScrapeName(scrapeURL string, leaf *x509.Certificate) scrapeName {
	names := append([]string(nil), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return scrapeName{url: scrapeURL, leaf: leaf, names: strings.Join(names, ", ")}
}

// fits tells whether Prometheus can accept the certificate under the URL's name.
func (n scrapeName) fits() bool {
	u, err := url.Parse(n.url)
	return err == nil && n.leaf.VerifyHostname(u.Hostname()) == nil
}

// describe tells of the URL, and what is wrong with the certificate.
func (n scrapeName) describe(w io.Writer) {
	fmt.Fprintf(w, "scrape URL    %s\n", n.url)
	switch {
	case n.names == "":
		fmt.Fprintln(w, "warning       the scrape side's certificate has no DNS name and no IP address: Prometheus will refuse it under whatever name")
	case !n.fits():
		fmt.Fprintf(w, "warning       the scrape side's certificate is for %s, not for the host of the scrape URL, under which discovery lists every route: Prometheus will refuse it. Set SALLYPORT_SCRAPE_URL to a name that the certificate has, or issue one with that name\n", n.names)
	}
}

// watchScrapeName says of each certificate that the scrape side comes to have whether
// Prometheus will refuse it.
func (s *service) watchScrapeName(ctx context.Context) error {
	source, last := s.scrapeSource(), []byte(nil)
	for {
		changed := source.Changed()
		material, err := source.Material()
		if err == nil && !bytes.Equal(last, material.Certificate.Leaf.Raw) {
			last = material.Certificate.Leaf.Raw
			if name := newScrapeName(s.settings.Proxy.URL(), material.Certificate.Leaf); !name.fits() {
				s.log.Warn("prometheus will refuse our certificate under the scrape URL", "scrape_url", name.url, "certificate_for", name.names,
					"hint", "set SALLYPORT_SCRAPE_URL to a name that the certificate has, or issue one with that name")
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// refusedName is why Prometheus will refuse the certificate that the scrape side has now.
func (s *service) refusedName() string {
	material, err := s.scrapeSource().Material()
	if err != nil {
		return ""
	}
	if name := newScrapeName(s.settings.Proxy.URL(), material.Certificate.Leaf); !name.fits() {
		return "Discovery sends it to " + name.url + ", and the certificate is not for that host. Set SALLYPORT_SCRAPE_URL to a name that the certificate has, or issue one with that name."
	}
	return ""
}
