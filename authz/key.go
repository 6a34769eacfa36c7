package authz

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
)

const (
	maxKeyFileBytes = 64 << 10
	minRSABits      = 2048
)

// Key is a public key with which bundles must be signed.
type Key struct {
	pem        string
	algorithms []string // of JWS, that fit the key; the bundle chooses among them
}

// LoadKey reads a public key from a PEM file. See [ParseKey].
func LoadKey(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFileBytes {
		return nil, fmt.Errorf("%s: larger than %d KiB: is this a key?", path, maxKeyFileBytes>>10)
	}
	key, err := ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ParseKey reads the one public key in PEM: RSA of at least 2048 bits, ECDSA on
// P-256, P-384 or P-521, or Ed25519. It refuses private keys, which have no business
// beside the proxy, and shared secrets, with which the proxy could sign.
func ParseKey(text []byte) (*Key, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("no public key in PEM")
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return nil, errors.New("this is a private key: give the proxy the public one only")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("more than one public key in PEM")
	}
	public, err := publicKey(block)
	if err != nil {
		return nil, err
	}
	algorithms, err := algorithmsOf(public)
	if err != nil {
		return nil, err
	}
	return &Key{pem: string(pem.EncodeToMemory(block)), algorithms: algorithms}, nil
}

func publicKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	}
	return nil, fmt.Errorf("the PEM block is a %q, not a PUBLIC KEY", block.Type)
}

func algorithmsOf(public any) ([]string, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("the RSA key has %d bits, and needs %d", key.N.BitLen(), minRSABits)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
		return nil, fmt.Errorf("the curve %s is of no use here", key.Params().Name)
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, fmt.Errorf("a public key of type %T is of no use here", public)
}

// algorithm is the one that the signature says it is made with, if it fits the key.
// What is read here is not verified yet; OPA does that to the same bytes.
func (k *Key) algorithm(content []byte) (string, error) {
	var config bundle.SignaturesConfig
	if err := checkJSONKeys(content); err != nil {
		return "", err
	}
	if err := json.Unmarshal(content, &config); err != nil {
		return "", err
	}
	// OPA writes the name of the plugin that is no plugin.
	if len(config.Signatures) != 1 || config.Plugin != "" && config.Plugin != "_default" {
		return "", errors.New("exactly one signature, and no plugin, is wanted")
	}
	parts := strings.Split(config.Signatures[0], ".")
	if len(parts) != 3 {
		return "", errors.New("not a signature in the compact form of JWS")
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var payload bundle.DecodedSignature
	if err := errors.Join(decodePart(parts[0], &header), decodePart(parts[1], &payload)); err != nil {
		return "", err
	}
	for _, f := range payload.Files {
		switch bundle.HashingAlgorithm(f.Algorithm) {
		case bundle.MD5, bundle.SHA1:
			return "", fmt.Errorf("%s is hashed with %s, which does not bind its content any more", f.Name, f.Algorithm)
		}
	}
	if !slices.Contains(k.algorithms, header.Algorithm) {
		return "", fmt.Errorf("signed with %q, and the key is for %s", header.Algorithm, strings.Join(k.algorithms, ", "))
	}
	return header.Algorithm, nil
}

func decodePart(encoded string, value any) error {
	decoded, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return err
	}
	return json.Unmarshal(decoded, value)
}
