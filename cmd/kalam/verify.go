package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"kalamlog.dev/kalam/api/cluster"
	"kalamlog.dev/kalam/flusher"
	"kalamlog.dev/kalam/flusher/objstore"
	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/config"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

func verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Fold the log of a stopped server again and compare it with its state",
		Long: `Opens the data directory of a server that does not run, folds every change again from offset 0, Parquet files included,
and compares the result with the rows that the server would serve. The exit code is 1 if anything differs.

A node of a cluster is verified at its last checkpoint: what came later is only in its Raft log, which its peers have to confirm.`,
		Args: cobra.NoArgs,
		RunE: runVerify,
	}
	addConfigFlags(cmd)
	if err := cmd.Flags().Set("log-level", "warn"); err != nil {
		panic(err) // the flag is ours
	}
	return cmd
}

func runVerify(cmd *cobra.Command, _ []string) error {
	c, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	if err := dataDir(&c); err != nil {
		return err
	}
	return verify(cmd.Context(), cmd, c)
}

func verify(ctx context.Context, cmd *cobra.Command, c config.Config) (err error) {
	// Opening would make a data directory, and an empty one has no differences.
	id, err := log.ReadIdentity(c.Server.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is no data directory of Kalam", c.Server.Data)
	}
	if err != nil {
		return fmt.Errorf("read whose data these are: %w", err)
	}
	logger := newLogger(c, cmd.ErrOrStderr())
	others, err := hasOthers(ctx, c, id, logger)
	if err != nil {
		return err
	}
	core, err := openCore(ctx, c, &peers{identity: id, absent: others}, clock.System{}, logger, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, core.close()) }()
	view, err := core.materializer.View()
	if err != nil {
		return fmt.Errorf("open view: %w", err)
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	history := flusher.NewHistory(view, core.log, objstore.NewDir(vfs.Default, c.Server.Data))
	rows, differences, err := materializer.Verify(ctx, view, history, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	for _, d := range differences {
		fmt.Fprintf(cmd.OutOrStdout(), "DIFFERS %s, partition %d, key %x: %s\n", d.Table, d.Partition, d.Key, d.Why)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "verified %d rows at position %s: %d differences\n", rows, view.Position(), len(differences))
	if len(differences) > 0 {
		return errSilent
	}
	return nil
}

// hasOthers reports whether the node is one of several, as of its last checkpoint: it may have begun alone.
func hasOthers(ctx context.Context, c config.Config, id log.Identity, logger *slog.Logger) (others bool, err error) {
	core, err := openCore(ctx, c, &peers{identity: id, absent: true}, clock.System{}, logger, nil)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, core.close()) }()
	nodes, err := cluster.Nodes(core.materializer)
	for _, n := range nodes {
		others = others || n.ID != id.Node
	}
	return others, err
}
