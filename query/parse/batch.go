package parse

import (
	"errors"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"github.com/pganalyze/pg_query_go/v6/parser"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query/expr"
)

// Batch splits and parses a batch of statements. A *problem.Error SyntaxError carries the 1-based character position
// in its statement and the statement's number.
func Batch(sql string) ([]Parsed, error) {
	pieces, err := Split(sql)
	if err != nil {
		return nil, err
	}
	out := make([]Parsed, 0, len(pieces))
	for i, p := range pieces {
		s, err := One(p)
		if err != nil {
			return nil, InStatement(p.Place(err), i+1)
		}
		out = append(out, s)
	}
	return out, nil
}

// One parses one statement of a batch. Positions in its errors are in the piece's Text.
func One(p Piece) (Parsed, error) {
	s, err := parseStatement(p)
	return Parsed{Statement: s, Text: p.text, Offset: p.offset, Params: p.params}, err
}

// Expr parses one expression.
func Expr(sql string) (expr.Node, error) {
	const before = "SELECT "
	if err := checkText(sql); err != nil {
		return nil, err
	}
	pieces, err := split(before + sql)
	if err != nil {
		return nil, shift(err, len(before))
	}
	if len(pieces) != 1 {
		return nil, problem.New(problem.SyntaxError, "expected one expression")
	}
	n, err := parseExpr(pieces[0])
	return n, shift(pieces[0].Place(err), len(before))
}

func parseExpr(p Piece) (expr.Node, error) {
	stmt, err := parsePG(p)
	if err != nil {
		return nil, err
	}
	s := stmt.GetSelectStmt()
	if s == nil || len(s.TargetList) != 1 || !plainSelect(s) || len(s.FromClause) > 0 || s.WhereClause != nil ||
		s.LimitCount != nil || len(s.SortClause) > 0 || s.TargetList[0].GetResTarget().GetName() != "" {
		return nil, problem.New(problem.SyntaxError, "expected one expression")
	}
	t := translator{Piece: p}
	return t.node(s.TargetList[0].GetResTarget().GetVal())
}

// shift moves an error's position to the left.
func shift(err error, by int) error {
	p := problem.As(err)
	if p == nil || p.Position == 0 {
		return err
	}
	return p.At(max(1, p.Position-by))
}

// checkText refuses text that the parsers would read differently from each other: they take C strings in UTF-8.
func checkText(sql string) error {
	if i := strings.IndexByte(sql, 0); i >= 0 {
		return problem.New(problem.SyntaxError, "the text contains a NUL character").At(charPosition(sql, i))
	}
	if valid := strings.ToValidUTF8(sql, ""); valid != sql {
		return problem.New(problem.SyntaxError, "the text is not valid UTF-8")
	}
	return nil
}

// parseStatement dispatches on a statement's first word.
func parseStatement(p Piece) (Statement, error) {
	l := &lexer{src: p.text}
	first, err := l.next()
	if err != nil {
		return nil, l.lexProblem(err, 0)
	}
	switch word := first.word(); {
	case first.kind == tokenWord && isNative(word):
		return parseNative(p, l, word)
	case first.isSymbol("("), slices.Contains(queryWords(), word):
		return parseSelect(p), nil
	case slices.Contains(refusedWords(), word):
		return nil, problem.New(problem.Unsupported, "%s is not supported", strings.ToUpper(word)).At(1)
	}
	stmt, err := parsePG(p)
	if err != nil {
		return nil, err
	}
	t := translator{Piece: p}
	return t.statement(stmt)
}

// queryWords are the first words of queries, which DuckDB's parser judges.
func queryWords() []string {
	return []string{"select", "with", "from", "values", "table", "pivot", "unpivot", "summarize"}
}

// refusedWords are the first words of statements of DuckDB's that pg_query does not know, or knows otherwise.
func refusedWords() []string {
	return []string{
		"attach", "detach", "install", "load", "pragma", "set", "reset", "use", "export", "import", "copy", "call",
		"checkpoint", "force", "vacuum", "analyze", "prepare", "execute", "deallocate", "merge", "comment", "begin",
		"start", "commit", "end", "rollback", "abort", "savepoint", "release", "alter", "truncate", "grant", "revoke",
		"lock", "listen", "notify", "do", "cluster", "reindex", "refresh",
	}
}

// parsePG parses one statement with PostgreSQL's grammar. The operator // has the precedence of / in DuckDB but not
// in PostgreSQL: it is read as %, and the translator turns it back.
func parsePG(p Piece) (*pg.Node, error) {
	tree, err := pg.Parse(p.pgText())
	if err != nil {
		return nil, pgProblem(p, err)
	}
	if len(tree.Stmts) != 1 {
		return nil, problem.New(problem.SyntaxError, "expected one statement")
	}
	return tree.Stmts[0].Stmt, nil
}

func (p Piece) pgText() string {
	if len(p.floors) == 0 {
		return p.text
	}
	b := []byte(p.text)
	for _, at := range p.floors {
		b[at], b[at+1] = '%', ' '
	}
	return string(b)
}

func pgProblem(p Piece, err error) error {
	var e *parser.Error
	if !errors.As(err, &e) {
		return problem.New(problem.Unsupported, "statement is too deeply nested or too long").Because(err)
	}
	position := e.Cursorpos
	if position <= 0 || strings.Contains(e.Message, "end of input") {
		position = charPosition(p.text, len(p.text))
	}
	return problem.New(problem.SyntaxError, "%s", e.Message).At(position)
}
