package api

import (
	"net"
	"net/http"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
)

// originGuard keeps web pages of other sites from using a visitor's browser to reach a server that trusts whoever can
// reach it. Programs other than browsers send no Origin and are not concerned.
type originGuard struct {
	crossOrigin  *http.CrossOriginProtection
	loopbackOnly bool
}

func newOriginGuard(loopbackOnly bool) *originGuard {
	return &originGuard{crossOrigin: http.NewCrossOriginProtection(), loopbackOnly: loopbackOnly}
}

// check refuses requests that change something and come from a page of another site, and, on a server that only this
// machine reaches, requests by any name that is not this machine's: a page can have its own name point here (DNS
// rebinding), and would then count as the same site.
func (g *originGuard) check(r *http.Request) error {
	if err := g.crossOrigin.Check(r); err != nil {
		return problem.New(problem.Forbidden, "the request comes from a web page of another site").Because(err)
	}
	if g.loopbackOnly && !loopbackHost(r.Host) {
		return problem.New(problem.Forbidden, "this server answers to localhost alone, not to %q", shortened([]byte(r.Host))).
			WithHint("use http://127.0.0.1, or start the server with --insecure to let everyone in by any name")
	}
	return nil
}

func loopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
