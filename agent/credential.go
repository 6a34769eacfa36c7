package agent

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const maxSecretBytes = 64 << 10

// credential makes the Authorization header that a target asks for. The zero
// value makes none.
type credential struct {
	username string
	field    string // of the target
	file     string
	basic    bool
}

func newCredential(t *Target) credential {
	switch {
	case t.BasicAuth != nil:
		return credential{username: t.BasicAuth.Username, field: "basic_auth: password_file", file: t.BasicAuth.PasswordFile, basic: true}
	case t.Authorization != nil:
		return credential{field: "authorization: credentials_file", file: t.Authorization.CredentialsFile}
	}
	return credential{}
}

// header reads the secret anew, so that a rotated one is used at the next scrape,
// as Prometheus does. It is "" where the target asks for nothing. Errors name the
// field and the file, never what is in it.
func (c credential) header() (string, error) {
	if c.file == "" {
		return "", nil
	}
	secret, err := readSecret(c.file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.field, err)
	}
	if c.basic {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.username+":"+secret)), nil
	}
	if !graphic(secret) {
		return "", fmt.Errorf("%s: %s: has characters that no token has", c.field, c.file)
	}
	return "Bearer " + secret, nil
}

func readSecret(name string) (string, error) {
	text, err := readRegular(name, maxSecretBytes)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("%s: is empty", name)
	}
	return secret, nil
}

// readRegular reads a file of at most max bytes. It opens nothing that could
// block, such as a pipe.
func readRegular(name string, max int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > max {
		return nil, fmt.Errorf("%s: is larger than %d bytes", name, max)
	}
	return text, nil
}

var errReadableByOthers = errors.New("is readable by others: chmod o= it")

// refuseOpenKey refuses a private key that any user of the machine can read.
func refuseOpenKey(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("%s: %w", name, errReadableByOthers)
	}
	return nil
}
