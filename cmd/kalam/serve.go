package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kalamlog.dev/kalam/internal/config"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a server",
		Long: `Runs a server until SIGTERM or SIGINT, then drains and exits with 0; a second signal ends it at once.
When it takes requests it prints one line, "kalam ready http=ADDRESS kafka=ADDRESS", on standard error.

Every setting is a key of the TOML file of --config and an environment variable: "kalam config" lists them.`,
		Args: cobra.NoArgs,
		RunE: runServe,
	}
	addConfigFlags(cmd)
	d := config.Default()
	cmd.Flags().String("http", d.Server.HTTP, "host:port of the HTTP listener, port 0 for any free one")
	cmd.Flags().String("kafka", d.Server.Kafka, "host:port of the Kafka listener, empty for none")
	cmd.Flags().Bool("insecure", false, "listen beyond this machine although there is no authentication")
	return cmd
}

func runServe(cmd *cobra.Command, _ []string) error {
	c, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	if err := dataDir(&c); err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	return serve(cmd.Context(), c, cmd.ErrOrStderr(), signals)
}

// serve runs a server until the first signal or until ctx is done. The error says why it could not go on.
func serve(ctx context.Context, c config.Config, stderr io.Writer, signals <-chan os.Signal) error {
	logger := newLogger(c, stderr)
	logger.Info("starting", "version", version, "data", c.Server.Data)
	if exposed := c.Exposed(); len(exposed) > 0 {
		logger.Warn("INSECURE: everyone who reaches these addresses may read and change everything, there is no authentication",
			"addresses", strings.Join(exposed, ", "))
	}
	began := time.Now()
	ctx, stop := untilSignal(ctx, signals)
	defer stop()
	n, err := openNode(ctx, c, logger)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("stopped while starting")
		}
		return err
	}
	n.serve()
	logger.Info("started", "took", time.Since(began))
	fmt.Fprintf(stderr, "kalam ready http=%s kafka=%s\n", n.listeners.http.Addr(), n.kafkaAddress())
	failed := n.wait(ctx)
	logger.Info("shutting down")
	began = time.Now()
	if err := errors.Join(failed, n.shutdown()); err != nil {
		return err
	}
	logger.Info("stopped", "took", time.Since(began))
	return nil
}

// kafkaAddress is what the ready line says.
func (n *node) kafkaAddress() string {
	if n.listeners.kafka == nil {
		return "off"
	}
	return n.listeners.kafka.Addr().String()
}

// wait returns nil when ctx is done, or why the node cannot go on: its log or a door failed.
func (n *node) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-n.core.log.Failed():
		return fmt.Errorf("the log failed, nothing more can be stored: %w", n.core.log.Err())
	case err := <-n.ended:
		return fmt.Errorf("a listener failed: %w", err)
	}
}

// untilSignal returns a context that the first signal ends. The second one ends the process at once, with the code
// that a shell gives to a process killed by it.
func untilSignal(ctx context.Context, signals <-chan os.Signal) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel()
		case <-done:
			return
		}
		select {
		case s := <-signals:
			os.Exit(exitCode(s))
		case <-done:
		}
	}()
	return ctx, func() {
		cancel()
		close(done)
	}
}

func exitCode(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return 1
}

func newLogger(c config.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
