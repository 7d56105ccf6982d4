package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/config"
	"kalamlog.dev/kalam/materializer/storage/redis/redistest"
)

// TestBackendsServe writes, restarts and verifies with each backend.
func TestBackendsServe(t *testing.T) {
	for _, backend := range []string{config.BackendPebble, config.BackendBbolt, config.BackendRedis} {
		t.Run(backend, func(t *testing.T) {
			c := testConfig(filepath.Join(t.TempDir(), "data"))
			c.Storage.Backend = backend
			if backend == config.BackendRedis {
				c.Storage.Redis = redistest.Start(t, redistest.Durable...).URL()
			}
			s := start(t, c)
			s.sql(`CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT); INSERT INTO items VALUES (1, 'one'), (2, 'two'); UPDATE items SET name = 'new' WHERE id = 2`)
			s.stop()
			var out bytes.Buffer
			cmd := verifyCommand()
			cmd.SetOut(&out)
			if err := verify(t.Context(), cmd, c); err != nil || !strings.Contains(out.String(), " 0 differences") {
				t.Errorf("verify: %v\n%s", err, out.String())
			}
			s = start(t, c)
			if got := s.sql(`SELECT id, name FROM items ORDER BY id`, "--format", "csv"); got != "id,name\r\n1,one\r\n2,new\r\n" {
				t.Errorf("after the restart: %q", got)
			}
			s.stop()
		})
	}
}

// TestBackendIsKept: a data directory is not opened with another backend than it was made with, nor one that Pebble made before backends were noted.
func TestBackendIsKept(t *testing.T) {
	for _, tt := range []struct{ made, other string }{{config.BackendBbolt, config.BackendPebble}, {config.BackendPebble, config.BackendBbolt}} {
		c := testConfig(t.TempDir())
		c.Storage.Backend = tt.made
		start(t, c).stop()
		if tt.made == config.BackendPebble {
			if err := os.Remove(filepath.Join(c.Server.Data, stateFolder, backendName)); err != nil {
				t.Fatal(err)
			}
		}
		c.Storage.Backend = tt.other
		err := serve(t.Context(), c, io.Discard, nil)
		if err == nil || !strings.Contains(err.Error(), `made with storage.backend = "`+tt.made+`"`) {
			t.Errorf("made with %s, opened with %s: %v", tt.made, tt.other, err)
		}
		c.Storage.Backend = tt.made
		start(t, c).stop()
	}
}

// TestRedisThatCannotBeUsed fails the start, with the reason.
func TestRedisThatCannotBeUsed(t *testing.T) {
	forgets := redistest.Start(t, "--appendonly", "no")
	for address, reason := range map[string]string{
		"redis://127.0.0.1:1": "connection refused",
		forgets.URL():         "set appendonly yes",
	} {
		c := testConfig(t.TempDir())
		c.Storage.Backend, c.Storage.Redis = config.BackendRedis, address
		if err := serve(t.Context(), c, io.Discard, nil); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v, want %q", address, err, reason)
		}
	}
}

// TestRedisGoesAway: the server acknowledges nothing more and ends, with the reason.
func TestRedisGoesAway(t *testing.T) {
	redis := redistest.Start(t, redistest.Durable...)
	c := testConfig(t.TempDir())
	c.Storage.Backend, c.Storage.Redis = config.BackendRedis, redis.URL()
	s := start(t, c)
	s.sql(`CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT); INSERT INTO items VALUES (1, 'one')`)
	redis.Kill()
	if out, errs, code := command(t, "", "sql", "--url", s.url, "-c", "INSERT INTO items VALUES (2, 'two')"); code == 0 {
		t.Errorf("a write was acknowledged: %s%s", out, errs)
	}
	select {
	case err := <-s.done:
		if err == nil || !strings.Contains(err.Error(), "the log failed") || !strings.Contains(err.Error(), "connect") {
			t.Errorf("the server ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the server goes on\n%s", s.output)
	}
	redis.Restart()
	s = start(t, c)
	if got := s.sql(`SELECT id FROM items WHERE id = 1`, "--format", "csv"); got != "id\r\n1\r\n" {
		t.Errorf("after the restart: %q", got)
	}
	s.stop()
}
