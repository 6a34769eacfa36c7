package authn

import (
	"fmt"
	"sync"
	"time"
)

// holder keeps the current material of a source, and how the source is, and tells
// of changes.
type holder struct {
	mu       sync.Mutex
	material *Material
	err      error // why there is no material yet, or no newer
	changed  chan struct{}

	since     time.Time // err is nil, or is not, since then
	updated   time.Time
	withdrawn bool
	rotations uint64
}

func newHolder(why error) *holder {
	return &holder{err: why, changed: make(chan struct{}), since: time.Now()}
}

// Changed implements Source and Trust.
func (h *holder) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// Material implements Source.
func (h *holder) Material() (*Material, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.errLocked(); err != nil {
		return nil, err
	}
	return h.material, nil
}

func (h *holder) errLocked() error {
	if h.material == nil {
		return h.err
	}
	err := ownExpiry(h.material.Certificate, time.Now())
	if err != nil && h.err != nil {
		return fmt.Errorf("%w; %w", err, h.err)
	}
	return err
}

// Anchors implements Trust.
func (h *holder) Anchors() (*Anchors, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.material == nil {
		return nil, h.err
	}
	return h.material.anchors, nil
}

// Health implements Keeper.
func (h *holder) Health() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	health := Health{
		Material: h.errLocked(), Up: h.err == nil, Since: h.since, Updated: h.updated,
		Withdrawn: h.withdrawn, Rotations: h.rotations,
	}
	if h.err != nil {
		health.Cause = h.err.Error()
	}
	if h.material != nil {
		health.NotBefore, health.NotAfter = h.material.Certificate.Leaf.NotBefore, h.material.NotAfter()
		health.CRLNextUpdate, health.Revocation = h.material.anchors.crls.state(time.Now())
	}
	return health
}

// held is the material, expired or not; nil where there was none yet.
func (h *holder) held() *Material {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.material
}

// set replaces the material, and whatever was wrong no longer is.
func (h *holder) set(m *Material) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.goodLocked()
	h.replaceLocked(m)
}

// replace replaces the material by one that says nothing of how the source is.
func (h *holder) replace(m *Material) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replaceLocked(m)
}

func (h *holder) replaceLocked(m *Material) {
	if h.material != nil && h.material.Certificate != m.Certificate {
		h.rotations++
	}
	h.material = m
	close(h.changed)
	h.changed = make(chan struct{})
}

// good notes that the source gave what we have already.
func (h *holder) good() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.goodLocked()
}

func (h *holder) goodLocked() {
	h.updated, h.withdrawn = time.Now(), false
	if h.err != nil {
		h.err, h.since = nil, h.updated
	}
}

// fault says why there is no material yet, or no newer. What there is stays.
func (h *holder) fault(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.since = time.Now()
	}
	h.err = err
	if h.material == nil {
		close(h.changed)
		h.changed = make(chan struct{})
	}
}

// withdraw is a fault by which the source takes back what it gave.
func (h *holder) withdraw(err error) {
	h.fault(err)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.withdrawn = h.material != nil
}
