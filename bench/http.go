package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// client is the HTTP client of all figures: keep-alive, one connection a worker.
type client struct {
	base string
	http *http.Client
}

func newClient(base string) *client {
	return &client{base: base, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true}}}
}

func (c *client) post(path string, body []byte) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return c.do(req)
}

func (c *client) read(path string) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		return err
	}
	return c.do(req)
}

func (c *client) do(req *http.Request) error {
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", req.URL.Path, res.Status, body)
	}
	return err
}

// row is the JSON of a small row with a key of its own.
func row(worker, i int) []byte {
	return fmt.Appendf(nil, `{"id":%d,"room":"lobby","author":"user-%d","body":"the quick brown fox jumps over the lazy dog"}`, int64(worker)<<40|int64(i), worker)
}

func (b *bench) sql(ctx context.Context, sql string) error {
	_, err := b.server.SQL(ctx, sql)
	return err
}

const messages = ` (id BIGINT PRIMARY KEY, room TEXT NOT NULL, author TEXT, body TEXT)`

// writes times durable one-row inserts.
func (b *bench) writes(ctx context.Context) error {
	if err := b.sql(ctx, `CREATE SCHEMA bench; CREATE TABLE bench.messages`+messages); err != nil {
		return err
	}
	c := newClient(b.server.URL)
	next := make([]int, 64)
	err := b.clients("durable write", func(w, _ int) error {
		next[w]++
		return c.post("/v1/tables/bench/messages/rows", row(w, next[w]))
	})
	if one, ok := b.figures["empty handler POST, 1 clients, p50 ms"]; ok {
		b.figures["write budget"] = one + 1.2*b.figures["raw Raft proposal, 1 clients, p50 ms"]
	}
	b.ratio("write p50 over (empty + 1.2 x Raft)", "durable write, 1 clients, p50 ms", "write budget", "at most 1")
	b.ratio("write rate over empty handler's, 64", "durable write, 64 clients, 1/s", "empty handler POST, 64 clients, 1/s", "at least 0.65")
	return err
}

// keyReads times GET of a row by its key.
func (b *bench) keyReads(ctx context.Context) error {
	const rows = 100_000
	if err := b.sql(ctx, `CREATE SCHEMA IF NOT EXISTS bench; CREATE TABLE bench.lookup`+messages); err != nil {
		return err
	}
	c := newClient(b.server.URL)
	for from := 0; from < rows; from += 10_000 {
		var body bytes.Buffer
		for i := range 10_000 {
			body.Write(row(0, from+i))
			body.WriteByte('\n')
		}
		if err := c.post("/v1/tables/bench/lookup/rows", body.Bytes()); err != nil {
			return err
		}
	}
	err := b.clients("key read", func(w, i int) error {
		return c.read("/v1/tables/bench/lookup/rows/" + strconv.Itoa((w*7919+i*104729)%rows))
	})
	b.ratio("key read p50 over empty handler's", "key read, 1 clients, p50 ms", "empty handler GET, 1 clients, p50 ms", "at most 1.15")
	return err
}

// residentMiB returns what a process has in memory.
func residentMiB(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kib float64
			_, err := fmt.Sscanf(strings.TrimSpace(value), "%f", &kib)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %d", pid)
}
