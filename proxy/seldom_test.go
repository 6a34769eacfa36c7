package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s seldom
		told := 0
		for range 35 {
			if s.now() {
				told++
			}
			time.Sleep(time.Second)
		}
		if told != 4 {
			t.Errorf("told %d times within 35 s", told)
		}
	})
}
