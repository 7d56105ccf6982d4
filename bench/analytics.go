package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the peer
	"golang.org/x/sync/errgroup"

	"kalamlog.dev/kalam/internal/dataset"
)

const (
	bulkRows    = 1000 // a request
	bulkWriters = 4
)

const flightsTable = `CREATE SCHEMA IF NOT EXISTS bench;
	CREATE TABLE bench.flights (origin TEXT, id BIGINT, date TIMESTAMP, delay BIGINT, distance BIGINT, destination TEXT, PRIMARY KEY (origin, id))`

// bulk times keyed inserts of new keys in requests of bulkRows.
func (b *bench) bulk(ctx context.Context) error {
	if err := b.sql(ctx, flightsTable); err != nil {
		return err
	}
	bodies, rows, err := b.flightBodies()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := postAll(b.server.URL, bodies); err != nil {
		return err
	}
	took := time.Since(began)
	b.flights = rows
	b.report("keyed bulk load rows/s", float64(rows)/took.Seconds(), "%.0f   (%d rows, %d-row requests, %d clients)", float64(rows)/took.Seconds(), rows, bulkRows, bulkWriters)
	return nil
}

// postAll sends the bodies to a server from bulkWriters clients.
func postAll(url string, bodies [][]byte) error {
	c := newClient(url)
	queue := make(chan []byte, len(bodies))
	for _, body := range bodies {
		queue <- body
	}
	close(queue)
	var g errgroup.Group
	for range bulkWriters {
		g.Go(func() error {
			for body := range queue {
				if err := c.post("/v1/tables/bench/flights/rows?mode=insert", body); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// flightBodies makes the requests before the clock runs, as PostgreSQL's CSV is.
func (b *bench) flightBodies() (bodies [][]byte, rows int, err error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	emit := func() {
		if body.Len() > 0 {
			bodies = append(bodies, bytes.Clone(body.Bytes()))
			body.Reset()
		}
	}
	err = b.set.Flights(b.flights, func(f dataset.Flight) error {
		rows++
		if err := enc.Encode(f); err != nil {
			return err
		}
		if rows%bulkRows == 0 {
			emit()
		}
		return nil
	})
	emit()
	return bodies, rows, err
}

// flush times FLUSH TABLE of the loaded flights, then DuckDB's COPY of the same rows from memory.
func (b *bench) flush(ctx context.Context) error {
	began := time.Now()
	results, err := b.server.SQL(ctx, `FLUSH TABLE bench.flights`)
	if err != nil {
		return err
	}
	job := strings.Trim(string(results[0].Rows[0][0]), `"`)
	for {
		results, err := b.server.SQL(ctx, `SELECT state, error FROM system.jobs WHERE id = $1`, job)
		if err != nil {
			return err
		}
		if state := string(results[0].Rows[0][0]); state == `"completed"` {
			break
		} else if state == `"failed"` {
			return fmt.Errorf("job %s failed: %s", job, results[0].Rows[0][1])
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(began)
	b.report("flush rows/s", float64(b.flights)/took.Seconds(), "%.0f", float64(b.flights)/took.Seconds())
	return b.duckCopy(ctx)
}

func (b *bench) duckCopy(ctx context.Context) error {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer db.Close()
	files, err := b.files(ctx)
	if err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE flights AS SELECT * FROM read_parquet(`+files+`)`); err != nil {
		return err
	}
	began := time.Now()
	if _, err := db.ExecContext(ctx, fmt.Sprintf(`COPY flights TO '%s' (FORMAT parquet, COMPRESSION zstd)`, filepath.Join(b.dir, "copy.parquet"))); err != nil {
		return err
	}
	rate := float64(b.flights) / time.Since(began).Seconds()
	b.report("DuckDB COPY TO PARQUET rows/s", rate, "%.0f", rate)
	b.ratio("flush over COPY", "flush rows/s", "DuckDB COPY TO PARQUET rows/s", "at least 0.5")
	return nil
}

// files is DuckDB's list of the flights' data files.
func (b *bench) files(ctx context.Context) (string, error) {
	results, err := b.server.SQL(ctx, `SELECT f.path FROM system.data_files f JOIN system.tables t ON t.id = f.table_id WHERE t.namespace = 'bench' AND t.name = 'flights'`)
	if err != nil {
		return "", err
	}
	var list []string
	for _, r := range results[0].Rows {
		var path string
		if err := json.Unmarshal(r[0], &path); err != nil {
			return "", err
		}
		list = append(list, "'"+filepath.Join(b.dir, "data", path)+"'")
	}
	return "[" + strings.Join(list, ", ") + "]", nil
}

// scan times a GROUP BY over the flushed flights, then over flights with 5 % updated since, beside DuckDB on the same files.
func (b *bench) scan(ctx context.Context) error {
	const query = `SELECT origin, count(*), avg(delay) FROM %s GROUP BY origin ORDER BY origin`
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer db.Close()
	files, err := b.files(ctx)
	if err != nil {
		return err
	}
	peer := func(int, int) error {
		rows, err := db.QueryContext(ctx, fmt.Sprintf(query, "read_parquet("+files+")"))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var origin string
			var n, avg any
			if err := rows.Scan(&origin, &n, &avg); err != nil {
				return err
			}
		}
		return rows.Err()
	}
	ours := func(int, int) error { return b.sql(ctx, fmt.Sprintf(query, "bench.flights")) }
	if err := b.scanPair(ctx, "flights GROUP BY", ours, peer); err != nil {
		return err
	}
	b.ratio("GROUP BY over DuckDB", "flights GROUP BY p50 ms", "flights GROUP BY, DuckDB p50 ms", "at most 1.15")
	if err := b.sql(ctx, `UPDATE bench.flights SET delay = delay + 1 WHERE id % 20 = 0`); err != nil {
		return err
	}
	if err := b.scanPair(ctx, "GROUP BY, 5 % updated", ours, peer); err != nil {
		return err
	}
	b.ratio("GROUP BY with 5 % updated over DuckDB", "GROUP BY, 5 % updated p50 ms", "GROUP BY, 5 % updated, DuckDB p50 ms", "at most 1.6")
	return nil
}

func (b *bench) scanPair(ctx context.Context, what string, ours, peer func(int, int) error) error {
	for _, side := range []struct {
		name string
		work func(int, int) error
	}{{what, ours}, {what + ", DuckDB", peer}} {
		t, err := closedLoop(ctx, 1, b.each/2, side.work)
		if err != nil {
			return err
		}
		b.report(side.name+" p50 ms", t.at(.5), "%.1f", t.at(.5))
	}
	return nil
}
