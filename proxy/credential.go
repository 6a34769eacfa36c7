package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/seed-951114d4/sallyport/authn"
)

var (
	// errLapsed ends a scrape whose scraper's credential is no longer good.
	errLapsed = errors.New("the scraper's credential is no longer good")
	// errNoCredential means that the scraper showed nothing.
	errNoCredential = errors.New("no credential")
)

// credential is what a scraper has proved itself with.
type credential struct {
	identity authn.Identity
	// notAfter is when that ends; zero: never.
	notAfter time.Time
	// fading: it ends so soon that the scraper will have another one already.
	fading bool
}

// identify judges what a scraper shows, as it is now. A certificate is the
// identity, whatever token comes with it: a token does not mend a certificate that
// is no longer good. Where no credential is asked for, the scraper is anonymous.
func (s scrapes) identify(ctx context.Context, token string) (credential, error) {
	if peer, ok := authn.PeerFromContext(ctx); ok {
		left := time.Until(peer.NotAfter)
		life := peer.NotAfter.Sub(peer.Chain[0].NotBefore)
		return credential{identity: peer.Identity, notAfter: peer.NotAfter, fading: left < min(life/3, s.cfg.MaxScrapeTimeout)}, nil
	}
	if err := authn.Lapsed(ctx); err != nil {
		return credential{}, fmt.Errorf("%w: %w", errLapsed, err)
	}
	switch {
	case s.cfg.ClientAuth == ClientAuthNone:
		return credential{identity: authn.AnonymousIdentity()}, nil
	case token == "":
		return credential{}, errNoCredential
	}
	bearer, err := s.tokens.Validate(token)
	if err != nil {
		return credential{}, err
	}
	return credential{identity: bearer.Identity, notAfter: bearer.NotAfter}, nil
}

// tokenOf is the token that stands in for a certificate: "" where none does. It
// goes to nobody but its judge.
func (s scrapes) tokenOf(r *http.Request) string {
	if s.cfg.ClientAuth != ClientAuthOptional || s.tokens == nil {
		return ""
	}
	lines := r.Header["Authorization"]
	if len(lines) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(lines[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.Trim(token, " ")
}

// turnAway answers a scraper that has not proved who it is.
func (s scrapes) turnAway(w http.ResponseWriter, r *http.Request, err error) Outcome {
	if errors.Is(err, errLapsed) {
		// Who uses a connection again tries once more over a new one, with the
		// certificate it has by then: this is not the end of its scrape.
		s.noticeLapse(r, err)
		panic(http.ErrAbortHandler)
	}
	// Whoever asks again and again would else hold a connection, and any number of them,
	// without ever having proved anything.
	w.Header().Set("Connection", "close")
	text := "a client certificate is needed"
	if s.cfg.ClientAuth == ClientAuthOptional {
		w.Header().Set("WWW-Authenticate", "Bearer")
		text = "a client certificate or a bearer token is needed"
	}
	if errors.Is(err, errNoCredential) {
		if s.strangerNotice.now() {
			s.log.Warn("scraper without a credential", "remote", r.RemoteAddr, "outcome", string(Unauthenticated),
				"hint", "give the scrape job cert_file and key_file in its tls_config, or a bearer token")
		}
	} else {
		s.metrics.tokensRefused.WithLabelValues(string(authn.ReasonOf(err))).Inc()
		text = "the bearer token is not valid"
		if s.tokenNotice.now() {
			s.log.Warn("bearer token refused", "remote", r.RemoteAddr, "outcome", string(Unauthenticated), "reason", string(authn.ReasonOf(err)), "error", err,
				"hint", "its audience must be SALLYPORT_SCRAPE_URL, its issuer a trusted one, and its time not over")
		}
	}
	return s.fail(w, r, &failure{outcome: Unauthenticated, text: text, cause: err})
}

// noticeLapse tells of a connection that ends with its scraper's credential.
func (s scrapes) noticeLapse(r *http.Request, err error) {
	reason := authn.Expired // in the middle of a scrape
	var lapsed *authn.Error
	if errors.As(err, &lapsed) {
		reason = lapsed.Reason
	}
	s.metrics.connectionsEnded.WithLabelValues(string(reason)).Inc()
	s.log.Info("connection of a scraper ended", "remote", r.RemoteAddr, "reason", string(reason), "error", err)
}
