package testenv_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"

	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

// A whole proxy takes tokens for its URL, by the keys of its Workload API.
func TestDaemonTakesTokens(t *testing.T) {
	t.Parallel()
	signer, err := workload.NewJWTAuthority(testenv.TrustDomain)
	if err != nil {
		t.Fatal(err)
	}
	const audience = "https://proxy.example.org:8443"
	s := newSite(t)
	s.startProxy(append(s.workloadAPI(proxyLeaf, signer), "SALLYPORT_SCRAPE_CLIENT_AUTH=optional", "SALLYPORT_SCRAPE_URL="+audience)...)
	ca, err := pki.Load(s.ca)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}}
	t.Cleanup(transport.CloseIdleConnections)
	status := func(audience string) (int, error) {
		token, err := signer.Mint(workload.Token{ID: testenv.ID("prometheus"), Audience: []string{audience}})
		if err != nil {
			return 0, err
		}
		request, err := http.NewRequest(http.MethodGet, "https://"+s.scrape+"/no/such/route", nil)
		if err != nil {
			return 0, err
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := transport.RoundTrip(request)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	testenv.Eventually(t, func() error {
		if code, err := status(audience); code != http.StatusNotFound {
			return fmt.Errorf("a token for the proxy: %d %w", code, err)
		}
		return nil
	})
	if code, err := status("https://elsewhere.example.org"); code != http.StatusUnauthorized {
		t.Errorf("a token for another: %d %v", code, err)
	}
}
