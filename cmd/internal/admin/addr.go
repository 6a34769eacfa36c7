package admin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Off is the address that turns the listener off.
const Off Addr = "off"

// Addr is where the admin listener listens: a loopback address with a port, or
// Off. There is no TLS and no policy on it, so it must not be reachable from
// anywhere else.
type Addr string

// UnmarshalText reads Off, or host:port where host is localhost or a loopback
// IP address. Other host names are refused without being looked up: what a name
// means may change after it was checked.
func (a *Addr) UnmarshalText(text []byte) error {
	if Addr(text) == Off {
		*a = Off
		return nil
	}
	host, port, err := net.SplitHostPort(string(text))
	if err != nil {
		return fmt.Errorf("%.64q is neither host:port nor off", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%.64q: the port is no number from 0 to 65535", text)
	}
	if !loopback(host) {
		return errors.New("want a loopback address, such as 127.0.0.1:" + port + ": this listener has no TLS and asks nobody who they are")
	}
	*a = Addr(text)
	return nil
}

// loopback tells whether a host, as in an address or a Host header, is this
// machine and nothing else.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
