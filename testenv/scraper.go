package testenv

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"time"

	"github.com/seed-951114d4/sallyport/pki"
)

// Scraper is an HTTP client with an identity, as Prometheus is one.
type Scraper struct {
	// Client keeps connections open between scrapes.
	Client *http.Client

	w *World
}

// Answer is what a scraper got.
type Answer struct {
	Status  int
	Outcome string
	Header  http.Header
	Body    []byte
	// Err is why the answer broke off after its head, or why there is none.
	Err error
}

// Scraper makes a scraper with the SPIFFE ID of that path.
func (w *World) Scraper(path string) *Scraper {
	w.TB.Helper()
	return w.ScraperWith(w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: ID(path)}))
}

// ScraperWith makes a scraper with that certificate; nil: with none.
func (w *World) ScraperWith(leaf *pki.Leaf) *Scraper {
	if leaf == nil {
		return w.scraper(&tls.Config{})
	}
	return w.scraper(&tls.Config{Certificates: []tls.Certificate{leaf.TLS()}})
}

// ScraperWithCertificate makes a scraper that asks for its certificate when it
// connects.
func (w *World) ScraperWithCertificate(get func(*tls.CertificateRequestInfo) (*tls.Certificate, error)) *Scraper {
	return w.scraper(&tls.Config{GetClientCertificate: get})
}

func (w *World) scraper(cfg *tls.Config) *Scraper {
	cfg.RootCAs, cfg.MinVersion = w.CA.Pool(), tls.VersionTLS12
	transport := &http.Transport{TLSClientConfig: cfg, DisableCompression: true, MaxIdleConnsPerHost: 1024}
	w.TB.Cleanup(transport.CloseIdleConnections)
	return &Scraper{w: w, Client: &http.Client{Transport: transport}}
}

// URL is a path on the proxy.
func (s *Scraper) URL(path string) string { return "https://" + s.w.Proxy.ScrapeAddr + path }

// Get scrapes a path. Headers come in pairs.
func (s *Scraper) Get(path string, headers ...string) Answer {
	return s.Do(context.Background(), http.MethodGet, path, headers...)
}

// Do sends a request and reads the answer to its end.
func (s *Scraper) Do(ctx context.Context, method, path string, headers ...string) Answer {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.URL(path), nil)
	if err != nil {
		return Answer{Err: err}
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := s.Client.Do(request)
	if err != nil {
		return Answer{Err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return Answer{
		Status: response.StatusCode, Outcome: response.Header.Get("Sallyport-Outcome"),
		Header: response.Header, Body: body, Err: err,
	}
}
