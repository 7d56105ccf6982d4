package materializer

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

func TestView(t *testing.T) {
	l := newLedger(t)
	if p := l.view().Position(); !p.IsZero() {
		t.Errorf("position of nothing: %s", p)
	}
	users := l.createTable(usersTable(1))
	for i := range int64(5) {
		l.mustWrite(l.row(users, Insert, big(i), str("x"), big(i)))
	}
	v := l.view()
	at := l.index
	l.mustWrite(l.patch(users, 3, "n", lit(big(100))))
	l.mustWrite(l.key(users, Remove, big(4)))
	if got, want := v.Position().String(), log.PositionOf(log.Part{Group: 1, Index: at}).String(); got != want {
		t.Errorf("position %s, want %s", got, want)
	}
	p := log.Partition{Table: users.ID}
	if end, err := v.End(p); end != 5 || err != nil {
		t.Errorf("end %d %v", end, err)
	}
	if end, err := l.m.End(p); end != 7 || err != nil {
		t.Errorf("end now %d %v", end, err)
	}
	row, err := v.Row(users, 0, mustKey(t, []expr.Value{big(3)}))
	if err != nil || row.Row.Column(2).Int() != 3 || row.Version != 3 || row.Timestamp == 0 {
		t.Errorf("row %+v %v", row, err)
	}
	if _, err := l.view().Row(users, 0, mustKey(t, []expr.Value{big(4)})); !problem.Is(err, problem.KeyNotFound) {
		t.Errorf("row that was deleted: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := v.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// TestScanRows: what a scan yields stays as it is after the scan has gone on.
func TestScanRows(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(1))
	for i := range int64(3000) {
		l.mustWrite(l.row(users, Insert, big(i), str(fmt.Sprint("name ", i)), big(i)))
	}
	var rows []KeyedRow
	r := storage.Range{Start: mustKey(t, []expr.Value{big(10)}), End: mustKey(t, []expr.Value{big(2990)}), Reverse: true}
	for row, err := range l.view().Scan(users, 0, r) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if len(rows) != 2980 {
		t.Fatalf("%d rows", len(rows))
	}
	slices.Reverse(rows)
	for i, row := range rows {
		if got, want := row.Row.Column(1).Str(), fmt.Sprint("name ", i+10); got != want || string(row.Key) != string(mustKey(t, []expr.Value{big(int64(i + 10))})) {
			t.Fatalf("row %d is %s", i, got)
		}
	}
}

// TestViewsAreWhole has readers take views while batches keep a sum over two tables at zero, and check position, ends and rows against each other.
func TestViewsAreWhole(t *testing.T) {
	l := newLedger(t)
	users := l.createTable(usersTable(3))
	const keys = 10
	for i := range int64(keys) {
		l.mustWrite(l.row(users, Insert, big(i), str("x"), big(0)))
	}
	first := l.index
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := checkWhole(l.m, users, first); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range int64(300) {
		l.mustWrite(l.patch(users, i%keys, "n", op("+", column("n"), lit(big(i)))), l.patch(users, (i+1)%keys, "n", op("-", column("n"), lit(big(i)))))
	}
	close(done)
	wg.Wait()
}

func checkWhole(m *Materializer, users *Table, first log.Index) error {
	v, err := m.View()
	if err != nil {
		return err
	}
	defer v.Close()
	sum, rows, ends := int64(0), 0, log.Offset(0)
	for p := range users.Partitions {
		for row, err := range v.Scan(users, log.PartitionID(p), storage.Range{}) {
			if err != nil {
				return err
			}
			sum += row.Row.Column(2).Int()
			rows++
		}
		end, err := v.End(log.Partition{Table: users.ID, ID: log.PartitionID(p)})
		if err != nil {
			return err
		}
		ends += end
	}
	index := v.Position().Part(1).Index
	if sum != 0 || rows != 10 || ends != log.Offset(10+2*(index-first)) {
		return fmt.Errorf("at %d: sum %d, %d rows, %d changes", index, sum, rows, ends)
	}
	return nil
}
