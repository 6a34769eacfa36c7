package proxy_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/policies"
	"github.com/seed-951114d4/sallyport/proxy"
	"github.com/seed-951114d4/sallyport/testenv"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

const audience = "https://proxy.example.org:8443"

func newSigner(t *testing.T, domain string) *workload.JWTAuthority {
	t.Helper()
	signer, err := workload.NewJWTAuthority(domain)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func mint(t *testing.T, signer *workload.JWTAuthority, token workload.Token) string {
	t.Helper()
	if token.Audience == nil {
		token.Audience = []string{audience}
	}
	text, err := signer.Mint(token)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// tokenWorld is a world that takes tokens, with an agent whose target answers with
// the header that it gets.
func tokenWorld(t *testing.T, cfg testenv.Config) (*testenv.World, *workload.JWTAuthority) {
	t.Helper()
	cfg.WorkloadAPI = true
	cfg.Proxy = func(c *proxy.Config) { c.ClientAuth, c.ScrapeURL = proxy.ClientAuthOptional, audience }
	w := testenv.Start(t, cfg)
	signer := newSigner(t, testenv.TrustDomain)
	w.Trust.Change(func(state *workload.State) { state.JWT = []*workload.JWTAuthority{signer} })
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		for name, values := range r.Header {
			fmt.Fprintf(w, "# %s: %q\n", name, values)
		}
		fmt.Fprintln(w, "up 1")
	}))
	t.Cleanup(target.Close)
	w.Agent("team-a/node", testenv.Route(path, target.URL))
	good := mint(t, signer, workload.Token{ID: testenv.ID("prometheus")})
	testenv.Eventually(t, func() error {
		if answer := w.ScraperWith(nil).Get(path, "Authorization", "Bearer "+good); answer.Status != 200 {
			return fmt.Errorf("%d %s %w", answer.Status, answer.Body, answer.Err)
		}
		return nil
	})
	return w, signer
}

// Who may come with a token, and who may not.
func TestTokens(t *testing.T) {
	t.Parallel()
	w, signer := tokenWorld(t, testenv.Config{})
	mallory := newSigner(t, testenv.TrustDomain)
	theirs := newSigner(t, partner)
	prometheus := workload.Token{ID: testenv.ID("prometheus")}
	with := func(change func(*workload.Token)) string {
		token := prometheus
		change(&token)
		return mint(t, signer, token)
	}
	good := with(func(*workload.Token) {})
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + good[strings.Index(good, "."):strings.LastIndex(good, ".")+1]
	for _, tt := range []struct {
		name   string
		header []string // Authorization's lines
		status int
	}{
		{"valid", []string{"Bearer " + good}, 200},
		{"scheme in lower case", []string{"bearer " + good}, 200},
		{"below /prometheus", []string{"Bearer " + with(func(t *workload.Token) { t.ID += "/b" })}, 200},
		{"an agent's", []string{"Bearer " + with(func(t *workload.Token) { t.ID = testenv.ID("team-a/node") })}, 404},
		{"none", nil, 401},
		{"empty", []string{"Bearer "}, 401},
		{"basic", []string{"Basic cHJvbWV0aGV1czp4"}, 401},
		{"two lines", []string{"Bearer " + good, "Bearer " + good}, 401},
		{"two tokens", []string{"Bearer " + good + " " + good}, 401},
		{"no JWT", []string{"Bearer swordfish"}, 401},
		{"expired", []string{"Bearer " + with(func(t *workload.Token) { t.NotAfter = time.Now().Add(-5 * time.Second) })}, 401},
		{"without an end", []string{"Bearer " + with(func(t *workload.Token) { t.Claims = map[string]any{"exp": nil} })}, 401},
		{"another audience", []string{"Bearer " + with(func(t *workload.Token) { t.Audience = []string{"https://elsewhere.example.org"} })}, 401},
		{"another key", []string{"Bearer " + mint(t, mallory, prometheus)}, 401},
		{"our domain by another's key ID", []string{"Bearer " + mint(t, mallory, workload.Token{ID: prometheus.ID, Header: map[string]any{"kid": signer.KeyID()}})}, 401},
		{"another domain", []string{"Bearer " + mint(t, theirs, workload.Token{ID: "spiffe://" + partner + "/prometheus"})}, 401},
		{"another domain by our key", []string{"Bearer " + with(func(t *workload.Token) { t.ID = "spiffe://" + partner + "/prometheus" })}, 401},
		{"a domain itself", []string{"Bearer " + with(func(t *workload.Token) { t.ID = "spiffe://" + testenv.TrustDomain })}, 401},
		{"unsigned", []string{"Bearer " + unsigned}, 401},
		{"cut", []string{"Bearer " + good[:len(good)-4]}, 401},
		{"huge", []string{"Bearer " + good + strings.Repeat("A", 9<<10)}, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			request, err := http.NewRequest(http.MethodGet, w.ScraperWith(nil).URL(path), nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.header != nil {
				request.Header["Authorization"] = tt.header
			}
			response, err := w.ScraperWith(nil).Client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != tt.status {
				t.Errorf("%d %q %v", response.StatusCode, body, err)
			}
			if challenge := response.Header.Get("WWW-Authenticate"); (challenge == "Bearer") != (tt.status == 401) {
				t.Errorf("WWW-Authenticate is %q", challenge)
			}
			if outcome := response.Header.Get("Sallyport-Outcome"); tt.status == 401 && outcome != "unauthenticated" {
				t.Errorf("outcome %q", outcome)
			}
			if tt.status == 200 && strings.Contains(strings.ToLower(string(body)), "authorization") {
				t.Errorf("the target saw:\n%s", body)
			}
		})
	}
	if n := w.Proxy.Metric("sallyport_proxy_tokens_refused_total", "reason", "expired"); n != 1 {
		t.Errorf("%v expired tokens", n)
	}
	logs := w.Logs.String()
	for _, part := range strings.Split(good, ".") {
		if strings.Contains(logs, part) {
			t.Errorf("the logs have a part of a token: %s", part)
		}
	}
	if !strings.Contains(logs, "scraper without a credential") || !strings.Contains(logs, "bearer token refused") || strings.Contains(logs, "swordfish") {
		t.Error("the logs do not say that a token was refused, or say which")
	}
}

// The policy sees what kind of credential it was; a certificate goes before a token.
func TestCertificateGoesBeforeToken(t *testing.T) {
	t.Parallel()
	w, signer := tokenWorld(t, testenv.Config{Policy: rules("", `allow if input.scraper.segments == ["prometheus"]
allow if {
	input.scraper.kind == "jwt"
	input.scraper.segments == ["tokens", "only"]
	input.scraper.trust_domain == "example.org"
}`)})
	bearer := "Bearer " + mint(t, signer, workload.Token{ID: testenv.ID("tokens/only")})
	for _, tt := range []struct {
		name   string
		leaf   *pki.Leaf
		header string
		status int
	}{
		{"the token alone", nil, bearer, 200},
		{"the same ID by certificate", w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("tokens/only")}), "", 404},
		{"a certificate that may not, with a token that may", w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("team-a/node")}), bearer, 404},
		{"a certificate that may, with no token to speak of", w.Leaf(pki.Request{Role: pki.Scraper, SPIFFEID: testenv.ID("prometheus")}), "Bearer swordfish", 200},
	} {
		scraper := w.ScraperWith(tt.leaf)
		var answer testenv.Answer
		if tt.header == "" {
			answer = scraper.Get(path)
		} else {
			answer = scraper.Get(path, "Authorization", tt.header)
		}
		if answer.Status != tt.status || answer.Err != nil {
			t.Errorf("%s: %d %v", tt.name, answer.Status, answer.Err)
		}
	}
}

// Tokens count where certificates are optional, and nowhere else.
func TestTokensElsewhere(t *testing.T) {
	t.Parallel()
	signer := newSigner(t, testenv.TrustDomain)
	bearer := "Bearer " + mint(t, signer, workload.Token{ID: testenv.ID("prometheus")})
	for auth, status := range map[proxy.ClientAuth]int{proxy.ClientAuthRequire: 0, proxy.ClientAuthNone: 404} {
		w := testenv.Start(t, testenv.Config{WorkloadAPI: true, Proxy: func(c *proxy.Config) { c.ClientAuth, c.ScrapeURL = auth, audience }})
		w.Trust.Change(func(state *workload.State) { state.JWT = []*workload.JWTAuthority{signer} })
		if answer := w.ScraperWith(nil).Get(path, "Authorization", bearer); answer.Status != status {
			t.Errorf("%s: %d", auth, answer.Status)
		}
	}
	// In files mode there are no keys to judge them by.
	w := testenv.Start(t, testenv.Config{Proxy: func(c *proxy.Config) { c.ClientAuth, c.ScrapeURL = proxy.ClientAuthOptional, audience }})
	if answer := w.ScraperWith(nil).Get(path, "Authorization", bearer); answer.Status != 401 {
		t.Errorf("files: %d", answer.Status)
	}
	if answer := w.Scraper("prometheus").Get(path); answer.Status != 404 {
		t.Errorf("files, with a certificate: %d", answer.Status)
	}
}

// A key that leaves the bundle takes scrapes in flight along; one that ends in the
// middle of a scrape ends it.
func TestTokenEndsInFlight(t *testing.T) {
	t.Parallel()
	for _, ends := range []string{"key", "token"} {
		w, signer := tokenWorld(t, testenv.Config{Policy: anyRoute})
		gate := testenv.NewGate(t, true)
		w.Agent("team-b/node", testenv.Route("/gate", gate.URL))
		token := workload.Token{ID: testenv.ID("prometheus")}
		if ends == "token" {
			token.NotAfter = time.Now().Add(3 * time.Second)
		}
		bearer := "Bearer " + mint(t, signer, token)
		flying := make(chan testenv.Answer, 1)
		go func() { flying <- w.ScraperWith(nil).Get("/gate", "Authorization", bearer) }()
		<-gate.Arrived()
		began := time.Now()
		if ends == "key" {
			w.Trust.Change(func(state *workload.State) { state.JWT = []*workload.JWTAuthority{newSigner(t, testenv.TrustDomain)} })
		}
		answer := <-flying
		within(t, began, 5*time.Second)
		if answer.Err == nil {
			t.Errorf("%s: %d", ends, answer.Status)
		}
		if answer := w.ScraperWith(nil).Get("/gate", "Authorization", bearer); answer.Status != 401 {
			t.Errorf("%s: %d after its end", ends, answer.Status)
		}
	}
}

// The policies that ship take a token for Prometheus of our own domain, whatever
// other domains are believed.
func TestShippedPoliciesTakeTokens(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"default", "dev", "staging"} {
		policy, _ := policies.Builtin(name)
		w, signer := tokenWorld(t, testenv.Config{Policy: policy, TrustDomains: authn.TrustDomains{
			spiffeid.RequireTrustDomainFromString(testenv.TrustDomain), spiffeid.RequireTrustDomainFromString(partner),
		}})
		theirs := newSigner(t, partner)
		w.Trust.Change(func(state *workload.State) { state.JWT = []*workload.JWTAuthority{signer, theirs} })
		visitor := mint(t, theirs, workload.Token{ID: "spiffe://" + partner + "/prometheus"})
		testenv.Eventually(t, func() error {
			if answer := w.ScraperWith(nil).Get(path, "Authorization", "Bearer "+visitor); answer.Status != 404 {
				return fmt.Errorf("%s: another domain's got %d", name, answer.Status)
			}
			return nil
		})
	}
}

// What SALLYPORT_SCRAPE_URL may be, and what stands in for it.
func TestScrapeURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://proxy.example.org:8443":       "",
		"https://proxy.example.org":            "",
		"https://proxy.example.org/":           "",
		"https://[2001:db8::1]:8443":           "",
		"http://proxy.example.org:8443":        "the scheme is not https",
		"proxy.example.org:8443":               "the scheme is not https",
		"https://":                             "there is no host",
		"https://:8443":                        "there is no host",
		"https://user:pass@proxy.example.org":  "more than scheme, host and port",
		"https://proxy.example.org/?x=1":       "more than scheme, host and port",
		"https://proxy.example.org/metrics":    "it has a path",
		"https://proxy.example.org:70000":      "the port is not",
		"https://proxy.example.org:8443\nx: y": "not a URL",
	} {
		cfg := testenv.ProxyConfig()
		cfg.ScrapeURL = text
		err := cfg.Validate()
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "SALLYPORT_SCRAPE_URL: ")) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if got := cfg.URL(); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	for addr, want := range map[string]string{"127.0.0.1:8443": "https://127.0.0.1:8443", "[::1]:1": "https://[::1]:1", "proxy:8443": "https://proxy:8443"} {
		if got := (proxy.Config{ScrapeAddr: addr}).URL(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	for _, addr := range []string{":8443", "0.0.0.0:8443", "[::]:8443"} {
		if got := (proxy.Config{ScrapeAddr: addr}).URL(); !strings.HasSuffix(got, ":8443") || strings.Contains(got, "0.0.0.0") || strings.Contains(got, "//:") || strings.Contains(got, "[::]") {
			t.Errorf("%s: %s names no host", addr, got)
		}
	}
}
