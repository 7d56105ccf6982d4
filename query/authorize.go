package query

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/parse"
)

// reference is one place where a query names a table.
type reference struct {
	schema, table string // as DuckDB's parser read them
	alias         string
	at            int // byte in the text, -1 if unknown
	cte           bool
}

// star is one * of a select list, with the tables that it may show directly.
type star struct {
	at      int
	tables  []*reference
	exclude []string // already excluded by the user
	columns bool     // COLUMNS(...)
}

// columnName is one place where a query names a column.
type columnName struct {
	names []string
	at    int
}

// shape is what authorisation needs to know of a query. It comes from DuckDB's own syntax tree, so that nothing can
// hide from it what DuckDB would run.
type shape struct {
	text       string
	references []*reference
	stars      []*star
	columns    []columnName
	natural    bool
}

// syntaxTree is DuckDB's answer to json_serialize_sql.
type syntaxTree struct {
	Error      bool              `json:"error"`
	Type       string            `json:"error_type"`
	Message    string            `json:"error_message"`
	Position   string            `json:"position"`
	Statements []json.RawMessage `json:"statements"`
}

// shapeOf has DuckDB parse a query and collects what it names. A query that is not a SELECT, or uses what no caller may
// use, is refused.
func (r *reader) shapeOf(ctx context.Context, text string) (*shape, error) {
	raw, err := r.db.SyntaxTree(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("parse query: %w", err)
	}
	var tree syntaxTree
	if err := json.Unmarshal([]byte(raw), &tree); err != nil {
		return nil, fmt.Errorf("decode syntax tree: %w", err)
	}
	if tree.Error {
		return nil, tree.problem(text)
	}
	if len(tree.Statements) != 1 {
		return nil, problem.New(problem.SyntaxError, "expected one statement")
	}
	var root any
	if err := json.Unmarshal(tree.Statements[0], &root); err != nil {
		return nil, fmt.Errorf("decode syntax tree: %w", err)
	}
	w := &walker{shape: &shape{text: text}}
	w.walk(root, scope{})
	return w.shape, w.err
}

func (t *syntaxTree) problem(text string) error {
	if t.Type != "parser" && t.Type != "syntax" {
		return problem.New(problem.Unsupported, "only queries are supported here: %s", t.Message).At(1)
	}
	at, err := strconv.Atoi(t.Position)
	if err != nil {
		at = len(text)
	}
	return problem.New(problem.SyntaxError, "%s", t.Message).At(parse.CharPosition(text, at))
}

// scope holds the names of the common table expressions that a part of a query sees.
type scope struct {
	names  map[string]bool
	direct *[]*reference // tables of the FROM clause that stars of this select list show
}

func (s scope) with(name string) scope {
	names := map[string]bool{strings.ToLower(name): true}
	for n := range s.names {
		names[n] = true
	}
	return scope{names: names, direct: s.direct}
}

// walker visits a syntax tree. The first error sticks.
type walker struct {
	*shape
	err error
}

func (w *walker) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *walker) walk(node any, in scope) {
	switch n := node.(type) {
	case []any:
		for _, child := range n {
			w.walk(child, in)
		}
	case map[string]any:
		w.object(n, in)
	}
}

func (w *walker) object(n map[string]any, in scope) {
	if ctes, ok := n["cte_map"].(map[string]any); ok {
		in = w.commonTables(ctes, in)
	}
	kind, _ := n["type"].(string)
	switch class, _ := n["class"].(string); {
	case kind == "SELECT_NODE":
		w.selectNode(n, in)
		return
	case kind == "BASE_TABLE":
		w.baseTable(n, in)
	case kind == "TABLE_FUNCTION":
		w.tableFunction(n)
	case kind == "SUBQUERY" || class == "SUBQUERY" || kind == "SHOW_REF":
		in.direct = nil
	case kind == "JOIN" && n["ref_type"] == "NATURAL":
		w.natural = true
	case class == "FUNCTION":
		w.scalarFunction(n)
	case class == "COLUMN_REF":
		w.columns = append(w.columns, columnName{names: texts(n["column_names"]), at: place(n)})
	case class == "STAR":
		w.star(n, in)
	}
	w.children(n, in)
}

// children visits an object's members in a fixed order.
func (w *walker) children(n map[string]any, in scope) {
	keys := make([]string, 0, len(n))
	for k := range n {
		if k != "cte_map" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		w.walk(n[k], in)
	}
}

// selectNode visits FROM before the select list, whose stars show what is in it.
func (w *walker) selectNode(n map[string]any, in scope) {
	var direct []*reference
	in.direct = &direct
	w.walk(n["from_table"], in)
	rest := make(map[string]any, len(n))
	for k, v := range n {
		if k != "from_table" {
			rest[k] = v
		}
	}
	w.children(rest, in)
}

// commonTables visits the WITH clause of a node: each entry sees those before it, and itself if it is recursive.
func (w *walker) commonTables(ctes map[string]any, in scope) scope {
	entries, _ := ctes["map"].([]any)
	for _, e := range entries {
		entry, _ := e.(map[string]any)
		name, _ := entry["key"].(string)
		value, _ := entry["value"].(map[string]any)
		inner := scope{names: in.names}
		if isRecursive(value) {
			inner = inner.with(name)
		}
		w.walk(value, inner)
		in = in.with(name)
	}
	return in
}

func isRecursive(cte map[string]any) bool {
	query, _ := cte["query"].(map[string]any)
	node, _ := query["node"].(map[string]any)
	return node["type"] == "RECURSIVE_CTE_NODE"
}

func (w *walker) baseTable(n map[string]any, in scope) {
	r := &reference{at: place(n)}
	r.schema, _ = n["schema_name"].(string)
	r.table, _ = n["table_name"].(string)
	r.alias, _ = n["alias"].(string)
	catalog, _ := n["catalog_name"].(string)
	if n["at_clause"] != nil {
		w.fail(problem.New(problem.Unsupported, "AT is not supported").At(w.position(r.at)))
	}
	r.cte = r.schema == "" && catalog == "" && in.names[strings.ToLower(r.table)]
	if catalog != "" {
		w.fail(problem.New(problem.UnknownTable, "table %s.%s.%s does not exist", catalog, r.schema, r.table).
			WithHint("a table name has at most two parts").At(w.position(r.at)))
	}
	w.references = append(w.references, r)
	if in.direct != nil && !r.cte {
		*in.direct = append(*in.direct, r)
	}
}

func (w *walker) star(n map[string]any, in scope) {
	s := &star{at: place(n), exclude: texts(n["exclude_list"])}
	s.columns, _ = n["columns"].(bool)
	if in.direct != nil {
		s.tables = slices.Clone(*in.direct)
	}
	w.stars = append(w.stars, s)
}

func (w *walker) tableFunction(n map[string]any) {
	f, _ := n["function"].(map[string]any)
	name, _ := f["function_name"].(string)
	if slices.Contains(tableFunctions(), strings.ToLower(name)) {
		return
	}
	w.fail(problem.New(problem.Forbidden, "table function %s is not allowed", name).
		WithHint("the table functions are %s", strings.Join(tableFunctions(), ", ")).At(w.position(place(n))))
}

// tableFunctions are the table functions that reach nothing but their arguments.
func tableFunctions() []string {
	return []string{"range", "generate_series", "unnest", "json_each", "json_tree", "repeat", "repeat_row"}
}

// scalarFunction refuses functions that reach the server's settings, files or other sessions' state.
func (w *walker) scalarFunction(n map[string]any) {
	name, _ := n["function_name"].(string)
	folded := strings.ToLower(name)
	forbidden := slices.Contains([]string{
		"getvariable", "getenv", "current_setting", "set_config", "nextval", "currval", "write_log", "current_database",
		"current_schema", "current_schemas", "current_connection_id", "current_query_id", "current_transaction_id",
		"txid_current", "in_search_path", "has_schema_privilege", "query", "query_table", "kalam_live", "read_text", "read_blob",
		"json_execute_serialized_sql", "sql_auto_complete", "parse_duckdb_log_message", "checkpoint", "force_checkpoint",
	}, folded)
	for _, prefix := range []string{"pg_", "duckdb_", "pragma_", "read_", "parquet_", "sniff_", "test_"} {
		forbidden = forbidden || strings.HasPrefix(folded, prefix) && folded != "pg_typeof"
	}
	if forbidden {
		w.fail(problem.New(problem.Forbidden, "function %s is not allowed", name).At(w.position(place(n))))
	}
}

// position turns a byte offset into a character position, 0 if unknown.
func (s *shape) position(at int) int {
	if at < 0 {
		return 0
	}
	return parse.CharPosition(s.text, at)
}

// place reads a node's query_location; DuckDB gives the largest index if it has none.
func place(n map[string]any) int {
	at, ok := n["query_location"].(float64)
	if !ok || at > 1<<40 {
		return -1
	}
	return int(at)
}

func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
