package workload

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// JWTAuthority signs the tokens of a trust domain with one key, as a SPIRE server
// does until it rotates.
type JWTAuthority struct {
	domain spiffeid.TrustDomain
	keyID  string
	key    *ecdsa.PrivateKey
}

// NewJWTAuthority makes an authority with a new key.
func NewJWTAuthority(domain string) (*JWTAuthority, error) {
	td, err := spiffeid.TrustDomainFromString(domain)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return &JWTAuthority{domain: td, keyID: rand.Text(), key: key}, nil
}

// Token is a JWT-SVID to be minted. Nothing of it is checked.
type Token struct {
	ID       string
	Audience []string
	// NotAfter is five minutes from now where it is zero.
	NotAfter time.Time
	// Header and Claims replace or add members; a nil value takes one out.
	Header, Claims map[string]any
}

// KeyID is what the header of a token names the key by.
func (a *JWTAuthority) KeyID() string { return a.keyID }

// Mint signs a token with ES256, whatever its header says.
func (a *JWTAuthority) Mint(token Token) (string, error) {
	if token.NotAfter.IsZero() {
		token.NotAfter = time.Now().Add(5 * time.Minute)
	}
	header := map[string]any{"alg": "ES256", "typ": "JWT", "kid": a.keyID}
	claims := map[string]any{"sub": token.ID, "aud": token.Audience, "exp": token.NotAfter.Unix(), "iat": time.Now().Unix()}
	head, err := member(header, token.Header)
	if err != nil {
		return "", err
	}
	body, err := member(claims, token.Claims)
	if err != nil {
		return "", err
	}
	signed := head + "." + body
	hash := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, a.key, hash[:])
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func member(members, changes map[string]any) (string, error) {
	maps.Copy(members, changes)
	maps.DeleteFunc(members, func(_ string, value any) bool { return value == nil })
	text, err := json.Marshal(members)
	if err != nil {
		return "", fmt.Errorf("encoding a token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(text), nil
}

func encodeJWT(authorities []*JWTAuthority) (*api.JWTBundlesResponse, error) {
	keys := make(map[spiffeid.TrustDomain]map[string]crypto.PublicKey)
	for _, a := range authorities {
		if keys[a.domain] == nil {
			keys[a.domain] = make(map[string]crypto.PublicKey)
		}
		keys[a.domain][a.keyID] = a.key.Public()
	}
	answer := &api.JWTBundlesResponse{Bundles: make(map[string][]byte)}
	for domain, found := range keys {
		text, err := jwtbundle.FromJWTAuthorities(domain, found).Marshal()
		if err != nil {
			return nil, fmt.Errorf("encoding keys of %s: %w", domain, err)
		}
		answer.Bundles[domain.IDString()] = text
	}
	return answer, nil
}
