package agent

import (
	"strconv"
	"strings"
)

// takesCoding says whether an Accept-Encoding header takes a content coding:
// by its name or by *, with a weight above zero (RFC 9110, 12.5.3). An absent
// header takes none here, although the RFC would allow any: who does not ask for
// compression does not get it from us.
func takesCoding(acceptEncoding, coding string) bool {
	star := false
	for item := range strings.SplitSeq(acceptEncoding, ",") {
		name, params, _ := strings.Cut(item, ";")
		switch name = strings.TrimSpace(name); {
		case strings.EqualFold(name, coding):
			return weighs(params)
		case name == "*":
			star = weighs(params)
		}
	}
	return star
}

// weighs reads the q of a list item. A malformed one counts as zero.
func weighs(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		return err == nil && q > 0 && q <= 1
	}
	return true
}

// plainCoding says whether a Content-Encoding header names no compression.
func plainCoding(contentEncoding string) bool {
	return contentEncoding == "" || strings.EqualFold(contentEncoding, "identity")
}

// passableCoding says whether a target's Content-Encoding may go to the scraper:
// gzip always, as every scraper reads it and many exporters send it unasked;
// others only where the scraper asked for them.
func passableCoding(contentEncoding, acceptEncoding string) bool {
	if len(contentEncoding) > 64 {
		return false
	}
	for coding := range strings.SplitSeq(contentEncoding, ",") {
		coding = strings.TrimSpace(coding)
		if !graphic(coding) || coding == "" || coding == "*" {
			return false
		}
		if !plainCoding(coding) && !strings.EqualFold(coding, "gzip") && !takesCoding(acceptEncoding, coding) {
			return false
		}
	}
	return true
}

// metricsType says whether a Content-Type may be that of metrics: one of the
// formats that Prometheus reads, or none stated.
func metricsType(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(media)) {
	case "", "text/plain", "application/openmetrics-text", "application/vnd.google.protobuf":
		return true
	}
	return false
}
