package api

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/internal/problem"
)

// problemCodes reads the codes from the source, so that a new one cannot be forgotten here.
func problemCodes(t *testing.T) []problem.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../internal/problem/problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []problem.Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Code" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, problem.Code(text))
		}
		return true
	})
	return codes
}

func TestEveryCodeIsInTheErrorTable(t *testing.T) {
	t.Parallel()
	codes := problemCodes(t)
	if len(codes) < 30 {
		t.Fatalf("only %d codes found", len(codes))
	}
	state := regexp.MustCompile(`^[0-9A-Z]{5}$`)
	for _, code := range codes {
		c := classOf(code)
		if (c.status == http.StatusInternalServerError) != (code == problem.Internal) {
			t.Errorf("%s has status %d", code, c.status)
		}
		if c.status < 400 || c.status > 599 || !state.MatchString(c.sqlstate) {
			t.Errorf("%s is %+v", code, c)
		}
	}
}

func TestProblemOfAnyError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code problem.Code
	}{
		{errors.New("open /secret/path: permission denied"), problem.Internal},
		{fmt.Errorf("layer: %w", problem.New(problem.NotNull, "x")), problem.NotNull},
		{errors.Join(nil, problem.New(problem.BadJSON, "x")), problem.BadJSON},
		{fmt.Errorf("read: %w", &http.MaxBytesError{Limit: 5}), problem.BodyTooLarge},
		{fmt.Errorf("run: %w", context.Canceled), problem.Cancelled},
		{context.DeadlineExceeded, problem.Timeout},
		{echo.ErrNotFound, problem.NotFound},
		{echo.ErrMethodNotAllowed, problem.MethodNotAllowed},
		{echo.ErrStatusRequestEntityTooLarge, problem.BodyTooLarge},
		{echo.ErrUnsupportedMediaType, problem.BadRequest},
		{echo.ErrInternalServerError, problem.Internal},
	} {
		p := problemOf(c.err)
		if p.Code != c.code {
			t.Errorf("%v is %s, want %s", c.err, p.Code, c.code)
		}
		if c.code == problem.Internal && p.Message != "the server failed" {
			t.Errorf("a fault of the server leaks %q", p.Message)
		}
	}
}
