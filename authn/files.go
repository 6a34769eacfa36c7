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
	crls   *crlFiles
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
	set := paths.read()
	crls, err := newCRLFiles(cfg.CRLFiles, log)
	if err := errors.Join(set.err, err); err != nil {
		return nil, err
	}
	f := &Files{holder: newHolder(nil), cfg: cfg, role: role, paths: paths, crls: crls, reload: reload{log: log}}
	if err := f.use(set); err != nil {
		return nil, err
	}
	f.reload.good = set.sum
	f.reload.warn(set)
	f.warnUnused(log)
	f.crls.warn(time.Now())
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
			f.look()
		}
	}
}

func (f *Files) look() {
	changed := f.crls.look()
	before := f.held()
	f.reload.look(f.paths.read(), f.use)
	if f.held() == before && changed {
		next, a := *before, *before.anchors
		a.crls, next.anchors = f.crls.current(), &a
		f.replace(&next)
	}
	if f.reload.fault != nil {
		f.fault(f.reload.fault)
	} else {
		f.good()
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
	held := f.held()
	pair = keep(held.certificate(), pair)
	domain, err := ownDomain(pair.Leaf, f.cfg.TrustDomains, foreign)
	if err != nil {
		return err
	}
	a := &Anchors{
		domain: domain, own: own, foreign: foreign,
		accepted: acceptedDomains(f.cfg.TrustDomains, domain), allowDemo: f.cfg.AllowDemoCA,
		crls: f.crls.current(),
	}
	if _, ok := foreign[domain]; ok {
		return fmt.Errorf("SALLYPORT_FEDERATED_CA_FILES: %s is our own trust domain: its anchors belong into SALLYPORT_TLS_CA_FILE", domain)
	}
	for _, accepted := range a.accepted {
		if len(a.of(accepted).certs) == 0 {
			return fmt.Errorf("SALLYPORT_TRUST_DOMAINS: %s has no anchors: give it a file in SALLYPORT_FEDERATED_CA_FILES", accepted)
		}
	}
	material, err := newMaterial(pair, f.role, a, held)
	if err != nil {
		return fmt.Errorf("%s: %w", f.paths.chain.variable, err)
	}
	material.requirePQ = f.cfg.RequirePQ
	f.set(material)
	return nil
}

// warnUnused names anchors that do nothing, and those that no CRL goes with. They
// may stand there on purpose, for a time, so they are no error.
func (f *Files) warnUnused(log *slog.Logger) {
	for _, file := range f.paths.federated {
		if !f.held().anchors.accepts(file.domain) {
			log.Warn("trust domain has anchors but is not accepted: SALLYPORT_TRUST_DOMAINS does not name it", "trust_domain", file.domain.Name())
		}
	}
	a := f.held().anchors
	for _, domain := range a.accepted {
		for _, name := range a.crls.unlisted(a.of(domain)) {
			log.Warn("authority has no CRL: what it issued cannot be revoked", "authority", name, "trust_domain", domain.Name())
		}
	}
}
