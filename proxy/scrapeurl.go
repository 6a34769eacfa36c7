package proxy

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
)

// URL is the one under which Prometheus reaches the proxy.
func (c Config) URL() string {
	if c.ScrapeURL != "" {
		return c.ScrapeURL
	}
	host, port, err := net.SplitHostPort(c.ScrapeAddr)
	if err != nil {
		return "https://" + c.ScrapeAddr
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			host = "localhost"
		}
	}
	return "https://" + net.JoinHostPort(host, port)
}

// checkScrapeURL refuses what a scrape cannot be sent to.
func checkScrapeURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("not a URL")
	case u.Scheme != "https":
		return errors.New("the scheme is not https")
	case u.Hostname() == "":
		return errors.New("there is no host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("it has more than scheme, host and port")
	case u.Path != "" && u.Path != "/":
		return errors.New("it has a path: routes begin at the root")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("the port is not from 1 to 65535")
		}
	}
	return nil
}
