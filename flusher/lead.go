package flusher

import (
	"context"
	"time"
)

// leadInterval is how often a node that does not lead looks whether it does, and how long it waits before it tries again what has failed.
const leadInterval = time.Second

// lead is what the node does while it leads: it puts in order what others left, once at the start of each term, then lets jobs run and starts those that are
// due. It tries until it succeeds: without it orphans could pile up behind an error of one moment.
func (f *Flusher) lead(life context.Context) {
	s := newScheduler(f)
	presides := false
	for life.Err() == nil {
		pause := leadInterval
		switch {
		case !f.options.Leads():
			presides = false
		case !presides:
			presides = f.preside(life)
			if presides {
				pause = f.options.CheckInterval
			}
		default:
			s.tick(life)
			pause = f.options.CheckInterval
		}
		if pause < 0 { // no scheduler
			<-life.Done()
			return
		}
		select {
		case <-life.Done():
		case <-time.After(pause):
		}
	}
}

// preside reports whether everything is in order.
func (f *Flusher) preside(life context.Context) bool {
	if err := f.recover(life); err != nil {
		if life.Err() == nil {
			f.options.Logger.Error("recovery of the flusher failed, trying again", "error", err)
		}
		return false
	}
	if !f.hasRecovered() {
		close(f.recovered)
	}
	return true
}
