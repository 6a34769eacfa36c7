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

// Addr is where the admin listener listens: an IP address with a port, or Off. On a
// loopback address it is plain HTTP for whoever is on the machine; on any other it is
// TLS, and asks who is there.
type Addr string

// UnmarshalText reads Off, or host:port where host is an IP address, localhost, or
// nothing, which is every address. Other host names are refused without being looked
// up: what a name means may change after it was checked, and with it who gets in.
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
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return errors.New("want an IP address, such as 127.0.0.1:" + port + ": what a name means may change")
	}
	*a = Addr(text)
	return nil
}

// Loopback tells whether nobody but this machine can reach the address.
func (a Addr) Loopback() bool {
	host, _, err := net.SplitHostPort(string(a))
	return err == nil && loopback(host)
}

// loopback tells whether a host, as in an address or a Host header, is this
// machine and nothing else.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Zone() == "" && ip.Unmap().IsLoopback()
}
