package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/pki"
)

const defaultCertFolder = "certs"

func initCommand(flags *flag.FlagSet) action {
	var opts pki.InitOptions
	dir := flags.String("dir", defaultCertFolder, "`folder` that will hold the authority")
	flags.StringVar(&opts.TrustDomain, "trust-domain", "example.org", "SPIFFE trust `domain` whose IDs it signs")
	flags.DurationVar(&opts.Lifetime, "lifetime", pki.DefaultCALifetime, "how long it is valid, a `duration` such as 720h")
	flags.BoolVar(&opts.Force, "force", false, "replace an authority that is there already, and with it all that it signed")
	keep := flags.Bool("keep", false, "leave an authority that is there already as it is: for scripts that run more than once")
	return func(_ context.Context, c call) error {
		if *keep && opts.Force {
			return usageError{errors.New("--keep and --force: want one of them")}
		}
		files, err := pki.Init(*dir, opts)
		if *keep && errors.Is(err, fs.ErrExist) {
			fmt.Fprintf(c.stdout, "There is an authority in %s already; it stays.\n", *dir)
			return nil
		}
		if err != nil {
			return explainPKI(err)
		}
		fmt.Fprintf(c.stdout, `The authority of trust domain %s, valid until %s:

  %s      trust anchor: the proxy, the agents and Prometheus each need it
  %s  its key: no daemon needs it, so it stays here

Next, a certificate for each of them:

%s`, opts.TrustDomain, day(files.NotAfter), files.Cert, files.Key, suggestions(*dir))
		return nil
	}
}

// suggestions are the certificates that a first try needs, as commands.
func suggestions(dir string) string {
	in := ""
	if dir != defaultCertFolder {
		in = " --dir " + dir
	}
	var text strings.Builder
	for _, args := range []string{
		"--role proxy --id /proxy --dns proxy.example.org",
		"--role agent --id /team-a/node",
		"--role scraper --id /prometheus",
	} {
		fmt.Fprintf(&text, "  sallyport pki issue%s %s\n", in, args)
	}
	return text.String()
}

func issueCommand(flags *flag.FlagSet) action {
	var (
		opts     pki.IssueOptions
		role, id string
	)
	dir := flags.String("dir", defaultCertFolder, "`folder` that holds the authority, and will hold the certificate")
	flags.StringVar(&role, "role", "", "what it is for: the `ROLE` of a proxy, an agent or a scraper")
	flags.StringVar(&id, "id", "", "SPIFFE `ID` such as spiffe://example.org/team-a/node, or its path alone, /team-a/node")
	flags.Func("dns", "DNS `name` under which a proxy is reached, or the identity where there is no --id; may be repeated", func(text string) error {
		opts.DNSNames = append(opts.DNSNames, text)
		return nil
	})
	flags.Func("ip", "IP `address` under which a proxy is reached; may be repeated", func(text string) error {
		ip := net.ParseIP(text)
		if ip == nil {
			return errors.New("no IP address")
		}
		opts.IPs = append(opts.IPs, ip)
		return nil
	})
	flags.DurationVar(&opts.Lifetime, "lifetime", 0, "how long it is valid, a `duration` such as 24h (default 24h, or as long as the authority is)")
	flags.StringVar(&opts.Name, "name", "", "write `NAME`.pem and NAME-key.pem (default after the identity)")
	flags.StringVar(&opts.Out, "out", "", "write into this `folder` instead, the trust anchors too: what the peer's machine needs and no more")
	flags.BoolVar(&opts.Force, "force", false, "replace a certificate of that name")
	return func(_ context.Context, c call) error {
		var err error
		if opts.Role, err = pki.ParseRole(role); err != nil {
			return usageError{errors.New("--role: want proxy, agent or scraper")}
		}
		if id == "" && len(opts.DNSNames) == 0 {
			return usageError{errors.New("want --id, or --dns where the name is the identity")}
		}
		if opts.SPIFFEID, err = wholeID(*dir, id); err != nil {
			return explainPKI(err)
		}
		files, err := pki.Issue(*dir, opts)
		if err != nil {
			return explainPKI(err)
		}
		describe(c.stdout, cmp.Or(opts.Out, *dir), opts, files)
		return nil
	}
}

// wholeID completes the path of an ID with the authority's trust domain.
func wholeID(dir, id string) (string, error) {
	if !strings.HasPrefix(id, "/") {
		return id, nil
	}
	ca, err := pki.Load(dir)
	if err != nil {
		return "", err
	}
	return "spiffe://" + ca.TrustDomain() + id, nil
}

// describe tells how the certificate is used.
func describe(w io.Writer, dir string, opts pki.IssueOptions, files *pki.Files) {
	name := opts.SPIFFEID
	if name == "" {
		name = opts.DNSNames[0]
	}
	anchors := filepath.Join(dir, pki.CACertFile)
	fmt.Fprintf(w, "%v %s, valid until %s. To use it:\n\n", opts.Role, name, day(files.NotAfter))
	if opts.Role == pki.Scraper {
		fmt.Fprintf(w, "  tls_config:\n    cert_file: %s\n    key_file: %s\n    ca_file: %s\n", files.Cert, files.Key, anchors)
		return
	}
	fmt.Fprintf(w, "  SALLYPORT_TLS_CERT_FILE=%s\n  SALLYPORT_TLS_KEY_FILE=%s\n  SALLYPORT_TLS_CA_FILE=%s\n", files.Cert, files.Key, anchors)
	if opts.Role == pki.Proxy && len(opts.DNSNames)+len(opts.IPs) == 0 {
		fmt.Fprint(w, `
Warning: it has no DNS name and no IP address, and Prometheus will refuse it under
whatever name. Issue it again with --force and --dns or --ip, unless the scrape
side has a certificate of its own.
`)
	}
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// explainPKI adds what the operator can do about it.
func explainPKI(err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w (--force replaces it)", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w (sallyport pki init makes one)", err)
	}
	return err
}
