// Command kalam-demo runs Kalam's main job on real data: it starts the server, streams US flights and USGS earthquakes in, follows
// a live query, flushes to Parquet, queries files and tail as one, reads the changes as a Kafka topic, kills the server and
// goes on. It checks every count it prints, and exits with 1 at the first that is off.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"kalamlog.dev/kalam/internal/dataset"
	"kalamlog.dev/kalam/internal/process"
)

func main() {
	binary := flag.String("binary", "bin/kalam", "the kalam binary to run")
	data := flag.String("dataset", "", "directory with the data files of vega-datasets; without it a small excerpt is used")
	flights := flag.Int("flights", 200_000, "how many flights to load")
	verbose := flag.Bool("verbose", false, "show the server's log")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := run(ctx, *binary, dataset.Open(*data), *flights, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "\nthe demo FAILED:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary string, set dataset.Set, flights int, verbose bool) (err error) {
	dir, err := os.MkdirTemp("", "kalam-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	d := &demo{binary: binary, data: filepath.Join(dir, "data"), set: set, flights: flights, out: os.Stdout}
	if verbose {
		d.log = os.Stderr
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	defer func() {
		if d.server != nil {
			d.server.Kill()
		}
	}()
	for _, s := range d.steps() {
		d.say("\n== %s", s.title)
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
	}
	d.say("\nThe demo passed: %d checks.", d.checks)
	return nil
}

// demo is the state that the steps share.
type demo struct {
	binary, data string
	set          dataset.Set
	flights      int
	out          io.Writer
	log          io.Writer // of the server, may be nil

	server *process.Server
	quakes []dataset.Quake
	live   *liveQuery
	checks int
}

type step struct {
	title string
	run   func(context.Context) error
}

func (d *demo) steps() []step {
	return []step{
		{"Tables", d.createTables},
		{"A live query, then earthquakes over HTTP", d.streamQuakes},
		{"Revisions: rows leave and enter the filter", d.reviseQuakes},
		{"Flights: bulk load, flush to sharded Parquet, more flights", d.loadFlights},
		{"One query over Parquet and the unflushed tail", d.analyse},
		{"The same changes as a Kafka topic", d.consume},
		{"SIGKILL, restart, resume", d.crash},
		{"Verify: the log folded again equals the state", d.verify},
	}
}

func (d *demo) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	server, err := process.Start(ctx, process.Options{Binary: d.binary, Data: d.data, Log: d.log})
	if err != nil {
		return err
	}
	d.server = server
	d.say("kalam serve: http on %s, kafka on %s", server.URL, server.Kafka)
	if d.set.Sample() {
		d.say("(the committed excerpt of the data is used)")
	}
	return nil
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// check prints what was counted and fails if it is not what the data says.
func check[T comparable](d *demo, what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	d.checks++
	d.say("   %-58s %v", what, got)
	return nil
}
