package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// pollInterval: polling sees what file notification misses, such as the symlink
// that Kubernetes swaps under a ConfigMap, and costs a few reads of small files.
const pollInterval = time.Second

// Files is the source of files mode.
type Files struct {
	*holder
	cfg    Config
	role   Role
	paths  filePaths
	reload reload
}

// NewFiles validates the configuration and reads the files once. Any fault is an
// error; later ones leave the last good material in force.
func NewFiles(cfg Config, role Role, log *slog.Logger) (*Files, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Socket != "" {
		return nil, errors.New("SPIFFE_ENDPOINT_SOCKET: is set, but this is files mode")
	}
	paths := filePaths{
		chain: filePath{"SALLYPORT_TLS_CERT_FILE", cfg.CertFile},
		key:   filePath{"SALLYPORT_TLS_KEY_FILE", cfg.KeyFile},
		ca:    filePath{"SALLYPORT_TLS_CA_FILE", cfg.CAFile},
	}
	for _, f := range cfg.FederatedCAFiles {
		paths.federated = append(paths.federated, federatedPath{filePath{"SALLYPORT_FEDERATED_CA_FILES", f.File}, f.TrustDomain})
	}
	f := &Files{holder: newHolder(nil), cfg: cfg, role: role, paths: paths, reload: reload{log: log}}
	set := paths.read()
	if set.err != nil {
		return nil, set.err
	}
	if err := f.use(set); err != nil {
		return nil, err
	}
	f.reload.good = set.sum
	f.reload.warn(set)
	f.warnUnused(log)
	return f, nil
}

// Run looks at the files every second until ctx is done.
func (f *Files) Run(ctx context.Context) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			f.reload.look(f.paths.read(), f.use)
		}
	}
}

// use puts a whole set in force, or nothing of it.
func (f *Files) use(set fileSet) error {
	pair, pairErr := set.pair()
	own, ownErr := set.anchors()
	foreign, foreignErr := set.foreign()
	if err := errors.Join(pairErr, ownErr, foreignErr); err != nil {
		return err
	}
	domain, err := ownDomain(pair.Leaf, f.cfg.TrustDomains, foreign)
	if err != nil {
		return err
	}
	a := &anchors{
		domain: domain, own: own, foreign: foreign,
		accepted: acceptedDomains(f.cfg.TrustDomains, domain), allowDemo: f.cfg.AllowDemoCA,
	}
	if _, ok := foreign[domain]; ok {
		return fmt.Errorf("SALLYPORT_FEDERATED_CA_FILES: %s is our own trust domain: its anchors belong into SALLYPORT_TLS_CA_FILE", domain)
	}
	for _, accepted := range a.accepted {
		if len(a.of(accepted).certs) == 0 {
			return fmt.Errorf("SALLYPORT_TRUST_DOMAINS: %s has no anchors: give it a file in SALLYPORT_FEDERATED_CA_FILES", accepted)
		}
	}
	material, err := newMaterial(pair, f.role, a, time.Now())
	if err != nil {
		return fmt.Errorf("%s: %w", f.paths.chain.variable, err)
	}
	f.set(material)
	return nil
}

// warnUnused names anchors that do nothing. They may stand there on purpose, for
// a time, so they are no error.
func (f *Files) warnUnused(log *slog.Logger) {
	for _, file := range f.paths.federated {
		if !f.held().anchors.accepts(file.domain) {
			log.Warn("trust domain has anchors but is not accepted: SALLYPORT_TRUST_DOMAINS does not name it", "trust_domain", file.domain.Name())
		}
	}
}
