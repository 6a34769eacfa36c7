package admin

import (
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Where all were let in, the one makes room that has been idle for longest, whenever it
// came; one that is being answered does not.
func TestLongestIdleMakesRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &places{open: make(map[net.Conn]*place)}
		var near, far []net.Conn
		enter := func() {
			here, there := net.Pipe()
			near, far = append(near, here), append(far, there)
			ctx := p.enter(t.Context(), here)
			ctx.Value(placeKey{}).(func())()
			p.changed(here, http.StateActive)
		}
		for range MaxConnections {
			enter()
		}
		for _, i := range []int{7, 3, 5} {
			p.changed(near[i], http.StateIdle)
			time.Sleep(time.Second)
		}
		for range 2 {
			enter()
		}
		for i, conn := range far {
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			_, err := conn.Read(make([]byte, 1))
			if gone := err == io.EOF; gone != (i == 7 || i == 3) {
				t.Errorf("the %dth is gone: %v", i, gone)
			}
			near[i].Close()
			conn.Close()
		}
	})
}
