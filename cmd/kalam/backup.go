package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"kalamlog.dev/kalam/api/backup"
	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/config"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy everything a running server has, at one position, into a directory",
		Long: `Fetches the log, the state and the Parquet files of a running server, as they are at one position, into DIR. The server goes on
meanwhile. An attempt that was cut off, by Ctrl-C too, goes on when the same command is run again. DIR is a backup once it has backup.json;
"kalam restore" makes a server of it.`,
		Args: cobra.ExactArgs(1),
		RunE: runBackup,
	}
	addURLFlag(cmd)
	cmd.AddCommand(&cobra.Command{
		Use:   "verify DIR",
		Short: "Read a backup and compare all of it with its checksums",
		Args:  cobra.ExactArgs(1),
		RunE:  runBackupVerify,
	})
	return cmd
}

// interruptible returns a context that Ctrl-C and SIGTERM end.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
}

func meter(cmd *cobra.Command) *backup.Meter {
	return backup.NewMeter(cmd.ErrOrStderr(), clock.System{})
}

func runBackup(cmd *cobra.Command, args []string) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	client := &backup.Client{URL: serverURL(cmd), HTTP: http.DefaultClient, Out: cmd.ErrOrStderr(), Meter: meter(cmd)}
	b, err := client.Fetch(ctx, args[0])
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "backup of cluster %s at position %s: %d parts in %s\n", b.Cluster, b.Position, len(b.Parts), args[0])
	return nil
}

func runBackupVerify(cmd *cobra.Command, args []string) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	b, err := backup.Verify(ctx, args[0], meter(cmd))
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "the backup of cluster %s at position %s is whole: %d parts\n", b.Cluster, b.Position, len(b.Parts))
	return nil
}

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore DIR",
		Short: "Make a data directory of a backup",
		Long: `Makes --data, which must be empty, the data directory of a node that has what the backup in DIR has. It is the only node of a new
cluster: start it with "kalam serve", then add others with "kalam cluster add". All of the backup is verified before anything is made. What
was written after the backup is gone, and positions from then are refused.`,
		Args: cobra.ExactArgs(1),
		RunE: runRestore,
	}
	addConfigFlags(cmd)
	cmd.Flags().Int("node-id", config.Default().Cluster.NodeID, "number of the node, cluster.node_id of its configuration")
	if err := cmd.Flags().Set("log-level", "warn"); err != nil {
		panic(err) // the flag is ours
	}
	return cmd
}

func runRestore(cmd *cobra.Command, args []string) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	c, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	if err := dataDir(&c); err != nil {
		return err
	}
	logger := newLogger(c, cmd.ErrOrStderr())
	node := log.NodeID(c.Cluster.NodeID)
	done, err := backup.Restore(ctx, args[0], backup.Target{
		Dir:  c.Server.Data,
		Node: node,
		State: materializer.Options{
			Backend: openState(c, log.ReplicaID(node), logger),
			Logger:  logger.With("part", "materializer"),
		},
		SegmentBytes: int64(c.Storage.SegmentBytes),
		Logger:       logger.With("part", "log"),
		Meter:        meter(cmd),
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "restored position %s of cluster %s as node %d of the new cluster %s, which starts at position %s\n",
		done.Backup.Position, done.Backup.Cluster, node, done.Cluster, done.At)
	return nil
}
