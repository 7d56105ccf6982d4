package peer

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unacknowledged is how long sent bytes may stay without an acknowledgement before the connection counts as broken. The kernel's own
// patience is a quarter of an hour, and after a cut its retries are up to two minutes apart: a connection made anew carries on at once.
const unacknowledged = 4 * time.Second

func controlSocket(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unacknowledged.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
