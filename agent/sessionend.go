package agent

import (
	"context"
	"errors"
	"strings"

	"github.com/seed-951114d4/sallyport/authn"
	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// Why a session ended, where the proxy did not say it in its goodbye.
const (
	endDrained     = "drained"           // we wanted it to
	endBroken      = "broken"            // the connection, or the proxy without a word
	endProtocol    = "protocol"          // the proxy broke the contract
	endNoAnswer    = "no_answer"         // to a registration
	endCertificate = "proxy_certificate" // the proxy's proof is no longer good
)

// endReason is the metric's word for how a session ended.
func endReason(err error) string {
	var bye *goodbye
	var protocol protocolFault
	var lapsed *authn.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled): // or cut, where draining took too long
		return endDrained
	case errors.As(err, &bye):
		return goodbyeWord(bye.code)
	case errors.As(err, &protocol):
		return endProtocol
	case errors.Is(err, errNoAnswer):
		return endNoAnswer
	case errors.As(err, &lapsed):
		return endCertificate
	}
	return endBroken
}

// goodbyeWord is a code's own name, of those that we know.
func goodbyeWord(code tunnelv1.Goodbye_Code) string {
	if _, known := tunnelv1.Goodbye_Code_name[int32(code)]; !known || code == tunnelv1.Goodbye_CODE_UNSPECIFIED {
		return endProtocol
	}
	return strings.ToLower(code.String())
}

// endReasons are all that endReason can say.
func endReasons() []string {
	reasons := []string{endDrained, endBroken, endProtocol, endNoAnswer, endCertificate}
	for code := range tunnelv1.Goodbye_Code_name {
		if code != int32(tunnelv1.Goodbye_CODE_UNSPECIFIED) {
			reasons = append(reasons, goodbyeWord(tunnelv1.Goodbye_Code(code)))
		}
	}
	return reasons
}
