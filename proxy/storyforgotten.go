package proxy

import "time"

// ForgottenRefusals says what the list of refusals lacks: only so many are remembered of
// one identity and of all.
type ForgottenRefusals struct {
	Agents, Scrapers Forgotten
}

// Forgotten is what there was no room for, of what either agents or scrapers were refused.
type Forgotten struct {
	// Count is how often something was not remembered, or no more, since the start.
	Count uint64
	// Standing: some of it may be refused still.
	Standing bool
}

// ForgottenRefusals says how far Refusals can be taken for all that there is.
func (p *Proxy) ForgottenRefusals() ForgottenRefusals {
	r := p.rejections
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	return ForgottenRefusals{Agents: r.agents.lacks(now), Scrapers: r.scrapes.lacks(now)}
}

func (b *rejectionBook) lacks(now time.Time) Forgotten {
	return Forgotten{Count: b.forgotten, Standing: b.forgotten > 0 && now.Sub(b.missed) < standingFor}
}
