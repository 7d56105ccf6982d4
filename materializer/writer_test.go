package materializer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
)

// flaky is a Proposer whose first proposals fail; lost says that they are applied all the same.
type flaky struct {
	*ledger
	faults []error
	lost   bool
	calls  []time.Time
}

func (f *flaky) Propose(ctx context.Context, batch []byte) (log.Receipt, error) {
	f.calls = append(f.calls, time.Now())
	if len(f.faults) == 0 {
		return f.ledger.Propose(ctx, batch)
	}
	fault := f.faults[0]
	f.faults = f.faults[1:]
	if f.lost {
		if _, err := f.ledger.Propose(ctx, batch); err != nil {
			return log.Receipt{}, err
		}
	}
	return log.Receipt{}, fault
}

var (
	errOutcomeUnknown = problem.New(problem.Timeout, "the write was not confirmed in time")
	errNoLeader       = problem.New(problem.Overloaded, "the group did not take the write")
)

// TestUnknownOutcomeIsTriedAgain: whether the lost proposals were applied or not, the write is applied once.
func TestUnknownOutcomeIsTriedAgain(t *testing.T) {
	for _, lost := range []bool{true, false} {
		f := &flaky{ledger: newLedger(t), lost: lost}
		users := f.createTable(usersTable(1))
		insert := &Batch{IdempotencyKey: "k", Mutations: []Mutation{f.row(users, Insert, big(1), str("x"), big(1))}}
		f.faults, f.calls = []error{errOutcomeUnknown, errNoLeader, errOutcomeUnknown}, nil
		got, err := NewWriter(f).Write(t.Context(), insert)
		if err != nil || got.Replayed != lost || !got.Applied[0].Done || got.Applied[0].Offset != 0 {
			t.Errorf("lost %v: %+v, %v", lost, got, err)
		}
		if n := len(f.changes(log.Partition{Table: users.ID})); n != 1 {
			t.Errorf("lost %v: %d changes", lost, n)
		}
		if len(f.calls) != 4 {
			t.Errorf("%d proposals", len(f.calls))
		}
		for i := 2; i < len(f.calls); i++ {
			if f.calls[i].Sub(f.calls[i-1]) < 20*time.Millisecond {
				t.Errorf("proposal %d came after %s", i, f.calls[i].Sub(f.calls[i-1]))
			}
		}
	}
}

// TestUnknownStaysUnknown: without a key nothing is repeated, and no later failure turns "unknown" into "nothing was written".
func TestUnknownStaysUnknown(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	row := l.row(users, Insert, big(1), str("x"), big(1))
	for _, c := range []struct {
		name   string
		key    string
		faults []error
		want   problem.Code
		calls  int
	}{
		{"no key", "", []error{errOutcomeUnknown}, problem.Timeout, 1},
		{"surely not written", "k", []error{errNoLeader}, problem.Overloaded, 1},
		{"the node ends", "k", []error{errOutcomeUnknown, problem.New(problem.ShuttingDown, "bye")}, problem.Timeout, 2},
		{"a fault", "k", []error{errOutcomeUnknown, errors.New("broken")}, problem.Timeout, 2},
	} {
		f := &flaky{ledger: l, faults: c.faults}
		_, err := NewWriter(f).Write(t.Context(), &Batch{IdempotencyKey: c.key, Mutations: []Mutation{row}})
		if !problem.Is(err, c.want) || len(f.calls) != c.calls {
			t.Errorf("%s: %v after %d proposals", c.name, err, len(f.calls))
		}
	}
}

// TestTriesEndWithTheRequest, whose deadline a group without a majority reaches.
func TestTriesEndWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{faults: make([]error, 1000)}
		for i := range f.faults {
			f.faults[i] = errOutcomeUnknown
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := NewWriter(f).Write(ctx, &Batch{IdempotencyKey: "k"})
		if !problem.Is(err, problem.Timeout) || time.Since(began) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if n := len(f.calls); n < 60 || n > 70 {
			t.Errorf("%d proposals in a minute", n)
		}
	})
}
