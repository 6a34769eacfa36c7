package proxy

import (
	"net/http"
	"slices"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// Outcome is how a scrape ended: the header Sallyport-Outcome and the label of
// sallyport_proxy_scrapes_total carry the same word.
type Outcome string

// Every way in which a scrape can end.
const (
	OK                Outcome = "ok"
	TargetStatus      Outcome = "target_status"
	BadRequest        Outcome = "bad_request"
	Unauthenticated   Outcome = "unauthenticated"
	NotFound          Outcome = "not_found"
	Method            Outcome = "method"
	TargetUnreachable Outcome = "target_unreachable"
	TargetRejected    Outcome = "target_rejected"
	TooLarge          Outcome = "too_large"
	AgentGone         Outcome = "agent_gone"
	Busy              Outcome = "busy"
	Draining          Outcome = "draining"
	TargetTimeout     Outcome = "target_timeout"
	AgentTimeout      Outcome = "agent_timeout"
	Truncated         Outcome = "truncated"
	// Cancelled is the scraper's doing, or its credential ended: nobody sees a status.
	Cancelled Outcome = "cancelled"
)

// OutcomeInfo documents one outcome. Status 0: the target's own code, or none.
type OutcomeInfo struct {
	Outcome Outcome
	Status  int
	When    string
}

// Outcomes lists every outcome with its HTTP status, for the answer and for the
// documentation alike.
func Outcomes() []OutcomeInfo {
	return []OutcomeInfo{
		{OK, http.StatusOK, "the target's answer, whole"},
		{TargetStatus, 0, "the target answered with another code than 200: its code and body, whole"},
		{BadRequest, http.StatusBadRequest, "a query parameter that the target does not allow, a malformed query or timeout header, a body, HTTP/1.0"},
		{Unauthenticated, http.StatusUnauthorized, "no credential where one is needed"},
		{NotFound, http.StatusNotFound, "no such route, or the policy refuses this scraper: the same answer byte for byte"},
		{Method, http.StatusMethodNotAllowed, "anything but GET"},
		{TargetUnreachable, http.StatusBadGateway, "the agent got no connection to the target, or it broke before the head"},
		{TargetRejected, http.StatusBadGateway, "the target has a bad certificate, redirects, or sends what is no metrics"},
		{TooLarge, http.StatusBadGateway, "the body says that it is over the limit, or its first 31 KiB are"},
		{AgentGone, http.StatusServiceUnavailable, "no session of the route's agent is connected"},
		{Busy, http.StatusServiceUnavailable, "no lane came free in time, the agent opens none, or too many scrapes wait for one"},
		{Draining, http.StatusServiceUnavailable, "the proxy is stopping"},
		{TargetTimeout, http.StatusGatewayTimeout, "the target did not answer in time"},
		{AgentTimeout, http.StatusGatewayTimeout, "the agent did not answer in time"},
		{Truncated, 0, "the target or the tunnel failed after the head, or the body outgrew the limit: the connection breaks, never a clean end"},
		{Cancelled, 0, "the scraper hung up, stopped reading, or its credential ended meanwhile: the connection breaks"},
	}
}

// statuses maps an outcome to its HTTP status: the one table of that kind.
var statuses = func() map[Outcome]int {
	m := make(map[Outcome]int)
	for _, info := range slices.Concat(Outcomes(), DiscoveryOutcomes()) {
		m[info.Outcome] = info.Status
	}
	return m
}()

// failure is a scrape that ended before its head was sent. text goes to the
// scraper; cause and hint, where there are any, go to the log only.
type failure struct {
	outcome Outcome
	text    string
	cause   error
	hint    string // where that on the outcome is not the best
}

func (f *failure) Error() string {
	if f.cause != nil {
		return f.text + ": " + f.cause.Error()
	}
	return f.text
}

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.cause }

// write answers with one line of text. A scraper that is refused gets the very
// bytes of a scraper that asks for what does not exist.
func (f *failure) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Sallyport-Outcome", string(f.outcome))
	if f.outcome == Method {
		h.Set("Allow", http.MethodGet)
	}
	w.WriteHeader(statuses[f.outcome])
	_, _ = w.Write([]byte(f.text + "\n"))
}

// endOutcomes maps an agent's End before a head to an outcome: the one table of
// that kind. A code that is missing here breaks the contract.
var endOutcomes = map[tunnelv1.End_Code]Outcome{
	tunnelv1.End_BAD_REQUEST: BadRequest,
	tunnelv1.End_NOT_FOUND:   AgentGone,
	tunnelv1.End_UNREACHABLE: TargetUnreachable,
	tunnelv1.End_REJECTED:    TargetRejected,
	tunnelv1.End_TOO_LARGE:   TooLarge,
	tunnelv1.End_TIMEOUT:     TargetTimeout,
	tunnelv1.End_BROKEN:      TargetUnreachable,
	tunnelv1.End_BUSY:        Busy,
}
