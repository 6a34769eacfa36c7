package workload

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// service is the gRPC face. What it does not implement answers Unimplemented.
type service struct {
	api.UnimplementedSpiffeWorkloadAPIServer
	server *Server
}

func (s service) FetchX509SVID(_ *api.X509SVIDRequest, stream grpc.ServerStreamingServer[api.X509SVIDResponse]) error {
	return s.server.stream(stream.Context(), func() error { return stream.Send(s.server.current().svids) })
}

func (s service) FetchX509Bundles(_ *api.X509BundlesRequest, stream grpc.ServerStreamingServer[api.X509BundlesResponse]) error {
	return s.server.stream(stream.Context(), func() error { return stream.Send(s.server.current().bundles) })
}

func (s service) FetchJWTBundles(_ *api.JWTBundlesRequest, stream grpc.ServerStreamingServer[api.JWTBundlesResponse]) error {
	return s.server.stream(stream.Context(), func() error { return stream.Send(s.server.current().tokens) })
}

// moment is what a stream sees of the server.
type moment struct {
	svids   *api.X509SVIDResponse
	bundles *api.X509BundlesResponse
	tokens  *api.JWTBundlesResponse
	version int
	refusal error
	stalled bool
	cut     int
	cutWith error
	changed <-chan struct{}
}

func (s *Server) current() moment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return moment{s.svids, s.bundles, s.tokens, s.version, s.refusal, s.stalled, s.cut, s.cutWith, s.changed}
}

// stream sends every version of the state until the client leaves or is cut off.
func (s *Server) stream(ctx context.Context, send func() error) error {
	// As the specification demands: it keeps a confused HTTP client from being
	// made to ask for keys.
	if header := metadata.ValueFromIncomingContext(ctx, "workload.spiffe.io"); !slices.Equal(header, []string{"true"}) {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	var begun int
	s.update(func() {
		s.opened++
		begun = s.cut
	})
	for sent := 0; ; {
		now := s.current()
		switch {
		case now.refusal != nil:
			return now.refusal
		case now.cut != begun:
			return now.cutWith
		case now.stalled:
		case now.version == 0:
			return status.Error(codes.PermissionDenied, "no identity issued")
		case now.version != sent:
			if err := send(); err != nil {
				return err
			}
			sent = now.version
		}
		select {
		case <-now.changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func encode(state State) (*api.X509SVIDResponse, *api.X509BundlesResponse, error) {
	svids := &api.X509SVIDResponse{FederatedBundles: make(map[string][]byte)}
	bundles := &api.X509BundlesResponse{Bundles: make(map[string][]byte)}
	for domain, certs := range state.Bundles {
		bundles.Bundles["spiffe://"+domain] = concat(certs)
		svids.FederatedBundles["spiffe://"+domain] = concat(certs)
	}
	for i, svid := range state.SVIDs {
		leaf, err := x509.ParseCertificate(svid.Certificate[0])
		if err != nil {
			return nil, nil, fmt.Errorf("parsing SVID %d: %w", i, err)
		}
		id, err := x509svid.IDFromCert(leaf)
		if err != nil {
			return nil, nil, fmt.Errorf("reading SVID %d: %w", i, err)
		}
		key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
		if err != nil {
			return nil, nil, fmt.Errorf("encoding key of SVID %d: %w", i, err)
		}
		domain := id.TrustDomain().Name()
		svids.Svids = append(svids.Svids, &api.X509SVID{
			SpiffeId:    id.String(),
			X509Svid:    slices.Concat(svid.Certificate...),
			X509SvidKey: key,
			Bundle:      concat(state.Bundles[domain]),
		})
		delete(svids.FederatedBundles, "spiffe://"+domain)
	}
	return svids, bundles, nil
}

func concat(certs []*x509.Certificate) []byte {
	var der []byte
	for _, cert := range certs {
		der = append(der, cert.Raw...)
	}
	return der
}
