package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// CheckListenAddr judges an address to listen on: host:port or :port. It looks
// no name up.
func CheckListenAddr(variable, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s: %.64q is not host:port", variable, addr)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s: the port of %.64q is no number from 0 to 65535", variable, addr)
	}
	return nil
}

// ListenAddr is an address to listen on and the variable that it came from.
type ListenAddr struct{ Variable, Addr string }

// CheckDistinct reports each address whose port an earlier one has taken on the
// same host. What is no address has been told of by CheckListenAddr.
func CheckDistinct(addrs ...ListenAddr) error {
	var faults []error
	for i, addr := range addrs {
		for _, earlier := range addrs[:i] {
			if overlap(addr.Addr, earlier.Addr) {
				faults = append(faults, fmt.Errorf("%s: %s is what %s listens on, %s: each needs a port of its own",
					addr.Variable, addr.Addr, earlier.Variable, earlier.Addr))
				break
			}
		}
	}
	return errors.Join(faults...)
}

func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil {
		return false
	}
	numberA, errA := strconv.ParseUint(portA, 10, 16)
	numberB, errB := strconv.ParseUint(portB, 10, 16)
	if errA != nil || errB != nil || numberA != numberB || numberA == 0 { // 0: any free one
		return false
	}
	return everywhere(hostA) || everywhere(hostB) || sameHost(hostA, hostB)
}

// everywhere tells whether a host stands for all addresses of the machine.
func everywhere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

func sameHost(a, b string) bool {
	ipA, errA := netip.ParseAddr(strings.Replace(a, "localhost", "127.0.0.1", 1))
	ipB, errB := netip.ParseAddr(strings.Replace(b, "localhost", "127.0.0.1", 1))
	if errA != nil || errB != nil {
		return a == b
	}
	return ipA.Unmap() == ipB.Unmap()
}
