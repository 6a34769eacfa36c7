package authn

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Scrape is the source of the scrape side where that has files of its own: a key
// pair, anchors for scrapers, or both. All else is the tunnel's.
type Scrape struct {
	*holder
	tunnel Source
	paths  filePaths
	reload reload

	// Only NewScrape and Run touch these.
	parts  scrapeParts
	base   *Material // of the tunnel, as last seen
	behind error     // why base is not in force
}

// scrapeParts are what the files say.
type scrapeParts struct {
	pair *tls.Certificate // nil: the tunnel's
	own  bundle           // empty: the tunnel's
}

// NewScrape validates the configuration and reads its files once. The tunnel's
// source need not have material yet.
func NewScrape(tunnel Source, cfg ScrapeConfig, log *slog.Logger) (*Scrape, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Scrape{
		holder: newHolder(nil),
		tunnel: tunnel,
		paths: filePaths{
			chain: filePath{"SALLYPORT_SCRAPE_TLS_CERT_FILE", cfg.CertFile},
			key:   filePath{"SALLYPORT_SCRAPE_TLS_KEY_FILE", cfg.KeyFile},
			ca:    filePath{"SALLYPORT_SCRAPE_TLS_CA_FILE", cfg.CAFile},
		},
		reload: reload{log: log},
	}
	set := s.paths.read()
	if set.err != nil {
		return nil, set.err
	}
	// The files first: the tunnel's own pair never was the scrape side's.
	if err := s.use(set); err != nil {
		return nil, err
	}
	if s.follow(); s.base != nil && s.behind != nil {
		return nil, s.behind
	}
	s.reload.good = set.sum
	s.reload.warn(set)
	s.settle()
	return s, nil
}

// Run follows the files and the tunnel's source until ctx is done. It does not
// run the latter.
func (s *Scrape) Run(ctx context.Context) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		changed := s.tunnel.Changed()
		s.follow()
		s.settle()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.reload.look(s.paths.read(), s.use)
		case <-changed:
		}
	}
}

// settle notes how the source is: its own files, and the tunnel's source where
// there is nothing of that yet.
func (s *Scrape) settle() {
	switch err := cmp.Or(s.reload.fault, s.behind); err {
	case nil:
		s.good()
	default:
		s.fault(err)
	}
}

// follow takes over what the tunnel's source has now. An expired certificate of
// the tunnel's is no reason to stop where the scrape side has its own.
func (s *Scrape) follow() {
	base, err := latest(s.tunnel)
	if err != nil {
		s.behind = err
		return
	}
	if base == s.base {
		return
	}
	s.base = base
	s.behind = s.compose(s.parts)
}

// latest is a source's material, of one of our own sources also where it has
// expired: its anchors go on.
func latest(source Source) (*Material, error) {
	if own, ok := source.(interface{ held() *Material }); ok {
		if held := own.held(); held != nil {
			return held, nil
		}
	}
	return source.Material()
}

// use takes over a set of files, whole or not at all.
func (s *Scrape) use(set fileSet) error {
	var parts scrapeParts
	var faults []error
	if s.paths.chain.path != "" {
		pair, err := set.pair()
		if err == nil {
			pair = keep(s.parts.pair, pair)
			if pair != s.parts.pair {
				err = ownExpiry(pair, time.Now())
			}
			if err = cmp.Or(err, checkOwn(pair, Server)); err != nil {
				err = fmt.Errorf("%s: %w", s.paths.chain.variable, err)
			}
		}
		parts.pair = pair
		faults = append(faults, err)
	}
	if s.paths.ca.path != "" {
		own, err := set.anchors()
		parts.own = own
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	if s.base != nil {
		if err := s.compose(parts); err != nil {
			return err
		}
		s.behind = nil
	}
	s.parts = parts
	return nil
}

// compose puts the parts over the tunnel's material.
func (s *Scrape) compose(parts scrapeParts) error {
	a, pair := *s.base.anchors, s.base.Certificate
	if parts.pair != nil {
		pair = parts.pair
	}
	if parts.own.certs != nil {
		a.own = parts.own
	}
	material, err := newMaterial(pair, Server, &a, s.held())
	if err != nil {
		return fmt.Errorf("scrape side: %w", err)
	}
	material.requirePQ = s.base.requirePQ
	s.set(material)
	return nil
}
