package authz

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// What a decision may carry. Labels end up in every page of discovery, reasons in
// logs and with the agent, and either may hold what an agent claims.
const (
	maxReasons     = 16
	maxReasonBytes = 200
	maxLabels      = 64
	maxLabelBytes  = 1024
)

// ErrUndefined is the fault of a decision where no rule says whether to allow. It is
// how a policy without a default rule says no.
var ErrUndefined = errors.New("allow is undefined")

// answer is what one evaluation gave, of the right types and within the bounds.
type answer struct {
	allow   bool
	reasons []string
	limits  Limits
	labels  map[string]string
}

// parseAnswer reads the values of the rules asked for, nil where a rule is undefined.
// With ErrUndefined the answer has the reasons.
func parseAnswer(rules []string, values []ast.Value) (answer, error) {
	var a answer
	silent := false
	for i, rule := range rules {
		if values[i] == nil {
			silent = silent || rule == ruleAllow
			continue
		}
		if err := a.set(rule, values[i]); err != nil {
			return answer{}, fmt.Errorf("%s %w", rule, err)
		}
	}
	if silent {
		// A policy without a default rule may well say why not.
		return answer{reasons: a.reasons}, ErrUndefined
	}
	return a, nil
}

func (a *answer) set(rule string, v ast.Value) (err error) {
	switch rule {
	case ruleAllow:
		allow, ok := v.(ast.Boolean)
		if !ok {
			return typeError("boolean", v)
		}
		a.allow = bool(allow)
	case ruleReasons:
		a.reasons, err = parseReasons(v)
	case ruleLimits:
		a.limits, err = parseLimits(v)
	case ruleLabels:
		a.labels, err = parseLabels(v)
	}
	return err
}

func typeError(want string, v ast.Value) error {
	return fmt.Errorf("is of type %s, want %s", ast.ValueName(v), want)
}

// parseReasons makes the reasons fit to be shown: what does not print is replaced,
// what is too long is cut, what is too many is dropped. Reasons are for people; a
// denial stays one without them.
func parseReasons(v ast.Value) ([]string, error) {
	set, ok := v.(ast.Set)
	if !ok {
		return nil, typeError("set", v)
	}
	var reasons []string
	for _, t := range set.Slice() {
		s, ok := t.Value.(ast.String)
		if !ok {
			return nil, fmt.Errorf("holds an element: %w", typeError("string", t.Value))
		}
		if line := oneLine(string(s)); line != "" {
			reasons = append(reasons, line)
		}
	}
	slices.Sort(reasons)
	reasons = slices.Compact(reasons)
	return reasons[:min(len(reasons), maxReasons)], nil
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, strings.TrimSpace(s))
	if len(s) <= maxReasonBytes {
		return s
	}
	const ellipsis = "…"
	end := maxReasonBytes - len(ellipsis)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}

func parseLimits(v ast.Value) (Limits, error) {
	object, ok := v.(ast.Object)
	if !ok {
		return Limits{}, typeError("object", v)
	}
	var l Limits
	err := object.Iter(func(k, v *ast.Term) error {
		key, ok := k.Value.(ast.String)
		if !ok {
			return fmt.Errorf("has a key: %w", typeError("string", k.Value))
		}
		n, err := parseLimit(v.Value)
		if err != nil {
			return fmt.Errorf("has %s: %w", string(key), err)
		}
		switch key {
		case "max_body_bytes":
			l.MaxBodyBytes = n
		case "max_inflight":
			l.MaxInflight = n
		case "max_timeout_ms":
			l.MaxTimeout = time.Duration(min(n, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
		case "max_routes":
			l.MaxRoutes = n
		default:
			return fmt.Errorf("has the unknown key %q", string(key))
		}
		return nil
	})
	if err != nil {
		return Limits{}, err
	}
	return l, nil
}

// parseLimit takes a positive integer. Zero would read as "no limit" on our side and
// as "nothing at all" on the author's: to forbid, a policy denies.
func parseLimit(v ast.Value) (int64, error) {
	num, ok := v.(ast.Number)
	if !ok {
		return 0, typeError("number", v)
	}
	n, ok := num.Int64()
	if !ok || n <= 0 {
		return 0, fmt.Errorf("%s is no positive integer", num)
	}
	return n, nil
}

func parseLabels(v ast.Value) (map[string]string, error) {
	object, ok := v.(ast.Object)
	if !ok {
		return nil, typeError("object", v)
	}
	if object.Len() > maxLabels {
		return nil, fmt.Errorf("holds %d labels, at most %d are taken", object.Len(), maxLabels)
	}
	labels := make(map[string]string, object.Len())
	err := object.Iter(func(k, v *ast.Term) error {
		name, ok := k.Value.(ast.String)
		if !ok {
			return fmt.Errorf("has a name: %w", typeError("string", k.Value))
		}
		if !isLabelName(string(name)) {
			return fmt.Errorf("has the name %q, which no label may have", string(name))
		}
		value, ok := v.Value.(ast.String)
		switch {
		case !ok:
			return fmt.Errorf("has %s: %w", string(name), typeError("string", v.Value))
		case len(value) > maxLabelBytes || !utf8.ValidString(string(value)):
			return fmt.Errorf("has %s: the value is no UTF-8 text of at most %d bytes", string(name), maxLabelBytes)
		}
		labels[string(name)] = string(value)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return labels, nil
}

// isLabelName keeps the policy to what Prometheus takes, and away from the labels
// that say where to scrape ("__…") and which route a target is ("instance").
func isLabelName(s string) bool {
	if s == "" || s == "instance" || strings.HasPrefix(s, "__") {
		return false
	}
	for i, c := range []byte(s) {
		switch {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return true
}
