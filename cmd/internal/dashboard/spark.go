package dashboard

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"github.com/seed-951114d4/sallyport/cmd/internal/page"
	"github.com/seed-951114d4/sallyport/proxy"
)

// sparkSize is how large a picture is, in bars and pixels.
type sparkSize struct{ bars, bar, gap, height int }

var (
	small = sparkSize{bars: 20, bar: 4, gap: 2, height: 22}
	large = sparkSize{bars: 20, bar: 24, gap: 7, height: 76}
)

// spark draws the last scrapes, the latest at the right: how long each took, by the root
// of it, so that a slow one does not flatten the others, and in another colour, over the
// whole height, those that failed. Nothing in it is of a peer's choice.
func spark(scrapes []proxy.ScrapeInfo, size sparkSize) template.HTML {
	if len(scrapes) == 0 {
		return ""
	}
	slowest, failed, fine := 0.0, 0, 0
	for _, s := range scrapes {
		slowest = max(slowest, s.Duration)
		switch {
		case failure(s.Outcome):
			failed++
		case s.Outcome == proxy.OK:
			fine++
		}
	}
	var good, bad, cut strings.Builder
	for i, s := range scrapes[:min(len(scrapes), size.bars)] {
		x := (size.bars - 1 - i) * (size.bar + size.gap)
		height := 2
		if slowest > 0 {
			height = max(height, int(math.Round(math.Sqrt(s.Duration/slowest)*float64(size.height))))
		}
		into := &good
		switch {
		case failure(s.Outcome):
			into, height = &bad, size.height
		case s.Outcome == proxy.Cancelled:
			into = &cut
		}
		fmt.Fprintf(into, "M%d %dh%dv%dh-%dz", x, size.height-height, size.bar, height, size.bar)
	}
	label := fmt.Sprintf("%d of the last %d scrapes failed, the slowest took %s", failed, len(scrapes), page.Duration(slowest))
	switch {
	case fine == len(scrapes):
		label = fmt.Sprintf("the last %d scrapes were good, the slowest took %s", fine, page.Duration(slowest))
	case failed == 0:
		label = fmt.Sprintf("%d good and %d cancelled of the last %d scrapes, the slowest took %s", fine, len(scrapes)-fine, len(scrapes), page.Duration(slowest))
	}
	width := size.bars*(size.bar+size.gap) - size.gap
	return template.HTML(fmt.Sprintf(
		`<svg class="spark" role="img" aria-label="%s" viewBox="0 0 %d %d" width="%d" height="%d" preserveAspectRatio="none"><path class="base" d="M0 %d.5h%d"/><path class="good" d="%s"/><path class="cut" d="%s"/><path class="bad" d="%s"/></svg>`,
		label, width, size.height+1, width, size.height+1, size.height, width, good.String(), cut.String(), bad.String()))
}

func failure(o proxy.Outcome) bool { return o != proxy.OK && o != proxy.Cancelled }
