package proxy

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// DecisionCount is how many decisions on an action the policies of this process made.
type DecisionCount struct {
	Action string `json:"action"`
	Allow  uint64 `json:"allow"`
	Deny   uint64 `json:"deny"`
	Fault  uint64 `json:"fault"`
}

// Decisions counts the decisions by action, as sallyport_proxy_decisions_total does.
func (p *Proxy) Decisions() []DecisionCount {
	counts := make([]DecisionCount, 0, len(p.metrics.deciding))
	for action, of := range p.metrics.deciding {
		counts = append(counts, DecisionCount{Action: action, Allow: counted(of.allowed), Deny: counted(of.denied), Fault: counted(of.faulty)})
	}
	slices.SortFunc(counts, func(a, b DecisionCount) int { return cmp.Compare(a.Action, b.Action) })
	return counts
}

// counted is a counter's value; one that cannot be read has none.
func counted(counter prometheus.Counter) uint64 {
	var m dto.Metric
	if counter.Write(&m) != nil {
		return 0
	}
	return uint64(m.GetCounter().GetValue())
}
