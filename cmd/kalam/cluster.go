package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"kalamlog.dev/kalam/api/wire"
)

func clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Show and change the nodes of a cluster",
		Long:  "Asks any node that runs, the one of --url. Every change prints the status after it; --json prints the reply as it is.",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(
		clusterVerb("status", "List the nodes: who leads, who answers, up to where each has applied", 0, nil),
		clusterVerb("add NODE=HOST:PORT", "Add a node by the address of its cluster.raft; it votes when it has caught up", 1, addedNode),
		clusterVerb("remove NODE", "Take a node out for good; its process ends", 1, namedNode),
		clusterVerb("replace NODE", "Give a node whose data are lost or damaged a new life: empty its data directory, run this, start it", 1, namedNode),
		clusterVerb("transfer NODE", "Make a node the leader", 1, namedNode),
	)
	return cmd
}

// clusterVerb makes a subcommand; change reads its argument, nil for the status.
func clusterVerb(use, short string, args int, change func(string) (wire.ClusterChange, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(args)}
	verb := cmd.Name()
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if change == nil {
			return askCluster(cmd, http.MethodGet, "", nil)
		}
		q, err := change(args[0])
		if err != nil {
			return err
		}
		body, err := json.Marshal(q)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		return askCluster(cmd, http.MethodPost, "/"+verb, body)
	}
	addURLFlag(cmd)
	cmd.Flags().Bool("json", false, "print the reply as it is")
	return cmd
}

func namedNode(arg string) (wire.ClusterChange, error) {
	node, err := strconv.ParseUint(arg, 10, 64)
	if err != nil {
		return wire.ClusterChange{}, fmt.Errorf("%q is no node: want its number", arg)
	}
	return wire.ClusterChange{Node: node}, nil
}

func addedNode(arg string) (wire.ClusterChange, error) {
	number, address, ok := strings.Cut(arg, "=")
	q, err := namedNode(number)
	if err != nil || !ok {
		return q, fmt.Errorf("%q is no node with its address: want NODE=HOST:PORT such as 4=10.0.0.4:2901", arg)
	}
	q.Address = address
	return q, nil
}

// askCluster sends a request and prints the status that answers it.
func askCluster(cmd *cobra.Command, method, path string, body []byte) error {
	req, err := http.NewRequestWithContext(cmd.Context(), method, serverURL(cmd)+"/v1/cluster"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	defer reply.Body.Close()
	raw, err := io.ReadAll(reply.Body)
	if err != nil {
		return fmt.Errorf("read reply: %w", err)
	}
	if plain, err := cmd.Flags().GetBool("json"); err != nil {
		return err
	} else if plain {
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n", bytes.TrimSpace(raw))
		if reply.StatusCode != http.StatusOK {
			return errSilent
		}
		return nil
	}
	return printCluster(cmd.OutOrStdout(), reply.StatusCode, raw)
}

func printCluster(w io.Writer, status int, raw []byte) error {
	if status != http.StatusOK {
		var refused wire.ErrorReply
		if err := json.Unmarshal(raw, &refused); err != nil || refused.Error.Message == "" {
			return fmt.Errorf("the server answers %d: %s", status, bytes.TrimSpace(raw))
		}
		return fmt.Errorf("%s: %s", refused.Error.Message, refused.Error.Hint)
	}
	var s wire.ClusterStatus
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("decode reply: %w", err)
	}
	fmt.Fprintf(w, "cluster %s, term %d, seen from node %d\n", s.Cluster, s.Term, s.Node)
	if s.Problem != "" {
		fmt.Fprintf(w, "PROBLEM %s\n", s.Problem)
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatLower
	t.AppendHeader(table.Row{"node", "replica", "role", "up", "position", "raft", "http", "kafka", "version", "problem"})
	for _, n := range s.Nodes {
		trouble := n.Problem
		if n.DiskFull {
			trouble = "disk full"
		}
		t.AppendRow(table.Row{n.Node, n.Replica, n.Role, n.Up, n.Position, n.Raft, n.HTTP, n.Kafka, n.Version, trouble})
	}
	t.Render()
	return nil
}
