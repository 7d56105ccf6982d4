package api

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// The benchmarks call the handler without a connection: what they show comes on top of net/http's own cost.

func benchmarkHandler(b *testing.B, next func(i int) *http.Request) {
	b.Helper()
	s := newItems(b, Limits{})
	s.write(itemsPath, `{"id":1,"name":"a"}`)
	b.ReportAllocs()
	i := 1
	for b.Loop() {
		i++
		w := httptest.NewRecorder()
		s.server.ServeHTTP(w, next(i))
		if w.Code != http.StatusOK {
			b.Fatalf("status %d, %s", w.Code, w.Body)
		}
	}
}

func BenchmarkHealth(b *testing.B) {
	benchmarkHandler(b, func(int) *http.Request { return httptest.NewRequest(http.MethodGet, "/health", http.NoBody) })
}

func BenchmarkKeyRead(b *testing.B) {
	benchmarkHandler(b, func(int) *http.Request { return httptest.NewRequest(http.MethodGet, itemsPath+"/1", http.NoBody) })
}

func BenchmarkOneRowWrite(b *testing.B) {
	benchmarkHandler(b, func(i int) *http.Request {
		return httptest.NewRequest(http.MethodPost, itemsPath, strings.NewReader(`{"id":`+strconv.Itoa(i)+`,"name":"a"}`))
	})
}

func BenchmarkSQLKeyRead(b *testing.B) {
	benchmarkHandler(b, func(int) *http.Request {
		return httptest.NewRequest(http.MethodPost, "/v1/sql", strings.NewReader(`{"sql":"SELECT * FROM app.items WHERE id = $1","params":[1]}`))
	})
}
