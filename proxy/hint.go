package proxy

import "errors"

// hints tell an operator what to do about scrapes that end otherwise than well. They are
// the log's only: a scraper has no use for them, and learns nothing by them.
var hints = map[Outcome]string{
	TargetStatus:      "the target answers, but not with its metrics: see its URL in the agent's targets, and its own log",
	BadRequest:        "list the parameter in the params of the target, or take it out of the scrape job",
	TargetUnreachable: "is the target running, and is its URL in the agent's targets right? The agent's log has the cause",
	TargetRejected:    "see the target's certificate, and whether its URL leads to metrics",
	TooLarge:          "raise the limit that is named, or have the target export less",
	AgentGone:         "see that the agent runs and reaches the tunnel: its log says why it does not; it comes back by itself",
	Busy:              "see the agent's log, raise its SALLYPORT_MAX_CONCURRENT_SCRAPES, or scrape less at once",
	TargetTimeout:     "see why the target is slow, or raise the scrape_timeout of the job",
	AgentTimeout:      "see the agent's log and the network to it: its machine is overloaded, or cut off",
	Truncated:         "the agent's log says how the target's answer broke off, or which limit it outgrew",
}

// hintOn is what to do about that failure.
func hintOn(outcome Outcome, err error) string {
	var f *failure
	var end *endError
	switch {
	case errors.As(err, &f) && f.hint != "":
		return f.hint
	case errors.As(err, &end) && end.hint != "":
		return end.hint
	}
	return hints[outcome]
}
