package subscribe

import (
	"context"
	"fmt"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// advance does the next piece of work: it returns when there are events, or with an error and whatever events came before it.
func (s *Subscription) advance(ctx context.Context) error {
	if s.opening {
		s.batch().addSubscribed(s.id, s.query)
		s.opening = false
	}
	for {
		var err error
		switch {
		case s.reset != "":
			err = s.startOver(ctx)
		case s.rows != nil:
			done, failed := s.rows.read(ctx, s.batch(), s.budget())
			if !done || failed != nil {
				return failed
			}
			s.closeView()
		case s.changes == nil:
			err = s.openChanges()
		case s.ready:
			s.batch().addPosition(Ready, s.from)
			s.ready = false
		case s.any():
			return nil
		default:
			err = s.follow(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// budget is how many bytes of changes are read, and how many bytes of events are collected, at once. While a batch is told another
// one is not read, so together with what is being encoded they stay within BufferBytes.
func (s *Subscription) budget() int { return max(1, s.registry.options.BufferBytes/4) }

// startOver tells the reset and prepares the rows of now.
func (s *Subscription) startOver(ctx context.Context) error {
	s.closeView() // of an attempt that was interrupted
	view, err := s.registry.options.Materializer.View()
	if err != nil {
		return fmt.Errorf("open view: %w", err)
	}
	s.view = view
	if err := s.refresh(view.Catalog()); err != nil {
		return err
	}
	if err := s.beginRows(ctx); err != nil {
		return err
	}
	s.batch().addReset(s.reset, s.from)
	s.reset, s.ready = "", true
	return nil
}

// refresh compiles the query for the table as it is in c.
func (s *Subscription) refresh(c *materializer.Catalog) error {
	table := c.TableByID(s.table)
	if table == nil {
		return problem.New(problem.UnknownTable, "table %s was dropped", s.name)
	}
	query, err := s.query.recompile(table)
	if err != nil {
		return err
	}
	s.query = query
	return nil
}

// follow waits until changes became events or, after the progress interval, the log has moved on without any. It may return without
// either if the log stood still.
func (s *Subscription) follow(ctx context.Context) error {
	quiet, cancel := context.WithTimeout(ctx, s.registry.options.Progress)
	defer cancel()
	for {
		if err := s.tellPending(); err != nil || s.any() {
			return err
		}
		if ctx.Err() == nil && quiet.Err() != nil {
			s.tellProgress()
			return nil
		}
		err := s.changes.fill(quiet, s.budget())
		switch {
		case err == nil, ctx.Err() == nil && stoppedBy(quiet, err):
		case problem.Is(err, problem.Trimmed):
			s.from = s.changes.position()
			s.setReset()
			s.changes.close()
			s.changes = nil
			return nil
		default:
			return err
		}
	}
}

// tellProgress tells how far the log has been read, if that is new.
func (s *Subscription) tellProgress() {
	told, _ := s.progress()
	if at := s.changes.position(); !told.Covers(at) {
		s.batch().addPosition(Progress, at)
	}
}

// tellPending turns pending changes into events, up to the budget.
func (s *Subscription) tellPending() error {
	defer func() {
		if !s.any() {
			s.giveBack()
		}
	}()
	for len(s.changes.pending) > 0 && s.batch().size() < s.budget() {
		if err := s.tellChange(s.changes.take()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Subscription) tellChange(r log.Record) error {
	c, err := materializer.DecodeChange(r)
	if err != nil {
		return fmt.Errorf("decode change %d of partition %d of %s: %w", r.Offset, r.Partition.ID, s.name, err)
	}
	if newest := s.query.table.Schema().Version; c.Schema > newest || c.OldSchema > newest {
		if err := s.refresh(s.registry.options.Materializer.Catalog()); err != nil {
			return err
		}
	}
	return s.query.tell(s.batch(), c, s.changes.cursor)
}
