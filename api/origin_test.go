package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kalamlog.dev/kalam/internal/problem"
)

func TestOriginGuard(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method, host, origin, site string
		loopbackOnly, refused            bool
	}{
		{"a program", http.MethodPost, "127.0.0.1:2900", "", "", true, false},
		{"a program by name", http.MethodPost, "localhost:2900", "", "", true, false},
		{"IPv6", http.MethodPost, "[::1]:2900", "", "", true, false},
		{"no port", http.MethodGet, "localhost", "", "", true, false},
		{"our own page", http.MethodPost, "127.0.0.1:2900", "http://127.0.0.1:2900", "same-origin", true, false},
		{"a link from elsewhere", http.MethodGet, "127.0.0.1:2900", "", "cross-site", true, false},
		{"another site's page", http.MethodPost, "127.0.0.1:2900", "https://evil.example", "cross-site", true, true},
		{"an old browser", http.MethodPost, "127.0.0.1:2900", "https://evil.example", "", true, true},
		{"DNS rebinding", http.MethodGet, "evil.example:2900", "", "same-origin", true, true},
		{"a name like it", http.MethodGet, "localhost.evil.example", "", "", true, true},
		{"an open server by name", http.MethodPost, "kalam.example:2900", "", "", false, false},
		{"an open server, another site", http.MethodPost, "kalam.example:2900", "https://evil.example", "", false, true},
	} {
		r := httptest.NewRequest(c.method, "/v1/sql", http.NoBody)
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if c.site != "" {
			r.Header.Set("Sec-Fetch-Site", c.site)
		}
		if err := newOriginGuard(c.loopbackOnly).check(r); problem.Is(err, problem.Forbidden) != c.refused {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestPagesOfOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t, Limits{})
	a := s.do(http.MethodPost, "/v1/sql", strings.NewReader(`{"sql":"SELECT 1"}`), "Origin", "https://evil.example")
	s.checkError(a, "cross-site", problem.Forbidden)
}
