package daemon

import (
	"fmt"
	"net"
	"strconv"
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
