package authn

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxFile is far above any chain or bundle: it keeps a mistaken path from being
// read into memory.
const maxFile = 4 << 20

// readFile reads a whole regular file and tells its permissions. They are those
// of the file that was opened, also when a link is moved meanwhile.
func readFile(path string, limit int64) ([]byte, os.FileMode, error) {
	// A pipe would block the open.
	if info, err := os.Stat(path); err != nil {
		return nil, 0, err
	} else if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, 0, err
	}
	if int64(len(text)) > limit {
		return nil, 0, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return text, info.Mode().Perm(), nil
}

// parseCertificates reads all certificates of a PEM text, in order. Other blocks
// are passed over. No error quotes what was read.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parsing certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	// A block that is cut short is no block to pem.Decode.
	if bytes.Contains(text, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil, fmt.Errorf("certificate %d is cut short", len(certs)+1)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return certs, nil
}

// parseAnchors reads trust anchors: every one must be an authority's.
func parseAnchors(text []byte) ([]*x509.Certificate, error) {
	certs, err := parseCertificates(text)
	if err != nil {
		return nil, err
	}
	for i, cert := range certs {
		if !cert.BasicConstraintsValid || !cert.IsCA {
			return nil, fmt.Errorf("certificate %d is no authority's", i+1)
		}
	}
	return certs, nil
}

// parsePair reads our own chain and key.
func parsePair(chain, key []byte) (*tls.Certificate, error) {
	certs, err := parseCertificates(chain)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, err
	}
	pair.Leaf = certs[0]
	return &pair, nil
}
