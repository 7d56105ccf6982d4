package objstore

import (
	"errors"
	"strings"
	"sync"
)

// holds puts off deletions while somebody needs every object.
type holds struct {
	mu      sync.Mutex
	count   int
	pending map[string]struct{} // deleted meanwhile
}

// Hold keeps every object until release is called, which then deletes what was deleted meanwhile. Should the process end before, what nobody names any more is
// found as after any crash. release may be called more than once.
func (d *Dir) Hold() (release func() error) {
	d.holds.mu.Lock()
	defer d.holds.mu.Unlock()
	d.holds.count++
	return sync.OnceValue(d.release)
}

func (d *Dir) release() error {
	d.holds.mu.Lock()
	defer d.holds.mu.Unlock()
	d.holds.count--
	if d.holds.count > 0 {
		return nil
	}
	var errs []error
	for name := range d.holds.pending {
		errs = append(errs, d.remove(name))
	}
	d.holds.pending = nil
	return errors.Join(errs...)
}

// putOff reports whether the deletion of name has to wait. Left-overs are nobody's.
func (d *Dir) putOff(name string) bool {
	d.holds.mu.Lock()
	defer d.holds.mu.Unlock()
	if d.holds.count == 0 || strings.HasSuffix(name, leftover) {
		return false
	}
	if d.holds.pending == nil {
		d.holds.pending = map[string]struct{}{}
	}
	d.holds.pending[name] = struct{}{}
	return true
}
