// Command bench measures Kalam's paths from outside, each beside the limit or the peer it is compared with, in one run on one
// machine. Figures on a shared machine drift: read the ratios. docs/benchmarks.md keeps and explains a run.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"kalamlog.dev/kalam/internal/dataset"
	"kalamlog.dev/kalam/internal/process"
)

func main() {
	binary := flag.String("binary", "bin/kalam", "the kalam binary to measure")
	data := flag.String("dataset", "", "directory with the data files of vega-datasets")
	flights := flag.Int("flights", 1_000_000, "how many flights to load")
	each := flag.Duration("each", 4*time.Second, "how long each closed loop runs")
	only := flag.String("only", "", "comma-separated names of the measurements to run; default all")
	dir := flag.String("dir", "", "where to put data directories; default the temp folder")
	empty := flag.Bool("serve-empty", false, "internal: serve an empty HTTP handler")
	flag.Parse()
	if *empty {
		exitOn(serveEmpty(os.Stdout))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{binary: *binary, set: dataset.Open(*data), flights: *flights, each: *each, out: os.Stdout, parent: *dir}
	exitOn(b.run(ctx, *only))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run. Measurements leave figures behind that later ones take ratios of.
type bench struct {
	binary  string
	set     dataset.Set
	flights int
	each    time.Duration
	out     io.Writer
	parent  string // of dir
	dir     string

	server  *process.Server
	figures map[string]float64
}

type measurement struct {
	name string
	run  func(context.Context) error
}

func (b *bench) measurements() []measurement {
	return []measurement{
		{"disk", b.disk},
		{"raft", b.raft},
		{"empty", b.emptyHandler},
		{"writes", b.writes},
		{"reads", b.keyReads},
		{"subscribe", b.subscribe},
		{"bulk", b.bulk},
		{"postgres", b.postgres},
		{"flush", b.flush},
		{"scan", b.scan},
		{"cluster", b.cluster},
		{"failover", b.failover},
		{"restart", b.restart},
		{"idle", b.idle},
	}
}

func (b *bench) run(ctx context.Context, only string) (err error) {
	if b.dir, err = os.MkdirTemp(b.parent, "kalam-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.figures = map[string]float64{}
	fmt.Fprintf(b.out, "%s, %d cores, %s/%s, %s\n", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	startCtx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	b.server, err = process.Start(startCtx, process.Options{
		Binary: b.binary, Data: filepath.Join(b.dir, "data"), Env: whenTold,
	})
	if err != nil {
		return err
	}
	defer b.server.Kill()
	chosen := strings.Split(only, ",")
	for _, m := range b.measurements() {
		if only != "" && !slices.Contains(chosen, m.name) {
			continue
		}
		fmt.Fprintf(b.out, "\n%s\n", m.name)
		if err := m.run(ctx); err != nil {
			return fmt.Errorf("%s: %w\n%s", m.name, err, b.server.Output())
		}
	}
	return nil
}

// report prints one line and keeps its figure under the name.
func (b *bench) report(name string, figure float64, format string, args ...any) {
	b.figures[name] = figure
	fmt.Fprintf(b.out, "  %-44s %s\n", name, fmt.Sprintf(format, args...))
}

// ratio prints figure a over figure b beside the budget, if both were measured.
func (b *bench) ratio(what, over, under, budget string) {
	x, okX := b.figures[over]
	y, okY := b.figures[under]
	if okX && okY && y != 0 {
		fmt.Fprintf(b.out, "  -> %-41s %.2f   (budget: %s)\n", what, x/y, budget)
	}
}

func cpuModel() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
