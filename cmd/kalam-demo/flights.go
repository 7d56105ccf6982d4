package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/dataset"
)

// loadFlights loads three quarters, flushes them, and loads the rest, which stays in the log's tail.
func (d *demo) loadFlights(ctx context.Context) error {
	total := 0
	if err := d.set.Flights(d.flights, func(dataset.Flight) error { total++; return nil }); err != nil {
		return err
	}
	d.flights = total
	flushed := total * 3 / 4
	if err := d.postFlights(ctx, 0, flushed); err != nil {
		return err
	}
	if err := d.flush(ctx, int64(flushed)); err != nil {
		return err
	}
	return d.postFlights(ctx, flushed, total)
}

// postFlights streams the flights [from, to) as one NDJSON body.
func (d *demo) postFlights(ctx context.Context, from, to int) error {
	r, w := io.Pipe()
	go func() {
		b := bufio.NewWriterSize(w, 1<<16)
		enc := json.NewEncoder(b)
		err := d.set.Flights(to, func(f dataset.Flight) error {
			if f.ID < int64(from) {
				return nil
			}
			return enc.Encode(f)
		})
		w.CloseWithError(cmp.Or(err, b.Flush()))
	}()
	began := time.Now()
	var reply wire.WriteReply
	path := "/v1/tables/demo/flights/rows?mode=insert"
	if err := d.server.Call(ctx, http.MethodPost, path, "application/x-ndjson", r, nil, &reply); err != nil {
		return err
	}
	took := time.Since(began)
	d.say("   %d flights in one streamed request: %v, %.0f rows/s", reply.RowCount, took.Round(time.Millisecond), float64(reply.RowCount)/took.Seconds())
	return check(d, "flights acknowledged", reply.RowCount, int64(to-from))
}

func (d *demo) flush(ctx context.Context, want int64) error {
	results, err := d.server.SQL(ctx, `FLUSH TABLE demo.flights`)
	if err != nil {
		return err
	}
	var job string
	if err := json.Unmarshal(results[0].Rows[0][0], &job); err != nil {
		return err
	}
	d.say("   FLUSH TABLE demo.flights: job %s", job)
	if err := d.awaitJob(ctx, job); err != nil {
		return err
	}
	rows, err := d.count(ctx, `SELECT rows FROM system.jobs WHERE id = $1`, job)
	if err != nil {
		return err
	}
	if err := check(d, "changes flushed, by system.jobs", rows, want); err != nil {
		return err
	}
	files, err := d.server.SQL(ctx, `SELECT f.shard, f.rows, f.bytes FROM system.data_files f JOIN system.tables t ON t.id = f.table_id
		WHERE t.namespace = 'demo' AND t.name = 'flights' ORDER BY f.shard`)
	if err != nil {
		return err
	}
	var sum int64
	for _, f := range files[0].Rows {
		var n int64
		if err := json.Unmarshal(f[1], &n); err != nil {
			return err
		}
		sum += n
	}
	return check(d, fmt.Sprintf("rows in %d Parquet files, one a shard", len(files[0].Rows)), sum, want)
}

// awaitJob polls system.jobs until the job has ended.
func (d *demo) awaitJob(ctx context.Context, job string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		results, err := d.server.SQL(ctx, `SELECT state, error FROM system.jobs WHERE id = $1`, job)
		if err != nil {
			return err
		}
		switch state := string(results[0].Rows[0][0]); state {
		case `"completed"`:
			return nil
		case `"failed"`, `"cancelled"`:
			return fmt.Errorf("job %s %s: %s", job, state, results[0].Rows[0][1])
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// airport is the demo's own reckoning of what the analytic query must answer.
type airport struct {
	origin         string
	flights, delay int64
}

func (d *demo) analyse(ctx context.Context) error {
	want, err := d.busiest(10)
	if err != nil {
		return err
	}
	const sql = `SELECT origin, count(*), sum(delay) FROM demo.flights GROUP BY origin ORDER BY count(*) DESC, origin LIMIT 10`
	began := time.Now()
	results, err := d.server.SQL(ctx, sql)
	if err != nil {
		return err
	}
	d.say("   %s\n   answered in %v", sql, time.Since(began).Round(100*time.Microsecond))
	var got []airport
	for _, row := range results[0].Rows {
		var a airport
		for i, into := range []any{&a.origin, &a.flights, &a.delay} {
			if err := unmarshalNumber(row[i], into); err != nil {
				return err
			}
		}
		got = append(got, a)
	}
	for i := range want {
		if i >= len(got) {
			return fmt.Errorf("the query gave %d rows, want %d", len(got), len(want))
		}
		what := fmt.Sprintf("%s: flights, minutes of delay", want[i].origin)
		if err := check(d, what, got[i], want[i]); err != nil {
			return err
		}
	}
	n, err := d.count(ctx, `SELECT count(*) FROM demo.flights`)
	if err != nil {
		return err
	}
	return check(d, "flights in Parquet and tail together", n, int64(d.flights))
}

// unmarshalNumber reads a JSON value; a number may come as text (sum() is wider than 64 bits).
func unmarshalNumber(raw json.RawMessage, into any) error {
	if n, ok := into.(*int64); ok && len(raw) > 0 && raw[0] == '"' {
		_, err := fmt.Sscanf(string(raw), `"%d"`, n)
		return err
	}
	return json.Unmarshal(raw, into)
}

func (d *demo) busiest(n int) ([]airport, error) {
	sums := map[string]*airport{}
	err := d.set.Flights(d.flights, func(f dataset.Flight) error {
		a := sums[f.Origin]
		if a == nil {
			a = &airport{origin: f.Origin}
			sums[f.Origin] = a
		}
		a.flights++
		a.delay += f.Delay
		return nil
	})
	var all []airport
	for _, a := range sums {
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b airport) int {
		return cmp.Or(-cmp.Compare(a.flights, b.flights), cmp.Compare(a.origin, b.origin))
	})
	return all[:min(n, len(all))], err
}
