package authz

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
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
