// Command kalam is the server and its tools in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// errSilent ends a command that has told its failure already.
var errSilent = errors.New("failed")

// run executes one command line and returns the exit code: 0, or 1 for any failure.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errSilent) {
		fmt.Fprintln(stderr, "kalam:", err)
	}
	return 1
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "kalam",
		Short:         "An event-sourced streaming database",
		Long:          "Kalam keeps tables, live queries, topics and Parquet files that are all read from one log.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serveCommand(), sqlCommand(), verifyCommand(), clusterCommand(), healthCommand(), configCommand(), versionCommand())
	return root
}
