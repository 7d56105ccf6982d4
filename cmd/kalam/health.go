package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kalamlog.dev/kalam/internal/config"
)

// addURLFlag gives a client command the address of its server.
func addURLFlag(cmd *cobra.Command) {
	url := os.Getenv(config.EnvURL)
	if url == "" {
		url = "http://" + config.Default().Server.HTTP
	}
	cmd.Flags().String("url", url, "where the server listens (or "+config.EnvURL+")")
}

func serverURL(cmd *cobra.Command) string {
	url := strings.TrimRight(cmd.Flag("url").Value.String(), "/")
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	return url
}

// healthTimeout bounds a health check.
const healthTimeout = 5 * time.Second

func healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a server whether it takes requests; exit code 1 if not",
		Long:  "Asks GET /health, or GET /ready with --ready. Containers without a shell use it as their health check.",
		Args:  cobra.NoArgs,
		RunE:  checkHealth,
	}
	addURLFlag(cmd)
	cmd.Flags().Bool("ready", false, "ask whether reads are up to date as well")
	return cmd
}

func checkHealth(cmd *cobra.Command, _ []string) error {
	path := "/health"
	if ready, err := cmd.Flags().GetBool("ready"); err != nil {
		return err
	} else if ready {
		path = "/ready"
	}
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, serverURL(cmd)+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	client := http.Client{Timeout: healthTimeout}
	reply, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(io.LimitReader(reply.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("read health: %w", err)
	}
	fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(string(body)))
	if reply.StatusCode != http.StatusOK {
		return errSilent
	}
	return nil
}
