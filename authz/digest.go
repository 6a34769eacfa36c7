package authz

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Digest is the SHA-256 of the input document as compact JSON with sorted keys, in
// lower-case hex: what "jq -cjS . | sha256sum" says of it. Now must be set, or it is
// of an input that nobody decided on.
func (in RegisterInput) Digest() string { return digest(in.document()) }

// Digest is that of the document. See [RegisterInput.Digest].
func (in ScrapeInput) Digest() string { return digest(in.document()) }

// Digest is that of the document. See [RegisterInput.Digest].
func (in AdminInput) Digest() string { return digest(in.document()) }

// Digest is that of the document. See [RegisterInput.Digest].
func (in SessionInput) Digest() string { return digest(in.document()) }

func digest(document ast.Value) string {
	value, err := ast.JSON(document)
	if err != nil {
		return ""
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return ""
	}
	sum := sha256.Sum256(bytes.TrimSuffix(out.Bytes(), []byte("\n")))
	return hex.EncodeToString(sum[:])
}
