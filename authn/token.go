package authn

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
)

const (
	// maxToken is several times what any Workload API gives.
	maxToken = 8 << 10
	// maxTokens bounds what is remembered. Only valid ones are.
	maxTokens = 1024
)

// Bearer is whom a token proved, and until when.
type Bearer struct {
	Identity Identity
	NotAfter time.Time
}

// Tokens judge JWT-SVIDs that scrapers send as bearer tokens. A token proves less
// than a certificate: whoever has seen it may use it until it ends. So it counts
// for one audience only, and no error nor anything else tells of its text.
type Tokens struct {
	trust    Trust
	audience string

	mu sync.Mutex
	// known remembers tokens that were good, by their hash, as long as the anchors
	// are these: a scrape every few seconds need not cost a signature.
	known   map[[sha256.Size]byte]Bearer
	anchors *Anchors
}

// NewTokens takes tokens for exactly the audience, by the keys that the Workload API
// gives. The source must have been made with Config.JWTBundles; without keys, as in
// files mode, every token is refused.
func NewTokens(trust Trust, audience string) *Tokens {
	return &Tokens{trust: trust, audience: audience, known: make(map[[sha256.Size]byte]Bearer)}
}

// Validate judges a token, by the keys and the clock as they are. The error is an
// *Error.
func (t *Tokens) Validate(token string) (Bearer, error) {
	if len(token) > maxToken {
		return Bearer{}, fail(BadToken, fmt.Errorf("token has %d bytes, at most %d are allowed", len(token), maxToken))
	}
	anchors, err := t.trust.Anchors()
	if err != nil {
		return Bearer{}, fail(NoMaterial, err)
	}
	if anchors.tokens == nil {
		return Bearer{}, fail(NoMaterial, errors.New("no keys of bearer tokens: they come from the Workload API"))
	}
	hash, now := sha256.Sum256([]byte(token)), time.Now()
	bearer, ok := t.recall(hash, anchors)
	if !ok {
		if bearer, err = t.parse(token, anchors); err != nil {
			return Bearer{}, err
		}
	}
	// The library takes a token for a minute more.
	if !now.Before(bearer.NotAfter) {
		return Bearer{}, fail(Expired, errors.New("token has expired"))
	}
	if !ok {
		t.remember(hash, bearer, anchors, now)
	}
	return bearer, nil
}

// parse is where a stranger's text meets other people's code, so a panic is a
// refusal.
func (t *Tokens) parse(token string, anchors *Anchors) (bearer Bearer, err error) {
	defer func() {
		if recover() != nil {
			bearer, err = Bearer{}, fail(BadToken, errors.New("reading a token panicked"))
		}
	}()
	keys := &acceptedKeys{anchors: anchors}
	svid, err := jwtsvid.ParseAndValidate(token, keys, []string{t.audience})
	if err != nil {
		return Bearer{}, t.explain(err, keys)
	}
	identity, err := JWTIdentity(svid.ID)
	if err != nil {
		return Bearer{}, fail(BadToken, errors.New("subject of the token is no workload's SPIFFE ID"))
	}
	return Bearer{Identity: identity, NotAfter: svid.Expiry}, nil
}

// explain puts the library's error into words of our own: its words may quote
// claims, or any byte that was sent.
func (t *Tokens) explain(err error, keys *acceptedKeys) error {
	switch text := err.Error(); {
	case keys.refused != nil:
		return keys.refused
	case strings.Contains(text, "token has expired"):
		return fail(Expired, errors.New("token has expired"))
	case strings.Contains(text, "no JWT authority"):
		return fail(UnknownAuthority, errors.New("no key of its trust domain has the token's key ID"))
	case strings.Contains(text, "expected audience"):
		return fail(BadToken, fmt.Errorf("token is for another audience, not for %q", t.audience))
	default:
		return fail(BadToken, errors.New("token is malformed, not valid yet, or wrongly signed"))
	}
}

// acceptedKeys are the keys of accepted trust domains.
type acceptedKeys struct {
	anchors *Anchors
	refused error
}

// GetJWTBundleForTrustDomain implements jwtbundle.Source.
func (k *acceptedKeys) GetJWTBundleForTrustDomain(domain spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	if !k.anchors.accepts(domain) {
		k.refused = fail(UntrustedDomain, fmt.Errorf("trust domain %.255q is not accepted: SALLYPORT_TRUST_DOMAINS does not name it", domain.Name()))
		return nil, k.refused
	}
	found, err := k.anchors.tokens.GetJWTBundleForTrustDomain(domain)
	if err != nil {
		k.refused = fail(UnknownAuthority, fmt.Errorf("no keys of bearer tokens for trust domain %.255q", domain.Name()))
	}
	return found, err
}

func (t *Tokens) recall(hash [sha256.Size]byte, anchors *Anchors) (Bearer, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.anchors != anchors {
		t.anchors = anchors
		clear(t.known)
	}
	bearer, ok := t.known[hash]
	return bearer, ok
}

func (t *Tokens) remember(hash [sha256.Size]byte, bearer Bearer, anchors *Anchors, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.anchors != anchors {
		return
	}
	if len(t.known) >= maxTokens {
		for old, b := range t.known {
			if !now.Before(b.NotAfter) {
				delete(t.known, old)
			}
		}
	}
	if len(t.known) >= maxTokens {
		clear(t.known)
	}
	t.known[hash] = bearer
}
