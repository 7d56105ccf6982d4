package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"kalamlog.dev/kalam/api/wire"
)

// sqlOptions are the flags of kalam sql.
type sqlOptions struct {
	command   string
	format    string
	params    []string
	namespace string
	atLeast   string
	key       string
	atomic    bool
}

func sqlCommand() *cobra.Command {
	o := &sqlOptions{}
	cmd := &cobra.Command{
		Use:   "sql",
		Short: "Run statements on a server",
		Long:  "Runs the statements of -c, or of standard input, and prints what they give. The exit code is 1 if one failed.",
		Example: `  kalam sql -c "SELECT 1; SELECT 2"
  kalam sql -c 'SELECT * FROM app.messages WHERE id = $1' --param 7 --format json < /dev/null
  kalam sql < schema.sql`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	addURLFlag(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.command, "command", "c", "", "statements separated by semicolons; default: standard input")
	f.StringVar(&o.format, "format", "table", "table, json (the reply as it is) or csv (of one statement)")
	f.StringArrayVar(&o.params, "param", nil, "value of $1, then of $2, ...: JSON, or else text")
	f.StringVar(&o.namespace, "namespace", "", `of unqualified table names (default "default")`)
	f.StringVar(&o.atLeast, "at-least", "", "position that reads must include")
	f.BoolVar(&o.atomic, "atomic", true, "--atomic=false: an UPDATE or DELETE of more rows than are written at once takes several steps")
	f.StringVar(&o.key, "idempotency-key", "", "a repeated run with the same key is applied once")
	return cmd
}

func (o *sqlOptions) run(cmd *cobra.Command) error {
	accept := map[string]string{"table": "application/json", "json": "application/json", "csv": "text/csv"}[o.format]
	if accept == "" {
		return fmt.Errorf("unknown format %q: want table, json or csv", o.format)
	}
	sql := o.command
	if !cmd.Flags().Changed("command") {
		raw, err := io.ReadAll(cmd.InOrStdin())
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
		sql = string(raw)
	}
	reply, err := o.post(cmd, accept, sql)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if o.format == "csv" && reply.StatusCode == http.StatusOK {
		if _, err := io.Copy(cmd.OutOrStdout(), reply.Body); err != nil {
			return fmt.Errorf("the result broke off: %w", err)
		}
		return nil
	}
	return o.print(cmd, reply.Body)
}

func (o *sqlOptions) post(cmd *cobra.Command, accept, sql string) (*http.Response, error) {
	body, err := json.Marshal(wire.SQLRequest{SQL: sql, Params: jsonParams(o.params), AtLeast: o.atLeast, Namespace: o.namespace, Atomic: &o.atomic})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, serverURL(cmd)+"/v1/sql", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", accept)
	if o.key != "" {
		req.Header.Set("Idempotency-Key", o.key)
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	return reply, nil
}

// jsonParams takes each parameter for JSON if it is, for text otherwise.
func jsonParams(params []string) []json.RawMessage {
	var out []json.RawMessage
	for _, p := range params {
		raw := json.RawMessage(p)
		if !json.Valid(raw) {
			raw, _ = json.Marshal(p)
		}
		out = append(out, raw)
	}
	return out
}

// print shows a JSON reply: what was done on standard output, what failed on standard error.
func (o *sqlOptions) print(cmd *cobra.Command, in io.Reader) error {
	raw, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("the reply broke off: %w", err)
	}
	var reply wire.SQLReply
	if err := json.Unmarshal(raw, &reply); err != nil {
		return fmt.Errorf("the reply is no result, is this a Kalam server? %w", err)
	}
	out := cmd.OutOrStdout()
	if o.format == "json" {
		if _, err := out.Write(raw); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	} else {
		for i := range reply.Results {
			printResult(out, &reply.Results[i])
		}
	}
	if reply.Error == nil {
		return nil
	}
	printError(cmd.ErrOrStderr(), reply.Error)
	return errSilent
}

func printResult(out io.Writer, r *wire.Result) {
	if len(r.Columns) > 0 {
		fmt.Fprintln(out, tableOf(r))
	}
	unit := "rows"
	if r.RowCount == 1 {
		unit = "row"
	}
	fmt.Fprintf(out, "(%d %s", r.RowCount, unit)
	if r.Position != "" {
		fmt.Fprintf(out, ", position %s", r.Position)
	}
	fmt.Fprintln(out, ")")
}

// tableOf draws a result's rows; numbers are aligned to the right.
func tableOf(r *wire.Result) string {
	w := table.NewWriter()
	w.SetStyle(table.StyleLight)
	w.Style().Format.Header = text.FormatDefault
	header := make(table.Row, len(r.Columns))
	configs := make([]table.ColumnConfig, len(r.Columns))
	for i, c := range r.Columns {
		header[i] = c.Name
		configs[i] = table.ColumnConfig{Number: i + 1}
		if numericType(c.Type) {
			configs[i].Align = text.AlignRight
		}
	}
	w.SetColumnConfigs(configs)
	w.AppendHeader(header)
	for _, values := range r.Rows {
		row := make(table.Row, len(values))
		for i, v := range values {
			row[i] = cellText(v)
		}
		w.AppendRow(row)
	}
	return w.Render()
}

func numericType(name string) bool {
	base, _, _ := strings.Cut(name, "(")
	switch base {
	case "SMALLINT", "INTEGER", "BIGINT", "REAL", "DOUBLE", "DECIMAL", "HUGEINT":
		return !strings.HasSuffix(name, "[]")
	}
	return false
}

// cellText shows texts without their quotes and NULL as such.
func cellText(v json.RawMessage) string {
	var s string
	switch {
	case string(v) == "null":
		return "NULL"
	case json.Unmarshal(v, &s) == nil:
		return s
	}
	return string(v)
}

func printError(out io.Writer, e *wire.Error) {
	fmt.Fprintf(out, "error: %s [%s, SQLSTATE %s]\n", e.Message, e.Code, e.SQLState)
	var where []string
	if e.Statement > 0 {
		where = append(where, fmt.Sprintf("statement %d", e.Statement))
	}
	if e.Position > 0 {
		where = append(where, fmt.Sprintf("character %d", e.Position))
	}
	if len(where) > 0 {
		fmt.Fprintf(out, "at:    %s\n", strings.Join(where, ", "))
	}
	if e.Hint != "" {
		fmt.Fprintf(out, "hint:  %s\n", e.Hint)
	}
}
