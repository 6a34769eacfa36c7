package proxy

import (
	"errors"
	"fmt"
	"strings"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// statusError is a target's answer that came whole and is no 200.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("the target answered with status %d", int(e)) }

// endError is an End that is not COMPLETE.
type endError struct {
	code   tunnelv1.End_Code
	reason string
	hint   string // where that on the outcome is not the best
}

func (e *endError) Error() string { return e.reason }

// endOf is the error of an End that is not COMPLETE.
func (e *exchange) endOf(end *tunnelv1.End) error {
	if end.GetCode() == tunnelv1.End_CANCELLED && e.ctx.Err() != nil {
		return errHungUp
	}
	said := &endError{code: end.GetCode(), reason: oneLine(end.GetReason(), maxReason)}
	switch {
	case said.code == tunnelv1.End_TIMEOUT:
		var limit string
		limit, said.hint = e.terms.late()
		said.reason += limit
	case said.code == tunnelv1.End_TOO_LARGE && strings.Contains(said.reason, "proxy"):
		// The agent knows that the limit is ours, and not whose it is of us.
		var limit string
		limit, said.hint = e.terms.overBody()
		said.reason += ": " + limit
	}
	return said
}

// explain turns what ended a scrape before its head into an answer.
func (e *exchange) explain(err error) *failure {
	var end *endError
	switch {
	case errors.Is(err, errHungUp):
		return &failure{outcome: Cancelled, text: "the scraper hung up", cause: err}
	case errors.Is(err, errLapsed):
		return &failure{outcome: Cancelled, text: errLapsed.Error(), cause: err}
	case errors.Is(err, errRevoked):
		return &failure{outcome: NotFound, text: errNotFound().text, cause: err}
	case errors.Is(err, errDeadline):
		return &failure{outcome: AgentTimeout, text: "the agent did not answer in time"}
	case errors.As(err, &end):
		outcome, ok := endOutcomes[end.code]
		if !ok {
			return &failure{outcome: AgentGone, text: "the agent dropped the scrape", cause: err}
		}
		text := words[outcome]
		if end.reason != "" {
			text += ": " + end.reason
		}
		return &failure{outcome: outcome, text: text, hint: end.hint}
	}
	return &failure{outcome: AgentGone, text: "the agent's session broke", cause: err}
}

// words begins the line of a failure that the agent reported.
var words = map[Outcome]string{
	BadRequest:        "the target does not take this query",
	AgentGone:         "the agent no longer has this route",
	TargetUnreachable: "the target is unreachable",
	TargetRejected:    "the agent refuses the target",
	TooLarge:          "the body is too large",
	TargetTimeout:     "the target did not answer in time",
	Busy:              "the agent is busy",
}

// oneLine makes one line of at most that many bytes of what a peer says.
func oneLine(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// maxReason bounds what a peer may say of a failure, in bytes.
const maxReason = 200
