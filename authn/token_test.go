package authn_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/seed-951114d4/sallyport/authn"
	"github.com/seed-951114d4/sallyport/pki"
	"github.com/seed-951114d4/sallyport/testenv/workload"
)

const (
	scrapeURL    = "https://proxy.example.org:8443"
	prometheusID = "spiffe://example.org/prometheus"
)

// issuers is a Workload API that gives keys of tokens, and who signs with them.
type issuers struct {
	*spire
	own, partner, shunned *workload.JWTAuthority
	state                 workload.State
	tokens                *authn.Tokens
}

func newJWTAuthority(t *testing.T, domain string) *workload.JWTAuthority {
	t.Helper()
	a, err := workload.NewJWTAuthority(domain)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func startIssuers(t *testing.T) *issuers {
	t.Helper()
	i := &issuers{
		spire: startSPIRE(t, func(cfg *authn.Config) {
			cfg.JWTBundles = true
			accept(cfg, domain, "partner.example", "keyless.example")
		}),
		own: newJWTAuthority(t, domain), partner: newJWTAuthority(t, "partner.example"), shunned: newJWTAuthority(t, "shunned.example"),
	}
	i.state = workload.State{
		SVIDs: []tls.Certificate{agentLeaf(t, i.ca).TLS()}, Bundles: map[string][]*x509.Certificate{domain: {i.ca.Certificate()}},
		JWT: []*workload.JWTAuthority{i.own, i.partner, i.shunned},
	}
	i.tokens = authn.NewTokens(i.source, scrapeURL)
	return i
}

func (i *issuers) set(t *testing.T) {
	t.Helper()
	if err := i.Set(i.state); err != nil {
		t.Fatal(err)
	}
}

func mint(t *testing.T, by *workload.JWTAuthority, token workload.Token) string {
	t.Helper()
	text, err := by.Mint(token)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func good(id string) workload.Token {
	return workload.Token{ID: id, Audience: []string{scrapeURL}}
}

// untilTaken waits until a token is judged so; "" is good.
func (i *issuers) untilJudged(t *testing.T, token string, want authn.Reason) authn.Bearer {
	t.Helper()
	var bearer authn.Bearer
	until(t, i.source, "verdict "+string(want), func(*authn.Material, error) bool {
		var err error
		bearer, err = i.tokens.Validate(token)
		return err == nil && want == "" || err != nil && authn.ReasonOf(err) == want
	})
	return bearer
}

func TestTokens(t *testing.T) {
	t.Parallel()
	i := startIssuers(t)
	first := mint(t, i.own, good(prometheusID))
	if _, err := i.tokens.Validate(first); authn.ReasonOf(err) != authn.NoMaterial {
		t.Errorf("before there are keys: %v", err)
	}
	i.set(t)
	run(t, i.source)
	bearer := i.untilJudged(t, first, "")
	if id := bearer.Identity; id.Kind() != authn.JWT || id.String() != prometheusID || id.TrustDomain() != domain || len(id.Segments()) != 1 {
		t.Errorf("bearer is %v %v", bearer.Identity.Kind(), bearer.Identity)
	}
	if left := time.Until(bearer.NotAfter); left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("ends in %v", left)
	}
	change := func(header, claims map[string]any) workload.Token {
		token := good(prometheusID)
		token.Header, token.Claims = header, claims
		return token
	}
	type members = map[string]any
	cut := strings.LastIndexByte(first, '.')
	other := mint(t, i.own, good(nodeID))
	for _, test := range []struct {
		name  string
		token string
		want  authn.Reason
	}{
		{"again", first, ""},
		{"the partner's", mint(t, i.partner, good("spiffe://partner.example/prometheus")), ""},
		{"several audiences", mint(t, i.own, change(nil, members{"aud": []string{"x", scrapeURL}})), ""},
		{"one audience, no list", mint(t, i.own, change(nil, members{"aud": scrapeURL})), ""},

		{"empty", "", authn.BadToken},
		{"no token", "hello", authn.BadToken},
		{"as it stands in the header", "Bearer " + first, authn.BadToken},
		{"no signature", first[:cut+1], authn.BadToken},
		{"another's signature", first[:cut] + other[strings.LastIndexByte(other, '.'):], authn.BadToken},
		{"more behind it", first + "." + first, authn.BadToken},
		{"too long", first + strings.Repeat("A", 8<<10), authn.BadToken},
		{"alg none", mint(t, i.own, change(members{"alg": "none"}, nil)), authn.BadToken},
		{"alg none without a signature", strings.TrimRight(mint(t, i.own, change(members{"alg": "none"}, nil)), "."), authn.BadToken},
		{"alg HS256", mint(t, i.own, change(members{"alg": "HS256"}, nil)), authn.BadToken},
		{"alg RS256", mint(t, i.own, change(members{"alg": "RS256"}, nil)), authn.BadToken},
		{"no key ID", mint(t, i.own, change(members{"kid": nil}, nil)), authn.BadToken},
		{"another type", mint(t, i.own, change(members{"typ": "at+jwt"}, nil)), authn.BadToken},
		{"another audience", mint(t, i.own, change(nil, members{"aud": []string{scrapeURL + "/"}})), authn.BadToken},
		{"no audience", mint(t, i.own, change(nil, members{"aud": nil})), authn.BadToken},
		{"no end", mint(t, i.own, change(nil, members{"exp": nil})), authn.BadToken},
		{"no subject", mint(t, i.own, change(nil, members{"sub": nil})), authn.BadToken},
		{"a subject that is no SPIFFE ID", mint(t, i.own, good("prometheus")), authn.BadToken},
		{"a bare trust domain", mint(t, i.own, good("spiffe://example.org")), authn.BadToken},
		{"a long subject", mint(t, i.own, good("spiffe://example.org/"+strings.Repeat("p", 2048))), authn.BadToken},
		{"not yet valid", mint(t, i.own, change(nil, members{"nbf": time.Now().Add(time.Hour).Unix()})), authn.BadToken},
		{"expired", mint(t, i.own, workload.Token{ID: prometheusID, Audience: []string{scrapeURL}, NotAfter: time.Now().Add(-time.Hour)}), authn.Expired},
		{"expired just now", mint(t, i.own, workload.Token{ID: prometheusID, Audience: []string{scrapeURL}, NotAfter: time.Now().Add(-2 * time.Second)}), authn.Expired},
		{"unknown key ID", mint(t, newJWTAuthority(t, domain), good(prometheusID)), authn.UnknownAuthority},
		{"another key of the same ID", mint(t, newJWTAuthority(t, domain), change(members{"kid": i.own.KeyID()}, nil)), authn.BadToken},
		{"the partner signs ours", mint(t, i.partner, good(prometheusID)), authn.UnknownAuthority},
		{"we sign the partner's", mint(t, i.own, good("spiffe://partner.example/a")), authn.UnknownAuthority},
		{"shunned", mint(t, i.shunned, good("spiffe://shunned.example/a")), authn.UntrustedDomain},
		{"unheard of", mint(t, i.own, good("spiffe://nowhere.example/a")), authn.UntrustedDomain},
		{"of a domain without keys", mint(t, i.own, good("spiffe://keyless.example/a")), authn.UnknownAuthority},
	} {
		bearer, err := i.tokens.Validate(test.token)
		if (err == nil) != (test.want == "") || err != nil && (authn.ReasonOf(err) != test.want || bearer != authn.Bearer{}) {
			t.Errorf("%s: %v, %v, want %q", test.name, bearer, err, test.want)
		}
		checkSilent(t, test.name, err, test.token)
	}
	if said := i.log.all(); strings.Contains(said, first[:20]) || strings.Contains(said, first[cut+1:]) {
		t.Error("the log tells of a token")
	}
}

// checkSilent: an error must not hold a piece of the token that is worth something,
// nor its claims.
func checkSilent(t *testing.T, name string, err error, token string) {
	t.Helper()
	var fault *authn.Error
	if err == nil || len(token) < 40 {
		return
	}
	if !errors.As(err, &fault) || len(err.Error()) > 400 {
		t.Errorf("%s: error is %v", name, err)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part[:8]) {
			t.Errorf("%s: %v tells of the token", name, err)
		}
	}
}

func TestTokensFollowTheKeys(t *testing.T) {
	t.Parallel()
	i := startIssuers(t)
	i.set(t)
	run(t, i.source)
	token := mint(t, i.own, good(prometheusID))
	i.untilJudged(t, token, "")
	// Keys and SVIDs come on streams of their own.
	renewed := agentLeaf(t, i.ca)
	i.state.SVIDs = []tls.Certificate{renewed.TLS()}
	i.set(t)
	certificate := i.until(t, renewed).Certificate
	if _, err := i.tokens.Validate(token); err != nil {
		t.Errorf("after a rotation of ours: %v", err)
	}
	next := newJWTAuthority(t, domain)
	i.state.JWT = []*workload.JWTAuthority{i.own, next}
	i.set(t)
	i.untilJudged(t, mint(t, next, good(prometheusID)), "")
	if _, err := i.tokens.Validate(token); err != nil {
		t.Errorf("the old key is there still: %v", err)
	}
	// A token that was good is remembered, but not beyond its key.
	i.state.JWT = []*workload.JWTAuthority{next}
	i.set(t)
	i.untilJudged(t, token, authn.UnknownAuthority)
	if health := i.source.Health(); material(t, i.source).Certificate != certificate || health.Rotations != 1 || !health.Up || health.Tokens != "" {
		t.Errorf("health %+v", health)
	}
	// The keys outlive the Workload API, and tokens our own certificate.
	token = mint(t, next, good(prometheusID))
	i.Refuse(codes.Unavailable, "gone fishing")
	waitLine(t, i.log, "no keys of bearer tokens", 1)
	if _, err := i.tokens.Validate(token); err != nil {
		t.Errorf("without the Workload API: %v", err)
	}
	if health := i.source.Health(); !strings.Contains(health.Tokens, "gone fishing") {
		t.Errorf("health %+v", health)
	}
}

func TestTokensEndToTheSecond(t *testing.T) {
	t.Parallel()
	i := startIssuers(t)
	i.set(t)
	run(t, i.source)
	end := time.Now().Add(3 * time.Second).Truncate(time.Second)
	token := mint(t, i.own, workload.Token{ID: prometheusID, Audience: []string{scrapeURL}, NotAfter: end})
	if bearer := i.untilJudged(t, token, ""); !bearer.NotAfter.Equal(end) {
		t.Errorf("ends at %v, want %v", bearer.NotAfter, end)
	}
	<-time.After(time.Until(end)) // Only the clock says it.
	if _, err := i.tokens.Validate(token); authn.ReasonOf(err) != authn.Expired {
		t.Errorf("at its end: %v", err)
	}
}

func TestTokensNeedTheWorkloadAPI(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.CAConfig{TrustDomain: domain})
	tokens := authn.NewTokens(files(t, authn.Server, proxyLeaf(t, ca), ca), scrapeURL)
	if _, err := tokens.Validate(mint(t, newJWTAuthority(t, domain), good(prometheusID))); authn.ReasonOf(err) != authn.NoMaterial {
		t.Errorf("files mode: %v", err)
	}
	s := startSPIRE(t, nil)
	leaf := agentLeaf(t, s.ca)
	s.give(t, nil, leaf)
	run(t, s.source)
	s.until(t, leaf)
	if s.Opened() != 1 {
		t.Errorf("%d streams though nobody asked for keys", s.Opened())
	}
}
