// Command kalam-chaos runs real servers on hosts and disks that fail, one fault at a time under load, and judges what clients were told:
// nothing acknowledged is lost, nothing is applied twice, every reader sees everything once and in order. It prints a table of faults and exits
// with 1 if a promise was broken. It needs root, iproute2, nftables and /dev/fuse.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"kalamlog.dev/kalam/internal/chaos"
	"kalamlog.dev/kalam/internal/chaos/network"
	"kalamlog.dev/kalam/internal/faultfs"
)

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kalam-chaos:", err)
		code = 1
	}
	os.Exit(code)
}

func run() (code int, err error) {
	o := chaos.Options{Out: os.Stdout}
	flag.StringVar(&o.Binary, "binary", "bin/kalam", "the kalam binary to run")
	flag.IntVar(&o.Nodes, "nodes", 3, "servers")
	flag.Uint64Var(&o.Seed, "seed", 0, "of what is drawn at random; 0: a new one")
	flag.BoolVar(&o.Short, "short", false, "fewer faults, for less time")
	flag.IntVar(&o.Rate, "rate", 300, "operations a second, of all clients together")
	flag.BoolVar(&o.Flush, "flush", true, "move changes to Parquet every few seconds")
	only := flag.String("only", "", "faults to run, separated by commas: "+strings.Join(chaos.Names(), ", "))
	out := flag.String("out", "", "directory for data, logs and histories; default a new one, removed if nothing is violated")
	flag.Parse()
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	if err := errors.Join(network.Missing(), faultfs.Available()); err != nil {
		return 1, err
	}
	if !network.Inside() {
		return network.Enter(os.Args[1:]...)
	}
	return inside(o, *out)
}

// inside does the run in the sandbox.
func inside(o chaos.Options, out string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	fmt.Fprintf(o.Out, "seed %d\n", o.Seed)
	if o.Dir, err = directory(out); err != nil {
		return 1, err
	}
	began := time.Now()
	report, err := chaos.Run(ctx, o)
	if report != nil {
		fmt.Fprintln(o.Out)
		err = errors.Join(err, report.WriteMarkdown(o.Out))
		fmt.Fprintf(o.Out, "\n%d violations, %v\n", report.Violations(), time.Since(began).Round(time.Second))
	}
	if err != nil || report.Violations() > 0 {
		fmt.Fprintf(o.Out, "histories and logs: %s (repeat with SEED=%d)\n", o.Dir, o.Seed)
		return 1, err
	}
	if out == "" {
		return 0, os.RemoveAll(o.Dir)
	}
	return 0, nil
}

func directory(out string) (string, error) {
	if out == "" {
		return os.MkdirTemp("", "kalam-chaos-")
	}
	return out, os.MkdirAll(out, 0o755)
}
