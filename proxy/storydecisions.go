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
	metrics := make(chan prometheus.Metric)
	go func() {
		p.metrics.decisions.Collect(metrics)
		close(metrics)
	}()
	byAction := make(map[string]*DecisionCount)
	for metric := range metrics {
		var m dto.Metric
		if metric.Write(&m) != nil {
			continue
		}
		labels := make(map[string]string)
		for _, pair := range m.GetLabel() {
			labels[pair.GetName()] = pair.GetValue()
		}
		count, ok := byAction[labels["action"]]
		if !ok {
			count = &DecisionCount{Action: labels["action"]}
			byAction[count.Action] = count
		}
		n := uint64(m.GetCounter().GetValue())
		switch labels["result"] {
		case "allow":
			count.Allow = n
		case "deny":
			count.Deny = n
		case "fault":
			count.Fault = n
		}
	}
	counts := make([]DecisionCount, 0, len(byAction))
	for _, count := range byAction {
		counts = append(counts, *count)
	}
	slices.SortFunc(counts, func(a, b DecisionCount) int { return cmp.Compare(a.Action, b.Action) })
	return counts
}
