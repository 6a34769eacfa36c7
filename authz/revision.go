package authz

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// revision is that of a bundle's manifest, as a number or as a time.
type revision struct {
	number uint64
	time   time.Time // zero: it is a number
}

// parseRevision takes an unsigned integer or a time as in RFC 3339.
func parseRevision(text string) (revision, error) {
	if text == "" {
		return revision{}, errors.New("the manifest has no revision: a signed bundle needs one, so that an older one can be told")
	}
	if number, err := strconv.ParseUint(text, 10, 64); err == nil {
		return revision{number: number}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil && !at.IsZero() {
		return revision{time: at}, nil
	}
	return revision{}, fmt.Errorf("the manifest's revision %q is neither an unsigned integer nor a time as in RFC 3339, so that an older one cannot be told", text)
}

func (r revision) isTime() bool { return !r.time.IsZero() }

// compare is negative where r is older than s. Both must be of one form.
func (r revision) compare(s revision) int {
	switch {
	case r.isTime():
		return r.time.Compare(s.time)
	case r.number < s.number:
		return -1
	case r.number > s.number:
		return 1
	}
	return 0
}

// checkSuccessor refuses a bundle that must not follow the one in force. Signatures
// prove who made a bundle, not that it is the latest: whoever can write the file
// could bring back an old one, and with it what was revoked since. Without a key
// there is nobody to protect from, and only what is plainly older is refused.
func checkSuccessor(old, next parcel) error {
	before, beforeErr := parseRevision(old.revision)
	after, afterErr := parseRevision(next.revision)
	comparable := beforeErr == nil && afterErr == nil && before.isTime() == after.isTime()
	switch {
	case !comparable && next.signed:
		return fmt.Errorf("the revision %q cannot be compared with %q, which is in force", next.revision, old.revision)
	case !comparable:
		return nil
	case after.compare(before) < 0:
		return fmt.Errorf("the revision %q is older than %q, which is in force", next.revision, old.revision)
	case after.compare(before) == 0 && next.signed && next.sum != old.sum:
		return fmt.Errorf("the revision %q is in force with other content: each bundle needs a revision of its own", next.revision)
	}
	return nil
}
